"""What a run tells the world while it goes on; a terminal or a test implements it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from kdlsr.runs.plan import Run
from kdlsr.runs.store import Result
from kdlsr.training.record import EpochRecord


class Session(Protocol):
    """What a run tells the world while it goes on: `display` and trackers implement it."""

    cores: int | None  # a job's share of the machine; None: all of it

    def report(self, what: str, done: int, total: int) -> None:
        """Something slow before training: a download, a decoding."""

    def say(self, line: str) -> None:
        """One line that the user should see."""

    def observe(self, run: Run, start: int, until: int) -> "AbstractContextManager[RunObserver]":
        """Watches the epochs from `start` to `until` of one run."""


class RunObserver(Protocol):
    """Sees one run's training, its end, and what it cost."""

    def step(self, done: int, of: int, terms: Callable[[], Mapping[str, float]]) -> None: ...

    def epoch(self, record: EpochRecord) -> None: ...

    def complete(self, result: Result) -> None: ...

    def timing(self) -> dict[str, Any]: ...
