"""A run that is killed goes on to the same bits; one that is stopped says how to go on."""

import json
import signal
import subprocess
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import processes
import pytest
from conftest import TINY, Command, RecordingWatcher, environment, train_command

from kdlsr.config import LostRun
from kdlsr.progress import NobodyWatching, WatchedRun
from kdlsr.progress.times import RunTimes
from kdlsr.progress.watching import Display
from kdlsr.runs.execute import checkpoint_of, complete_run
from kdlsr.runs.session import Session

# What must not differ by a byte between a disturbed run and an undisturbed one.
PROMISED = ("metrics.jsonl", "result.json", "test_logits.npz")
# Epochs long enough to be killed inside of.
KD = ["dataset=digits", "model=resnet8", "model.width=8", "schedule=quick", "schedule.epochs=6"]
KD += ["loss=kd", "teacher=self"]


def _start(folder: Path, *overrides: str) -> processes.Command:
    return processes.Command("kdlsr.train", list(overrides), folder, environment())


def _runs(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in (folder / "outputs" / "runs").glob("*")}


def _wait_for_checkpoint(process: processes.Command, folder: Path, loss: str, epoch: int) -> None:
    """Waits until the run with `loss` has completed `epoch` epochs."""
    pattern = f"outputs/runs/*-{loss}-*/checkpoints/epoch-{epoch:04d}.pt"
    until = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.002)


def _assert_same_runs(first: Path, second: Path) -> None:
    ours, theirs = _runs(first), _runs(second)
    assert ours.keys() == theirs.keys()
    for name, folder in ours.items():
        _assert_same_files(folder, theirs[name])


def _assert_same_files(first: Path, second: Path) -> None:
    last = sorted((first / "checkpoints").glob("epoch-*.pt"))[-1].name
    for file in (*PROMISED, f"checkpoints/{last}"):
        assert (first / file).read_bytes() == (second / file).read_bytes(), file


@pytest.mark.parametrize(
    ("precision", "moments"),
    [("fp32", [("ce", 1, 0.0), ("kd", 3, 0.0)]), ("bf16", [("ce", 3, 0.07), ("kd", 1, 0.03)])],
)
def test_runs_killed_at_any_moment_end_with_the_same_bytes(
    tmp_path: Path, precision: str, moments: list[tuple[str, int, float]]
) -> None:
    """Teacher (cross-entropy) and student (kd) are killed in turn, then left to end."""
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    command = [*KD, f"precision={precision}"]
    for loss, epoch, delay in moments:
        process = _start(disturbed, *command)
        _wait_for_checkpoint(process, disturbed, loss, epoch)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    last = _start(disturbed, *command)
    assert "goes on after epoch" in last.communicate()[0]
    assert last.returncode == 0
    # Started as a user starts it: its hashes of strings are others than the killed ones'.
    subprocess.run(train_command(*command), cwd=undisturbed, env=environment(), check=True)
    _assert_same_runs(undisturbed, disturbed)
    assert len(_runs(disturbed)) == 2


def test_different_seeds_give_different_bits(train: Command, tmp_path: Path) -> None:
    done = train("-m", *TINY, "schedule.epochs=1", "seed=0,1")
    assert done.returncode == 0, done.stderr
    metrics = {(run / "metrics.jsonl").read_bytes() for run in _runs(tmp_path).values()}
    assert len(metrics) == 2


@pytest.mark.parametrize("damage", ["truncated", "altered", "without checksum"])
def test_a_damaged_checkpoint_costs_one_epoch_and_no_bit(
    plan: Any, tmp_path: Path, damage: str
) -> None:
    run = plan()
    newest = checkpoint_of(run, 2, Session()).parents[1] / "epoch-0002.pt"
    content = newest.read_bytes()
    if damage == "truncated":
        newest.write_bytes(content[:-1])
    elif damage == "altered":
        newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        newest.with_name(newest.name + ".sha256").unlink()
    watcher = RecordingWatcher()
    complete_run(run, Session(watcher))
    assert any("the checkpoint before it is used" in line for line in watcher.lines)
    assert f"{run.run_id} goes on after epoch 1" in watcher.lines
    complete_run(plan(f"output_dir={tmp_path / 'fresh'}"), Session())
    _assert_same_files(tmp_path / "runs" / run.run_id, tmp_path / "fresh" / "runs" / run.run_id)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_run_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = _start(tmp_path, *TINY, "schedule.epochs=400")
    _wait_for_checkpoint(process, tmp_path, "ce", 2)
    begun = time.monotonic()
    process.send_signal(number)
    _, stderr = process.communicate()
    assert time.monotonic() - begun < 10
    assert process.returncode == code
    assert stderr == (
        "kdlsr: interrupted; the same command goes on after the last completed epoch\n"
    )
    (run,) = _runs(tmp_path).values()
    assert not list(run.glob("owner.*"))
    assert not (run / "result.json").exists()


def test_a_complete_run_is_only_read(train: Command, tmp_path: Path) -> None:
    first = train(*TINY, "schedule.epochs=1")
    (run,) = _runs(tmp_path).values()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    second = train(*TINY, "schedule.epochs=1")
    assert first.returncode == second.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert "last" in second.stdout


def test_of_two_processes_one_trains_and_both_have_the_result(tmp_path: Path) -> None:
    command = [*TINY, "schedule.epochs=12"]
    first = _start(tmp_path, *command)
    _wait_for_checkpoint(first, tmp_path, "ce", 1)
    second = _start(tmp_path, *command)
    outputs = [first.communicate()[0], second.communicate()[0]]
    assert (first.returncode, second.returncode) == (0, 0)
    (run,) = _runs(tmp_path).values()
    result = json.loads((run / "result.json").read_text())
    top1 = f"{result['protocols']['last']['test']['top1']:.2f}"
    assert all(top1 in output for output in outputs)
    sessions = json.loads((run / "timing.json").read_text())["sessions"]
    assert len(sessions) == 1  # trained once


def test_going_on_with_other_threads_is_recorded(plan: Any, tmp_path: Path) -> None:
    checkpoint_of(plan("threads=1"), 1, Session())
    run = plan("threads=2")
    assert complete_run(run, Session()).environment == "mixed"
    recorded = json.loads((tmp_path / "runs" / run.run_id / "environment.json").read_text())
    assert [session["threads"] for session in recorded["sessions"]] == [1, 2]
    other = plan("seed=1")
    assert complete_run(other, Session()).environment == "uniform"


def test_a_run_that_was_taken_over_is_left_alone(plan: Any, tmp_path: Path) -> None:
    run = plan()
    folder = tmp_path / "runs" / run.run_id
    successor = {"host": "elsewhere", "pid": 1, "started": "x", "beat": 0}

    class Robbed(NobodyWatching):
        def display(self, run: WatchedRun, times: RunTimes) -> AbstractContextManager[Display]:
            (folder / "owner.7.json").write_text(json.dumps(successor))
            return super().display(run, times)

    with pytest.raises(LostRun, match="taken over by process 1 on elsewhere"):
        complete_run(run, Session(Robbed()))
    assert not (folder / "result.json").exists()
    assert not (folder / "metrics.jsonl").exists()
