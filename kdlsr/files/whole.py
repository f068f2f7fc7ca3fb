"""Whole files: under a name stands what was written there completely, or what stood before.

A file is written beside its target under a temporary name that no other call uses (hidden,
ending in `.tmp`), synced to the disk and renamed, and then its folder is synced: neither a
killed process nor a power cut leaves a part of it under its name. What a killed process
leaves under temporary names goes with `remove_abandoned`.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from kdlsr.config.errors import UserError

Guard: TypeAlias = Callable[[], object]
"""Asked immediately before a file becomes visible under its name; raises where it may not."""

# What a file system answers that does not sync this kind of file, as many do not sync folders.
NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES}
# What one answers that has no hard links: network drives, FAT, some FUSE.
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}


class WholeFile:
    """A file that is being written from its first byte to its last, and hashed on the way.

    Attributes:
        path: where it will stand. Until the block ends it may be set to another name in the
            same folder, such as one that the checksum is part of.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.refusal: OSError | None = None
        self._file = file
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Appends bytes; returns how many."""
        self._sha256.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.refusal = error  # torch.save raises a RuntimeError in its place
            raise

    def flush(self) -> None:
        """Hands what was written to the operating system."""
        self._file.flush()

    def sha256(self) -> str:
        """Returns the SHA-256 of the bytes written so far, hexadecimal."""
        return self._sha256.hexdigest()


@contextmanager
def whole_file(path: Path, *, sync: bool = True, guard: Guard | None = None) -> Iterator[WholeFile]:
    """Opens a file that stands at `path` when the block ends, and not at all if that raises.

    Args:
        path: replaced where it exists; missing folders are made.
        sync: whether it is to outlast a power cut. Without it, one may leave an empty or
            partial file: only for what is checked when it is read and can be made again.
        guard: asked before the file has its name; what it raises leaves the old one there.

    Raises:
        OSError: the disk refuses; its `filename` is what it refuses.
    """
    temporary = temporary_name(path)
    whole: WholeFile | None = None
    with _naming(path, temporary):
        make_folder(path.parent)
        try:
            with temporary.open("xb") as file:
                whole = WholeFile(path, file)
                yield whole
                file.flush()
                if sync:
                    _sync(file.fileno())
            if guard is not None:
                guard()
            _rename(temporary, whole.path, guard)  # closed: the last bytes may find no room
            if sync:
                sync_folder(path.parent)
        except Exception as error:
            if whole and whole.refusal and error is not whole.refusal:
                raise whole.refusal from error
            raise
        finally:
            temporary.unlink(missing_ok=True)


def write_whole(
    path: Path, content: bytes | str, *, sync: bool = True, guard: Guard | None = None
) -> None:
    """Writes a file (text as UTF-8) that is seen whole or not at all; see `whole_file`."""
    with whole_file(path, sync=sync, guard=guard) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def parse_json(content: str | bytes) -> Any:
    """Returns the plain values that a JSON file holds.

    Raises:
        ValueError: it is no JSON, has a number that is not finite, or is nested without end.
    """

    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is no number of JSON's")

    try:
        return json.loads(content, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def write_json(path: Path, value: Any, *, guard: Guard | None = None) -> None:
    """Writes nested plain values as indented JSON; numbers that are not finite are refused.

    Raises:
        ValueError: a number is not finite.
        OSError: the disk refuses.
    """
    write_whole(path, json.dumps(value, indent=2, allow_nan=False) + "\n", guard=guard)


def create_whole(path: Path, content: bytes | str) -> bool:
    """Creates a file unless one is there; returns whether this call did. Of several, one does.

    It is never seen half-written, but for file systems without hard links: there a reader may
    find it empty or cut for a moment, or for good where its writer is killed in between.

    Raises:
        OSError: the disk refuses; its `filename` is what it refuses.
    """
    temporary = temporary_name(path)
    data = content.encode() if isinstance(content, str) else content
    with _naming(path, temporary):
        make_folder(path.parent)
        _create(temporary, data)
        try:
            os.link(temporary, path)
        except FileNotFoundError:
            return False  # cleared away by whoever came first
        except FileExistsError:
            # Over a network the link may be made, the answer lost, and the call repeated.
            if temporary.stat().st_nlink == 1:
                return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            try:
                _create(path, data)
            except FileExistsError:
                return False
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    return True


def _create(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        try:
            file.write(content)
            file.flush()
            _sync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


@contextmanager
def disk_refusals(path: Path) -> Iterator[None]:
    """Turns what the disk refuses (full, read-only) into one line that names `path`.

    Raises:
        UserError: an `OSError` came up inside.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Returns the checksum of a file's content, hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return stream_digest(file, algorithm)


def stream_digest(file: BufferedIOBase, algorithm: str = "sha256") -> str:
    """Returns the checksum of what is left to read of an open file, hexadecimal."""
    new = lambda: hashlib.new(algorithm, usedforsecurity=False)  # noqa: E731
    return hashlib.file_digest(file, new).hexdigest()


# ---------------------------------------------------------------- for this room alone


def _rename(temporary: Path, path: Path, guard: Guard | None) -> None:
    """Gives a file its name, unless it was cleared away since the guard was asked.

    A writer may sleep between the two, and whoever has succeeded it clears away what it left.
    """
    try:
        temporary.replace(path)
    except FileNotFoundError:
        if guard is not None:
            guard()
        raise


def publish(written: Path, path: Path) -> None:
    """Has the finished file `written` stand at `path`, in the same folder, for good."""
    with written.open("rb") as file:
        _sync(file.fileno())
    written.replace(path)
    sync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """Returns a name beside `path` that no other call, process or machine uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(6).hex()}.tmp")


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, which outlast a power cut like what lies in them."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Has the names in a folder written to the disk, where the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return  # a folder that may be written and not read; Windows opens none
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


@contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """Has an `OSError` name the file that was meant: not the temporary one, nor none at all."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
