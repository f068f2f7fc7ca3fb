"""What a watcher is told, and the watcher that watches nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kdlsr.config.schema import TrackerConfig
from kdlsr.progress.times import RunTimes
from kdlsr.tracking import TrackedRun, Tracker, open_tracker
from kdlsr.training.record import EpochRecord

ReadTerms = Callable[[], Mapping[str, float]]
"""Gives the loss terms as far as they are known by now, without waiting; none at first."""


@dataclass(frozen=True)
class WatchedRun:
    """A run that is about to be trained, as far as a watcher has to know it.

    Attributes:
        tracked: its ids and config, as a tracker takes them.
        start: how many epochs are complete.
        until: how many are to be.
        batch_size: images per step.
        folder: its own.
        tracker: the tracker that its config names.
    """

    tracked: TrackedRun
    start: int
    until: int
    batch_size: int
    folder: Path
    tracker: TrackerConfig

    @property
    def run_id(self) -> str:
        """The run's."""
        return self.tracked.run_id


class Display(Protocol):
    """Shows one run's progress."""

    def step(self, share: float, terms: ReadTerms) -> None:
        """After a step; `share` of the epoch's steps are done, in (0, 1]."""

    def epoch(self, record: EpochRecord) -> None:
        """After an epoch."""


class Watcher(Protocol):
    """Watches whatever a command does."""

    def message(self, line: str) -> None:
        """Takes one line that the user should see."""

    def loading(self, what: str, done: int, total: int) -> None:
        """Takes how far something slow before training is: a download, a decoding."""

    def display(self, run: WatchedRun, times: RunTimes) -> AbstractContextManager[Display]:
        """Returns what shows one run's progress."""


class NoDisplay:
    """Shows nothing."""

    def step(self, share: float, terms: ReadTerms) -> None: ...

    def epoch(self, record: EpochRecord) -> None: ...


class NobodyWatching:
    """The watcher that shows nothing."""

    def message(self, line: str) -> None: ...

    def loading(self, what: str, done: int, total: int) -> None: ...

    def display(self, run: WatchedRun, times: RunTimes) -> AbstractContextManager[Display]:  # noqa: ARG002
        return nullcontext(NoDisplay())


class RunWatch:
    """Passes on what happens in one run: to its clock, its display and its tracker.

    Attributes:
        times: of this session of the run.
    """

    def __init__(self, times: RunTimes, display: Display, tracker: Tracker) -> None:
        self.times = times
        self._display = display
        self._tracker = tracker

    def step(self, done: int, of: int, terms: ReadTerms) -> None:
        """After each of an epoch's steps."""
        self.times.step(done, of)
        self._display.step(done / of, terms)

    def epoch(self, record: EpochRecord) -> None:
        """After each epoch."""
        self.times.epoch()
        self._tracker.epoch(record.as_plain())
        self._display.epoch(record)
        self.times.begin_epoch()

    def complete(self, result: Mapping[str, Any]) -> None:
        """At the end of the run, with what result.json holds."""
        self._tracker.complete(result)


@contextmanager
def watching(watcher: Watcher, run: WatchedRun) -> Iterator[RunWatch]:
    """Watches one run's training; its tracker is open for as long."""
    config = run.tracker
    times = RunTimes(run.start, run.until, run.batch_size)
    with (
        open_tracker(config.name, config.options, run.tracked, run.folder) as tracker,
        watcher.display(run, times) as display,
    ):
        yield RunWatch(times, display, tracker)
