"""Whole folders: seen with all that belongs in them or not at all; and what killed ones left."""

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kdlsr.files.whole import Guard, make_folder, sync_folder, temporary_name

ABANDONED_S = 3600.0  # a temporary file this old belongs to a process that was killed


@contextmanager
def whole_folder(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yields an empty folder that stands at `path` when the block ends, unless that raises.

    Where another process has put one there in the meantime, that one stays.

    Args:
        path: missing folders above it are made.
        sync: whether it is to outlast a power cut; see `whole_file`.

    Raises:
        OSError: the disk refuses.
    """
    make_folder(path.parent)
    temporary = temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        if sync and hasattr(os, "sync"):
            os.sync()  # all at once: to sync 110,000 files one by one takes minutes
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
        else:
            sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def scratch_folder(purpose: str) -> Path:
    """Makes an empty folder of this user's alone where the system keeps what need not last.

    Raises:
        OSError: the disk refuses.
    """
    return Path(tempfile.mkdtemp(prefix=f"kdlsr-{purpose}-"))


def opened_log(path: Path) -> BinaryIO:
    """Opens a file to which a process of its own writes on, line by line.

    Raises:
        OSError: the disk refuses.
    """
    make_folder(path.parent)
    return path.open("ab")


def remove_folder(path: Path) -> None:
    """Removes a folder with all that is in it, gone under its name at once.

    So nobody adds a file to what is being taken apart, or reads from it.

    Raises:
        OSError: it is not there, or the disk refuses.
    """
    temporary = temporary_name(path)
    path.rename(temporary)
    shutil.rmtree(temporary)


def remove_files(paths: Iterable[Path], guard: Guard) -> None:
    """Removes files of one folder, those that are there, in their order.

    They go by a folder of this call's own: a writer that sleeps after it has asked the guard,
    and whose things are cleared away meanwhile by its successor, removes nothing any more.

    Raises:
        OSError: the disk refuses.
    """
    present = [path for path in paths if path.exists()]
    if not present:
        guard()
        return
    bin_ = temporary_name(present[0])
    bin_.mkdir()
    try:
        guard()
        for path in present:
            try:
                path.rename(bin_ / path.name)
            except FileNotFoundError:
                guard()
    finally:
        shutil.rmtree(bin_, ignore_errors=True)


def remove_abandoned(
    folder: Path,
    older_than_s: float = ABANDONED_S,
    name: str | None = None,
    guard: Guard = lambda: None,
) -> None:
    """Removes what killed processes left in `folder` under temporary names.

    Args:
        folder: need not exist; those below it are not looked into.
        older_than_s: seconds since it was last written to. A living writer's file is young;
            of a folder only the names in it count, so choose more than one takes to fill.
        name: the one that they were to have; None: any.
        guard: asked before each is removed.

    Raises:
        OSError: the disk refuses.
    """
    meant = "*" if name is None else glob.escape(name)
    for path in list(folder.glob(f".{meant}.*-*.tmp")):  # nothing that comes up from now on
        try:
            old = time.time() - path.stat().st_mtime >= older_than_s
        except FileNotFoundError:
            continue  # renamed since it was listed
        if old:
            guard()
        if old and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif old:
            path.unlink(missing_ok=True)
