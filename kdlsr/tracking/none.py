"""The tracker of a run that is not tracked: its local files are all there is."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlsr.tracking.tracker import TrackedRun, Tracker, trackers


class NoTracker:
    """Listens to nothing."""

    def epoch(self, record: Mapping[str, Any]) -> None: ...

    def complete(self, result: Mapping[str, Any]) -> None: ...

    def failed(self, message: str) -> None: ...

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...


@trackers.register("none")
@dataclass(frozen=True, kw_only=True)
class NoTracking:
    """`tracker=none` has no options."""

    def open(self, run: TrackedRun, folder: Path) -> AbstractContextManager[Tracker]:  # noqa: ARG002
        return nullcontext(NoTracker())
