"""Runs in processes that are kept: the same bits, whatever dies, and several on a card."""

import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Command
from jobs_that_misbehave import behave, hold_memory, need_room, take_long

from kdlsr.config.overrides import Overrides
from kdlsr.machine import mps
from kdlsr.runs.executors import Job, on_this_machine
from kdlsr.runs.executors.cards import BEGIN_WITH, CONTEXT_BYTES, MOST, Card, Memory
from kdlsr.runs.executors.on_this_machine import LocalSettings, OnThisMachine
from kdlsr.train import train_job

WAIT_S = 60
RUN = [*TINY, "precision=fp32", "schedule.epochs=2", "schedule.milestones=[1]"]
GIB = 1 << 30


def _jobs(*overrides: str) -> list[Job]:
    return [Job(Overrides.parse([text])) for text in overrides]


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[OnThisMachine]:
    """An executor with a place for one job at a time."""
    monkeypatch.setattr(on_this_machine, "available_cores", lambda: 1)
    with closing(OnThisMachine(LocalSettings(log_folder="logs"))) as executor:
        yield executor


def test_a_process_takes_job_after_job_and_what_dies_is_replaced(one_core: OnThisMachine) -> None:
    jobs = _jobs("seed=0", "seed=1", "seed=2", "seed=3", "seed=4")
    crashes = one_core.run(behave, jobs)
    assert one_core.run(behave, _jobs("seed=5")) == []
    other = Job(Overrides.parse(["seed=6", "deterministic=true"]))  # CUDA keeps that for good
    assert one_core.run(behave, [other]) == []
    pids = [int(Path(f"pid-{seed}").read_text()) for seed in range(7)]
    assert pids[0] == pids[1] == pids[2] != pids[3] == pids[4] == pids[5] != pids[6]
    assert [crash.job for crash in crashes] == jobs[1:3]
    assert crashes[0].reason == "ValueError: one is wrong"
    assert crashes[1].reason.startswith("a job's process died: SIGKILL")
    first, second, _ = sorted(Path("logs").iterdir())
    assert crashes[1].reason.endswith(f"what it printed is in {first.absolute()}")
    assert "Traceback" in first.read_text()
    assert "--- the job seed=3\n--- the job seed=4\n--- the job seed=5\n" in second.read_text()
    one_core.close()
    assert not any(map(_lives, pids))
    assert "interrupted" not in second.read_text()


def test_a_process_that_cannot_give_memory_back_ends_with_its_job(one_core: OnThisMachine) -> None:
    assert one_core.run(hold_memory, _jobs("seed=0", "seed=1")) == []
    assert Path("pid-0").read_text() != Path("pid-1").read_text()
    first, _ = sorted(Path("logs").iterdir())
    assert "--- memory cannot be given back, and this ends: RuntimeError: " in first.read_text()


def test_a_job_that_takes_too_long_is_ended_tidily(monkeypatch: pytest.MonkeyPatch) -> None:
    def let_time_pass() -> None:
        _until(Path("pid").exists)
        monkeypatch.setattr(on_this_machine, "MINUTE_S", 0.0)

    threading.Thread(target=let_time_pass).start()
    with closing(OnThisMachine(LocalSettings(log_folder="logs", timeout_min=7))) as executor:
        (crash,) = executor.run(take_long, _jobs("seed=0"))
    assert crash.reason == "it took longer than hydra.launcher.timeout_min=7 allows"
    assert Path("tidy").exists()


PARENT = """
from kdlsr.config.overrides import Overrides
from kdlsr.runs.executors import Job, configure_executor
from jobs_that_misbehave import take_long
executor = configure_executor(Overrides.parse(["+cluster=local"]))
executor.run(take_long, [Job(Overrides.parse(["seed=0"]))])
"""


def test_processes_end_tidily_when_their_command_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with subprocess.Popen([sys.executable, "-c", PARENT]) as parent:
        _until(lambda: Path("pid").exists() and Path("pid").read_text() != "")
        parent.kill()
    _until(lambda: not _lives(int(Path("pid").read_text())))
    assert Path("tidy").exists()
    (log,) = Path("outputs/hydra/local").iterdir()
    assert log.read_text().endswith(
        "kdlsr: interrupted; the same command goes on after the last completed epoch\n"
    )


