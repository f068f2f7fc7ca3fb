"""One process at a time.

flock and not the package filelock: that takes 35 ms to import (fcntl: 0.3), tells nobody while
it waits, leaves its lock files behind, and raises where a file system has no locks.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kdlsr.files.whole import disk_refusals, make_folder

try:
    import fcntl
except ImportError:  # not on Windows, where writers are then merely kept apart by their names
    fcntl = None  # type: ignore[assignment]

POLL_SECONDS = 0.2


@contextmanager
def locked(path: Path, waiting: Callable[[], object]) -> Iterator[bool]:
    """Holds `<path>.lock` for as long as the block runs; calls `waiting` while another does.

    The lock dies with its holder, however that ends. Yields whether it is really held: on a
    file system without locks the block runs all the same, so it must leave whole files only.

    Raises:
        UserError: the lock file cannot be written.
    """
    lock = path.with_name(path.name + ".lock")
    while True:
        with disk_refusals(lock):
            make_folder(lock.parent)
            file = lock.open("ab")
        with file:
            held = _try(lock, file)
            if held is not False:
                try:
                    yield bool(held)
                finally:
                    # Removed while still held: whoever has opened the old one finds it gone.
                    lock.unlink(missing_ok=True)
                return
        waiting()
        time.sleep(POLL_SECONDS)


def _try(lock: Path, file: IO[bytes]) -> bool | None:
    """Returns whether `file` is locked now and still is `lock`; None: there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock.stat().st_ino == os.fstat(file.fileno()).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # a file system without locks
        return None
