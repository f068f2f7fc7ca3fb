"""A file of weights where it lies: on its own, or in a tar archive (`teachers.tar/a/b.pth`).

Only bytes and names of files here: what a file holds is for `weight_files`. Nothing is unpacked
to the disk.
"""

import gzip
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeAlias

from kdlsr.config import UserError, nearest

OpenFile: TypeAlias = BufferedReader | BytesIO

DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
LISTED = 3  # how many files of an archive a message lists


@contextmanager
def opened(path: Path, source: str) -> Iterator[OpenFile]:
    """Opens a file for reading, which can seek.

    Args:
        path: of the file, or of an archive and then the file's name in it.
        source: what named it, for messages: `teacher.path=...`.

    Raises:
        UserError: there is no such file, on the disk or in the archive; it is none, or an archive
            itself; the archive is damaged.
        OSError: it may not be read.
    """
    archive = _archive_of(path)
    if archive is not None:
        yield BytesIO(_member(archive, path.relative_to(archive).as_posix(), source))
        return
    if not path.exists():
        raise UserError(f"{source}: no such file")
    if path.is_dir():
        raise UserError(f"{source} is a folder; expected a file of weights")
    if not path.is_file():
        raise UserError(f"{source} is not a file")
    with path.open("rb") as file:
        yield file


def check_is_no_archive(file: OpenFile, source: str) -> None:
    """Refuses an open archive of files of weights, of which one has to be named."""
    if not tarfile.is_tarfile(file):
        file.seek(0)
        return
    with _opened_archive(file, source) as tar:
        names = [_plain(member) for member in tar if member.isfile()]
    shown = ", ".join(names[:LISTED]) + (", ..." if len(names) > LISTED else "")
    raise UserError(f"{source} is an archive: expected a file in it, {source}/NAME; it has {shown}")


def _archive_of(path: Path) -> Path | None:
    """Returns the file that stands where a path would have a folder."""
    if path.exists():
        return None
    nearest_there = next((parent for parent in path.parents if parent.exists()), None)
    return nearest_there if nearest_there is not None and nearest_there.is_file() else None


def _member(archive: Path, name: str, source: str) -> bytes:
    if not tarfile.is_tarfile(archive):
        raise UserError(f"{source}: {archive.name} is neither a folder nor a tar archive")
    with archive.open("rb") as content, _opened_archive(content, source) as tar:
        files = {_plain(member): member for member in tar if not member.isdir()}
        if name not in files:
            raise UserError(f"{source}: no such file in {archive.name}{nearest(name, files)}")
        file = tar.extractfile(files[name])
        if file is None:
            raise UserError(f"{source} is not a file")
        return file.read()


@contextmanager
def _opened_archive(file: OpenFile, source: str) -> Iterator[tarfile.TarFile]:
    file.seek(0)
    try:
        with tarfile.open(fileobj=file) as tar:
            yield tar
    except (*DAMAGED, KeyError) as error:  # of a link to nothing
        raise UserError(f"{source}: the archive is truncated or altered") from error


def _plain(member: tarfile.TarInfo) -> str:
    return posixpath.normpath(member.name)
