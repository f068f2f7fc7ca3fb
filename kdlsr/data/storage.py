"""How data files come to lie on disk: whole or not at all, and by one process at a time.

Knows files and folders, nothing of what is in them.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kdlsr.config import UserError

try:
    import fcntl
except ImportError:  # not on Windows, where writers are then merely kept apart by their names
    fcntl = None  # type: ignore[assignment]

POLL_SECONDS = 0.2


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the disk refuses (full, read-only) into one line that names `path`.

    Raises:
        UserError: an `OSError` came up inside.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it to `path`.

    Raises:
        UserError: the disk refuses.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, waiting: Callable[[], object]) -> Iterator[bool]:
    """Holds `<path>.lock` for as long as the block runs; calls `waiting` while another does.

    The lock dies with its holder, however that ends. Yields whether it is really held: on a
    file system without locks the block runs all the same, so it must leave whole files by
    renaming only.

    Raises:
        UserError: the lock file cannot be written.
    """
    lock = path.with_name(path.name + ".lock")
    with writing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
    file, held = _acquire(lock, waiting)
    try:
        yield held
    finally:
        # Removed while still held: whoever waits on the old inode sees that and opens anew.
        lock.unlink(missing_ok=True)
        file.close()


def _acquire(lock: Path, waiting: Callable[[], object]) -> tuple[IO[bytes], bool]:
    while True:
        with writing(lock):
            file = lock.open("ab")
        try:
            held = _lock_file(file, waiting)
        except BaseException:
            file.close()
            raise
        if not held or _still_there(lock, file):
            return file, held
        file.close()


def _lock_file(file: IO[bytes], waiting: Callable[[], object]) -> bool:
    while fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            waiting()
            time.sleep(POLL_SECONDS)
        except OSError:  # a file system without locks
            return False
    return False


def _still_there(lock: Path, file: IO[bytes]) -> bool:
    try:
        return lock.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