def _numbers(folder: Path) -> dict[str, bytes]:
    names = ("metrics.jsonl", "test_logits.npz", "result.json")
    return {name: (folder / name).read_bytes() for name in names}


def test_a_run_after_others_has_the_bits_of_one_in_a_fresh_process(
    one_core: OnThisMachine, train: Command, tmp_path: Path
) -> None:
    before = [["precision=bf16", "loss=lsr"], ["schedule.sgd.lr=1e30"]]
    last = ["loss=tfkd_reg", "seed=3"]
    fresh = train(*RUN, *last)
    assert fresh.returncode == 0, fresh.stderr
    (expected,) = (tmp_path / "outputs" / "runs").iterdir()
    jobs = [Job(Overrides.parse([*RUN, *more])) for more in [*before, last]]
    assert [crash.job for crash in one_core.run(train_job, jobs)] == jobs[1:2]  # not finite
    assert len(list(Path("logs").iterdir())) == 1
    assert _numbers(Path("outputs/runs") / expected.name) == _numbers(expected)


# ---------------------------------------------------------------- several on a card


def test_a_card_takes_four_runs_until_one_has_told_what_it_needs() -> None:
    card = Card(["0"], "auto")
    assert card.limit == BEGIN_WITH == 4
    card.learn(Memory())  # of a run that saw no GPU
    assert card.limit == 4
    need = 2 * GIB
    card.learn(Memory(free=16 * GIB, peak=need - CONTEXT_BYTES))
    assert card.limit == 7  # of 0.9 * 16 GiB
    card.learn(Memory(free=12 * GIB, peak=GIB))  # the most that was free, the most that was needed
    assert card.limit == 7
    card.learn(Memory(free=16 * GIB, peak=40 * GIB))
    assert card.limit == 1
    plenty = Card(["0"], "auto")
    plenty.learn(Memory(free=1000 * GIB, peak=GIB))
    assert plenty.limit == MOST


def test_a_run_that_lacked_memory_is_tried_again_with_fewer_beside_it_until_it_is_alone() -> None:
    card = Card(["0"], "auto")
    assert card.gives_way(beside=3, limit=4)
    assert card.limit == 2
    assert card.gives_way(beside=2, limit=4)  # of the same four: no reason to halve again
    assert card.limit == 2
    card.learn(Memory(free=100 * GIB, peak=GIB))  # what was learnt is not unlearnt
    assert card.limit == 2
    assert card.gives_way(beside=1, limit=2)
    assert card.limit == 1
    assert card.gives_way(beside=1, limit=1)  # an earlier one still ran
    assert not card.gives_way(beside=0, limit=1)
    assert not Card(["0"], 4).gives_way(beside=3, limit=4)  # as the user wants it


