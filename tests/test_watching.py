"""Nobody watching is no reason to stop: whatever becomes of the screen, a run goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, environment, train_command
from wandb_log import read_closed_runs

from kdlsr.machine.screen import open_screen
from kdlsr.progress.times import RunTimes
from kdlsr.runs.execute import complete_run, store_of
from kdlsr.runs.session import Session

COMMAND = [*TINY, "schedule.epochs=2", "loss=kd", "teacher=self"]
RESULTS = ("metrics.jsonl", "result.json", "test_logits.npz")


def _files(folder: Path) -> dict[str, bytes]:
    runs = sorted((folder / "outputs" / "runs").iterdir())
    return {f"{run.name}/{name}": (run / name).read_bytes() for run in runs for name in RESULTS}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(train_command(*COMMAND), cwd=folder, env=environment(), check=False)
    assert done.returncode == 0
    return _files(folder)


@pytest.mark.parametrize("end", ["| head -1", "| true", "> /dev/full", ">&-"])
def test_a_screen_that_is_gone_or_full_ends_nothing(
    tmp_path: Path, undisturbed: dict[str, bytes], end: str
) -> None:
    words = subprocess.list2cmdline(train_command(*COMMAND))
    done = subprocess.run(
        ["bash", "-c", f"{words} {end}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert _files(tmp_path) == undisturbed


def test_a_screen_that_lacks_a_character_ends_nothing(
    tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    done = subprocess.run(
        train_command(*COMMAND),
        cwd=tmp_path,
        env=environment() | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "top-1 %" in done.stdout
    assert _files(tmp_path) == undisturbed


class _Broken:
    """A standard output that cannot be written to from now on."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        self.number = number

    def write(self, text: str) -> int:
        raise BrokenPipeError("nobody reads")

    def flush(self) -> None:
        raise BrokenPipeError("nobody reads")

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.number


def test_the_screen_swallows_what_cannot_be_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    descriptor = os.open(tmp_path / "output", os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(sys, "stdout", _Broken(descriptor))
    screen = open_screen()
    screen.print("unseen")
    os.write(descriptor, b"to nowhere, from then on")
    os.close(descriptor)
    assert (tmp_path / "output").read_bytes() == b""


def test_times_and_tracker_are_fed_with_nobody_watching(plan: Any, tmp_path: Path) -> None:
    run = plan("tracker=wandb", "tracker.mode=offline")
    result = complete_run(run, Session())
    folder = store_of(run.config).run(run.run_id).path
    (session,) = json.loads((folder / "timing.json").read_text())["sessions"]
    assert len(session["epoch_seconds"]) == 3
    assert 0 < sum(session["epoch_seconds"]) <= session["seconds"]
    (logged,) = read_closed_runs(folder, 1)
    assert logged.exit_code == 0
    assert logged.group == result.cell_id


def test_the_rate_counts_training_alone_and_the_time_left_whole_epochs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("kdlsr.progress.times.time.perf_counter", lambda: now)
    times = RunTimes(start=1, until=4, batch_size=10)
    for step, moment in enumerate((105.0, 106.0, 107.0), 1):  # the first one warms up
        now = moment
        times.step(step, 3)
    assert times.images_per_second == 10.0
    now = 110.0
    times.epoch()
    assert times.images_per_second == 10.0
    assert times.seconds_left == 20.0
    assert times.record()["epoch_seconds"] == [10.0]
    times.begin_epoch()
    now = 111.0
    times.step(1, 3)
    assert times.images_per_second == 10.0
