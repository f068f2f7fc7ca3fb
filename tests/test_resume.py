"""A run that is killed goes on to the same bits; one that is stopped says how to go on."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import TINY, Command, environment, train_command

# What must not differ by a byte between a disturbed run and an undisturbed one.
PROMISED = ("metrics.jsonl", "result.json", "test_logits.npz")
KD = [*TINY, "loss=kd", "teacher=self", "schedule.epochs=4"]


def _start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        train_command(*overrides),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _runs(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in (folder / "outputs" / "runs").glob("*")}


def _wait_for_checkpoint(
    process: subprocess.Popen[str], folder: Path, loss: str, epoch: int
) -> None:
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
        for file in PROMISED:
            assert (folder / file).read_bytes() == (theirs[name] / file).read_bytes(), (name, file)
        last = sorted((folder / "checkpoints").glob("epoch-*.pt"))[-1].name
        weights = [f / "checkpoints" / last for f in (folder, theirs[name])]
        assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_runs_killed_at_any_moment_end_with_the_same_bytes(tmp_path: Path, precision: str) -> None:
    """Teacher (cross-entropy) and student (kd) are killed in turn, then left to end."""
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    command = [*KD, f"precision={precision}"]
    whole = _start(undisturbed, *command)
    moments = [("ce", 1, 0.0), ("ce", 2, 0.03), ("kd", 1, 0.0), ("kd", 3, 0.05)]
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
    whole.communicate()
    assert whole.returncode == 0
    _assert_same_runs(undisturbed, disturbed)
    assert len(_runs(disturbed)) == 2


def test_different_seeds_give_different_bits(train: Command, tmp_path: Path) -> None:
    done = train("-m", *TINY, "schedule.epochs=1", "seed=0,1")
    assert done.returncode == 0, done.stderr
    metrics = {(run / "metrics.jsonl").read_bytes() for run in _runs(tmp_path).values()}
    assert len(metrics) == 2


@pytest.mark.parametrize("damage", ["truncated", "altered", "without checksum"])
def test_a_damaged_checkpoint_costs_one_epoch_and_no_bit(
    train: Command, tmp_path: Path, damage: str
) -> None:
    process = _start(tmp_path, *TINY, "schedule.epochs=3")
    _wait_for_checkpoint(process, tmp_path, "ce", 2)
    process.kill()
    process.communicate()
    (run,) = _runs(tmp_path).values()
    for path in sorted((run / "checkpoints").glob("epoch-*.pt"))[1:]:
        content = path.read_bytes()
        if damage == "truncated":
            path.write_bytes(content[:-1])
        elif damage == "altered":
            path.write_bytes(content[:-1] + b"\xff")
        else:
            path.with_name(path.name + ".sha256").unlink()
    resumed = train(*TINY, "schedule.epochs=3")
    assert resumed.returncode == 0, resumed.stderr
    assert "the checkpoint before it is used" in resumed.stdout
    before = (run / "metrics.jsonl").read_bytes()
    fresh = train(*TINY, "schedule.epochs=3", "output_dir=fresh")
    assert fresh.returncode == 0
    assert (tmp_path / "fresh" / "runs" / run.name / "metrics.jsonl").read_bytes() == before


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


def test_going_on_with_other_threads_is_recorded(train: Command, tmp_path: Path) -> None:
    process = _start(tmp_path, *TINY, "schedule.epochs=20", "threads=1")
    _wait_for_checkpoint(process, tmp_path, "ce", 1)
    process.kill()
    process.communicate()
    assert train(*TINY, "schedule.epochs=20", "threads=2").returncode == 0
    (run,) = _runs(tmp_path).values()
    assert json.loads((run / "result.json").read_text())["environment"] == "mixed"
    sessions = json.loads((run / "environment.json").read_text())["sessions"]
    assert [session["threads"] for session in sessions] == [1, 2]
