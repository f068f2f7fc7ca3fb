"""The processor: how many of its cores are ours, how jobs share them, what it says of itself."""

import functools
import os
from pathlib import Path

from kdlsr.config.errors import UserError

MOST_THREADS = 256  # where there are few cores


def available_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads(small: bool, cores: int | None) -> int:
    """Returns a job's share of the cores (None: all of them); 1 for a small network."""
    return 1 if small else max(1, min(cores or available_cores(), available_cores()))


def check_threads(threads: int | None) -> None:
    """Refuses more threads than can be meant; some thousands are more than a system gives.

    Above the cores is allowed: a run goes on to the same bits with the threads that it began with.

    Raises:
        UserError: how many there may be.
    """
    most = max(MOST_THREADS, 4 * available_cores())
    if threads is not None and threads > most:
        raise UserError(
            f"threads={threads} is not possible; expected at most {most}, with "
            f"{available_cores()} cores here"
        )


@functools.cache
def cpu_info(*fields: str) -> str:
    """Returns what /proc/cpuinfo first says under one of `fields`; "" where there is none."""
    info = Path("/proc/cpuinfo")
    if not info.exists():  # not Linux
        return ""
    for line in info.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in fields:
            return value.strip()
    return ""