@pytest.mark.parametrize(
    ("visible", "asked", "device", "cards"),
    [
        ("2,3", None, "auto", [("2",), ("3",)]),
        ("GPU-a,GPU-b", 1, "cuda", [("GPU-a",), ("GPU-b",)]),
        ("0,1,2,3", 2, "auto", [("0", "1"), ("2", "3")]),
        ("5", 4, "auto", [("5",)]),
        ("0,1", 0, "auto", [()]),
        ("0,1", None, "cpu", [()]),
        ("", None, "auto", [()]),
    ],
)
def test_runs_take_the_visible_gpus_in_turn(
    monkeypatch: pytest.MonkeyPatch,
    visible: str,
    asked: int | None,
    device: str,
    cards: list[tuple[str, ...]],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(
        "torch.cuda.device_count", lambda: len([n for n in visible.split(",") if n])
    )
    settings = LocalSettings(log_folder="logs", gpus_per_node=asked, device=device)
    assert [card.gpus for card in OnThisMachine(settings).cards] == cards


# NVIDIA's program as far as it is used: it notes what it is told, and by whom it would be found.
CONTROL = """#!/bin/sh
if [ "$1" = -d ]; then
    echo "started $CUDA_VISIBLE_DEVICES" >> "$TOLD"
    [ -d "$CUDA_MPS_PIPE_DIRECTORY" ] && [ -d "$CUDA_MPS_LOG_DIRECTORY" ] || exit 3
    if [ -n "$REFUSAL" ]; then echo "$REFUSAL"; exit 1; fi
else
    cat >> "$TOLD"
fi
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with MPS; returns the file of what its program was told."""
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    program.parent.mkdir()
    program.write_text(CONTROL)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    return tmp_path / "told"


def test_runs_share_a_card_under_mps_and_give_way_where_memory_is_short(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_this_machine, "visible_gpus", lambda: ("7",))
    monkeypatch.setattr(on_this_machine, "available_cores", lambda: 2)
    with closing(OnThisMachine(LocalSettings(log_folder="logs"))) as executor:
        assert executor.run(need_room, _jobs("seed=0", "seed=1")) == []
        assert [card.limit for card in executor.cards] == [2]
    seen = [
        json.loads(Path(f"{name}-{n}").read_text()) for name in ("tried", "done") for n in (0, 1)
    ]
    assert all(each == seen[0] for each in seen)
    assert seen[0]["CUDA_VISIBLE_DEVICES"] == "0"  # the daemon's first
    assert told.read_text() == "started 7\nquit -t 30\n"
    assert not Path(seen[0]["CUDA_MPS_PIPE_DIRECTORY"]).parent.exists()


def test_processes_under_mps_name_gpus_by_their_places_in_the_daemons_list(
    told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_this_machine, "visible_gpus", lambda: ("2", "GPU-5e", "7"))
    monkeypatch.setattr(on_this_machine, "available_cores", lambda: 3)
    settings = {"log_folder": "logs", "gpus_per_node": 1, "jobs_per_gpu": 2}
    for under_mps, names in ((True, {"0", "GPU-5e", "2"}), (False, {"2", "GPU-5e", "7"})):
        with closing(OnThisMachine(LocalSettings(**settings, mps=under_mps))) as executor:
            assert executor.run(need_room, _jobs("seed=0", "seed=1", "seed=2"))  # the first time
        tried = [json.loads(Path(f"tried-{seed}").read_text()) for seed in range(3)]
        assert {seen["CUDA_VISIBLE_DEVICES"] for seen in tried} == names
        for seed in range(3):
            Path(f"tried-{seed}").unlink()
    assert told.read_text() == "started 2,GPU-5e,7\nquit -t 30\n"


def test_mps_is_tried_as_a_process_under_it_names_its_gpus(
    told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del told
    seen: list[str] = []
    run = subprocess.run

    def watched(command: list[str], **how: Any) -> Any:
        seen.append((how.get("env") or os.environ)["CUDA_VISIBLE_DEVICES"])
        return run(command, **how)

    monkeypatch.setattr(subprocess, "run", watched)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    for name in ("pipe", "log"):
        monkeypatch.setenv(f"CUDA_MPS_{name.upper()}_DIRECTORY", str(tmp_path / name))
    assert mps._start(tmp_path) is None
    assert seen == ["2,3", "0,1"]  # the daemon, then the one who tries


def test_without_mps_where_it_is_refused_or_not_wanted(
    told: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(on_this_machine, "visible_gpus", lambda: ("7",))
    for settings in ({"mps": False}, {"jobs_per_gpu": 1}):
        assert OnThisMachine(LocalSettings(log_folder="logs", **settings)).environment == {}
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/theirs")
    assert OnThisMachine(LocalSettings(log_folder="logs")).environment == {}
    assert not told.exists()
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY")
    monkeypatch.setenv("REFUSAL", "An instance of this daemon is already running")
    assert OnThisMachine(LocalSettings(log_folder="logs")).environment == {}
    assert capfd.readouterr().err == (
        "kdlsr: without NVIDIA's MPS: An instance of this daemon is already running "
        "(hydra.launcher.mps=false is without this line)\n"
    )


def test_mps_ends_with_a_command_that_is_killed(told: Path) -> None:
    program = "import time; from kdlsr.machine.mps import Mps; m = Mps(['0']); print(m._folder)"
    command = [sys.executable, "-uc", f"{program}; time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        folder = Path(parent.stdout.readline().strip())
        assert folder.is_dir()
        parent.kill()
    _until(lambda: not folder.exists())
    assert told.read_text() == "started 0\nquit -t 30\n"
