"""What all tests share: one thread, an isolated place, the command line as a user has it."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from torch import Tensor, nn

from kdlsr.losses import Step
from kdlsr.progress import NobodyWatching, WatchedRun
from kdlsr.progress.times import RunTimes
from kdlsr.progress.watching import Display, ReadTerms
from kdlsr.training.record import EpochRecord

pytest_plugins = ["isolation"]
REPOSITORY = Path(__file__).resolve().parents[1]
# Small enough for seconds, and still every part of a run.
TINY = ["dataset=digits", "dataset.subset=256", "model=resnet8", "model.width=4", "schedule=quick"]

torch.set_num_threads(1)

Command = Callable[..., subprocess.CompletedProcess[str]]


def environment() -> dict[str, str]:
    """A process's environment: the test's own (isolation.py), at a wide terminal."""
    return os.environ | {"COLUMNS": "200"}


def train_command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "kdlsr.train", *overrides]


def step_of(
    logits: Tensor,
    labels: Tensor,
    soft_targets: Tensor | None = None,
    *,
    epoch: int = 0,
    epochs: int = 3,
    state: nn.Module | None = None,
    partner_logits: Tensor | None = None,
) -> Step:
    """The first step of an epoch, of a loss without state unless it is given."""
    return Step(
        logits=logits,
        labels=labels,
        rows=torch.arange(len(labels)),
        progress=torch.tensor(epoch / epochs, dtype=torch.float64),
        epoch=torch.tensor(epoch),
        epochs=epochs,
        soft_targets=soft_targets,
        state=nn.Module() if state is None else state,
        partner_logits=partner_logits,
    )


class RecordingObserver:
    """Keeps what it sees of a training."""

    def __init__(self) -> None:
        self.steps = 0
        self.records: list[EpochRecord] = []

    def step(self, done: int, of: int, terms: ReadTerms) -> None:
        self.steps += 1

    def epoch(self, record: EpochRecord) -> None:
        self.records.append(record)


class RecordingWatcher(NobodyWatching):
    """Keeps what it is told; `Session(watcher)` is a command's that is watched by it.

    Attributes:
        lines: the messages.
        runs: whose training began.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.runs: list[WatchedRun] = []

    def message(self, line: str) -> None:
        self.lines.append(line)

    def display(self, run: WatchedRun, times: RunTimes) -> AbstractContextManager[Display]:
        self.runs.append(run)
        return super().display(run, times)


@pytest.fixture
def train(tmp_path: Path) -> Command:
    """Runs `kdlsr-train ...` in an empty folder and returns how it ended."""

    def run(*overrides: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return processes.run("kdlsr.train", list(overrides), tmp_path, environment(), timeout)

    return run


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Any]:
    """Plans a tiny run of three epochs, stored below `tmp_path`, without a process of its own."""
    from kdlsr.config.compose import compose_config
    from kdlsr.config.schema import read_config
    from kdlsr.runs.plan import plan_run

    def planned(*overrides: str) -> Any:
        common = [*TINY, "precision=fp32", "schedule.epochs=3", f"output_dir={tmp_path}"]
        return plan_run(read_config(compose_config([*common, *overrides])))

    return planned
