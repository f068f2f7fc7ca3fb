"""Where a run's metrics go besides its own files: nowhere, or to Weights & Biases.

A tracker is told what happened and decides nothing: whatever becomes of it, the run goes on
to the same bits. A leaf: of kdlsr it may import `config` only, and it reads no file of a
run's. A tracking service's library is imported when a run opens its tracker, never before.
"""

from kdlsr.tracking.tracker import (
    TrackedRun,
    Tracker,
    TrackerOptions,
    awaits_a_run,
    check_tracker,
    flatten,
    open_tracker,
    read_tracker,
    trackers,
)

__all__ = [
    "TrackedRun",
    "Tracker",
    "TrackerOptions",
    "awaits_a_run",
    "check_tracker",
    "flatten",
    "open_tracker",
    "read_tracker",
    "trackers",
]
