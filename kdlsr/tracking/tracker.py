"""What a tracker is, and how one is opened by its name.

Nothing about any one tracking service may enter.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kdlsr.config import Registry, UserError, build


@dataclass(frozen=True)
class TrackedRun:
    """The run that is tracked, or the report on many.

    Attributes:
        run_id: its identity here and in the tracking service.
        cell_id: what it shares with the runs that differ in the seed only.
        job_type: the loss's name; `report` for a report.
        config: its resolved config, nested plain values.
        teacher: the teacher's run_id, or its path or name where it is no run of ours.
        is_asked_for: whether it is the one run that a command is for, which a tracking service
            may have started and wait for.
    """

    run_id: str
    cell_id: str
    job_type: str
    config: Mapping[str, Any]
    teacher: str | None = None
    is_asked_for: bool = False


class Tracker(Protocol):
    """What a run tells its tracker. No method raises because the tracking service fails."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Takes a line of `metrics.jsonl`: nested, with the number of the epoch in "epoch"."""

    def complete(self, result: Mapping[str, Any]) -> None:
        """Takes what `result.json` holds: the run is complete."""

    def failed(self, message: str) -> None:
        """Takes what went wrong: the run cannot be completed."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Takes a table, a mapping of column to plain value per row, all with the same columns."""


class TrackerOptions(Protocol):
    """A frozen dataclass with the fields of `conf/tracker/<name>.yaml`: what is registered.

    It may have `package`, the name of what has to be installed for it, and `awaits_a_run`:
    whether the tracking service started this command, and so is told of the run that was asked
    for even where that is complete already.
    """

    def open(self, run: TrackedRun, folder: Path) -> AbstractContextManager[Tracker]: ...


trackers: Registry[type[TrackerOptions]] = Registry("tracker", "kdlsr.tracking")


def read_tracker(name: str, options: Mapping[str, Any]) -> TrackerOptions:
    """Checks the config of a tracker; loads no tracking service and opens nothing.

    Raises:
        UserError: no such tracker, an unknown key, a value that is not possible.
    """
    return build(trackers.get(name), options, "tracker")


def check_tracker(name: str, options: Mapping[str, Any]) -> None:
    """Refuses a tracker that cannot be had here, before anything is trained.

    Raises:
        UserError: as for `read_tracker`, or its tracking service's package is not installed.
    """
    package = getattr(read_tracker(name, options), "package", None)
    if package is not None and importlib.util.find_spec(package) is None:
        raise UserError(
            f"tracker={name}: {package} is not installed; pip install {package}, or tracker=none"
        )


def open_tracker(
    name: str, options: Mapping[str, Any], run: TrackedRun, folder: Path
) -> AbstractContextManager[Tracker]:
    """Returns the tracker `name` for one run, to be used in a `with` statement.

    The block's end closes the tracker with the run's true status: complete or failed as it
    was told, failed where an `Exception` ends the block, else interrupted (a
    `KeyboardInterrupt`, say, or a prefix of a run that was to go no further).

    Args:
        name: a registered tracker.
        options: its fields, as in its config file.
        run: what is tracked.
        folder: the run's folder, below which the tracker's own files go.

    Raises:
        UserError: as for `read_tracker`.
    """
    return read_tracker(name, options).open(run, folder)


def awaits_a_run(name: str, options: Mapping[str, Any]) -> bool:
    """Returns whether a tracking service started this command, and waits for its run."""
    return bool(getattr(read_tracker(name, options), "awaits_a_run", False))


def flatten(values: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Returns nested `values` with joined keys: {"test": {"top1": 1}} is {"test/top1": 1}.

    Values that are None are left out.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = flatten(value, separator)
            flat |= {f"{key}{separator}{name}": item for name, item in inner.items()}
        elif value is not None:
            flat[str(key)] = value
    return flat
