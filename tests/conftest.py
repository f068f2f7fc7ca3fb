"""What all tests share: one thread, an isolated place, the command line as a user has it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from torch import Tensor, nn

from kdlsr.losses import Step
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


def step_of(logits: Tensor, labels: Tensor, soft_targets: Tensor | None = None) -> Step:
    """The first step of a training, for a loss without state."""
    rows = torch.arange(len(labels))
    return Step(logits, labels, rows, 0.0, 0, soft_targets, nn.Module())


class SilentObserver:
    """Counts what it sees."""

    def __init__(self) -> None:
        self.steps = 0
        self.records: list[EpochRecord] = []

    def step(self, done: int, of: int, terms: Callable[[], Mapping[str, float]]) -> None:
        self.steps += 1

    def epoch(self, record: EpochRecord) -> None:
        self.records.append(record)

    def complete(self, result: Mapping[str, Any]) -> None: ...

    def timing(self) -> dict[str, Any]:
        return {}


class SilentSession:
    """A session that keeps what it is told."""

    cores = None

    def __init__(self) -> None:
        self.lines: list[str] = []

    def report(self, what: str, done: int, total: int) -> None: ...

    def say(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def observe(self, run: Any, start: int, until: int) -> Iterator[SilentObserver]:
        yield SilentObserver()


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
