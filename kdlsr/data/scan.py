"""What a tree of files holds, known from names, checksums and files' heads.

Checksums are remembered by modification time. Nothing here decodes a file.
"""

import hashlib
import io
import itertools
import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from kdlsr.config import UserError
from kdlsr.data.dataset import cache_dir, quiet
from kdlsr.data.file_kind import NO_HEAD, AnyPath, FileKind, Head
from kdlsr.data.in_parallel import in_parallel
from kdlsr.data.listing import Tree
from kdlsr.files import disk_refusals, parse_json, write_whole
from kdlsr.files.download import Progress

# A file changed this shortly before it was read may change again within its time stamp's tick.
UNSETTLED_NS = 2_000_000_000

Role = Literal["sample", "perhaps", "annotation"]  # what a file is expected to be


class Row(NamedTuple):
    """What is remembered of one file; `first`, `second` and `form` are its `Head`'s.

    `sha256` is empty for what was found among the tree's files and is not of their kind.
    """

    size: int
    modified_ns: int
    changed_ns: int
    sha256: str
    first: int
    second: int
    form: str

    @property
    def head(self) -> Head:
        """What the file's head says."""
        return Head(self.first, self.second, self.form)


@dataclass(frozen=True)
class Inspection:
    """What the files of a tree are.

    Attributes:
        fingerprint: SHA-256 over the sorted (relative path, size, SHA-256 of content).
        heads: what the head of each file of the tree's kind says, by its path, sorted.
        strays: files that were listed and are not of the tree's kind.
    """

    fingerprint: str
    heads: Mapping[str, Head]
    strays: frozenset[str]


def inspect(tree: Tree, progress: Progress = quiet, *, remembered: bool = True) -> Inspection:
    """Reads each file once, or, where it is remembered and as it was the last time, not at all.

    Raises:
        UserError: a file cannot be read, or is not of the tree's kind though it is called so
            (with `tree.skip_unreadable` it is one of `strays` instead).
    """
    roles = _roles(tree)
    name = _digest(str(tree.root.resolve()))[:24] + tree.kind.index
    index = cache_dir() / "files" / f"{name}.json"
    known = _read_index(index) if remembered else {}
    started = time.time_ns()
    prefix = f"{tree.root}/"
    rows = {
        path: row
        for path, role in roles.items()
        if (row := known.get(path)) and _fits(row, role) and _unchanged(prefix + path, row)
    }
    missing = {path: role for path, role in roles.items() if path not in rows}
    if missing:
        rows |= _read_rows(tree, missing, progress)
        settled = {p: r for p, r in rows.items() if started - r.changed_ns > UNSETTLED_NS}
        if remembered:
            _write_index(index, settled)
    return _summarise({path: rows[path] for path in roles})


def _roles(tree: Tree) -> dict[str, Role]:
    """Returns what each file is expected to be, by its path, sorted."""
    roles: dict[str, Role] = {}
    for path in (*tree.train.paths, *tree.test.paths):
        is_meant = tree.kind.promised_by(path) and not tree.skip_unreadable
        roles[path] = "sample" if is_meant else "perhaps"
    roles |= dict.fromkeys(tree.annotations, "annotation")
    return dict(sorted(roles.items()))


def _fits(row: Row, role: Role) -> bool:
    """Whether what is remembered of a file is all that its role asks for."""
    return bool(row.form) or role == "perhaps" or (role == "annotation" and bool(row.sha256))


def _unchanged(path: str, row: Row) -> bool:
    try:
        now = os.stat(path)  # noqa: PTH116 (a Path for each of 60,000 files takes as long again)
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == row[:3]


def _read_rows(tree: Tree, roles: Mapping[str, Role], progress: Progress) -> dict[str, Row]:
    reading = _Reading(tree.root, tree.kind)
    results = in_parallel(reading, list(roles.items()), f"checksum {tree.root.name}", progress)
    return dict(zip(roles, itertools.chain.from_iterable(results), strict=True))


@dataclass(frozen=True)
class _Reading:
    """Reads files of one tree, which is all that a process has to be told of it."""

    root: Path
    kind: FileKind

    def __call__(self, chunk: Sequence[tuple[str, Role]]) -> list[Row]:
        return [_read_row(f"{self.root}/{path}", role, self.kind) for path, role in chunk]


def read_bytes(path: AnyPath) -> tuple[bytes, os.stat_result]:
    """Returns a small file's content, and its state when it was opened.

    Raises:
        UserError: it cannot be read, or is no regular file (a pipe is not waited for).
    """
    try:
        with _opened(path) as file:
            return file.readall(), os.fstat(file.fileno())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _opened(path: AnyPath) -> io.FileIO:
    """Opens a regular file; of a pipe, without waiting for whoever opens the other end."""
    file = io.FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError(f"{path} is no regular file")
    return file


def _read_row(path: str, role: Role, kind: FileKind) -> Row:
    if role == "perhaps" and not _is_one(path, kind):
        stray = Path(path)
        now = stray.lstat() if stray.is_symlink() and not stray.exists() else stray.stat()
        return Row(now.st_size, now.st_mtime_ns, now.st_ctime_ns, "", *NO_HEAD)
    content, now = read_bytes(path)
    head = NO_HEAD if role == "annotation" else kind.head(path, content)
    sha256 = hashlib.sha256(content).hexdigest()
    return Row(len(content), now.st_mtime_ns, now.st_ctime_ns, sha256, *head)


def _is_one(path: AnyPath, kind: FileKind) -> bool:
    try:
        with _opened(path) as file:
            return kind.is_one(io.BufferedReader(file))
    except (OSError, UserError):
        return False


def _summarise(rows: dict[str, Row]) -> Inspection:
    counted = {path: row for path, row in rows.items() if row.sha256}
    lines = "".join(f"{path}\0{row.size}\0{row.sha256}\n" for path, row in counted.items())
    heads = {path: row.head for path, row in rows.items() if row.form}
    return Inspection(_digest(lines), heads, frozenset(rows.keys() - counted.keys()))


def _digest(text: str) -> str:
    # Names that are not UTF-8 are distinguished by their raw bytes.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _read_index(path: Path) -> dict[str, Row]:
    try:
        rows = parse_json(path.read_bytes())
        return {name: Row(*row) for name, row in rows.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # a damaged index: all is read anew


def _write_index(path: Path, rows: dict[str, Row]) -> None:
    with disk_refusals(path):
        write_whole(path, json.dumps(rows, separators=(",", ":")))
