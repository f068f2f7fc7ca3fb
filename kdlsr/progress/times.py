"""How long a session of a run takes: for its display and for timing.json, never for its numbers."""

import statistics
import time
from typing import Any

RECENT = 5  # epochs from which the time left is told


class RunTimes:
    """The clock of one session of a run.

    Args:
        start: epochs that were complete before it.
        until: epochs that are to be.
        batch_size: images per step.
    """

    def __init__(self, start: int, until: int, batch_size: int) -> None:
        self._start = start
        self._until = until
        self._batch_size = batch_size
        self._begun = self._epoch_begun = self._counted_from = time.perf_counter()
        self._steps = self._uncounted_steps = 0
        self._train_seconds = 0.0
        self.epoch_seconds: list[float] = []

    def begin_epoch(self) -> None:
        """Starts an epoch's clock; the first one runs from the beginning."""
        self._epoch_begun = self._counted_from = time.perf_counter()
        self._uncounted_steps = 0

    def step(self, done: int, of: int) -> None:
        """After the first `done` of an epoch's `of` steps."""
        now = time.perf_counter()
        if done == 1 and not self.epoch_seconds and of > 1:
            # It warms up (and compiles): no part of the rate that is shown.
            self._counted_from, self._uncounted_steps = now, 1
        self._train_seconds = now - self._counted_from
        self._steps = done - self._uncounted_steps

    def epoch(self) -> None:
        """After an epoch with its evaluation and checkpoint, its first step included."""
        self.epoch_seconds.append(time.perf_counter() - self._epoch_begun)

    @property
    def images_per_second(self) -> float:
        """Of the epoch's training so far, evaluation and checkpoint left out."""
        return self._steps * self._batch_size / max(self._train_seconds, 1e-9)

    @property
    def seconds_left(self) -> float:
        """At the pace of the last epochs."""
        left = self._until - self._start - len(self.epoch_seconds)
        return statistics.fmean(self.epoch_seconds[-RECENT:]) * left

    def record(self) -> dict[str, Any]:
        """Returns what timing.json records of this session."""
        return {
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "seconds": time.perf_counter() - self._begun,
            "from_epoch": self._start,
            "epoch_seconds": self.epoch_seconds,
        }
