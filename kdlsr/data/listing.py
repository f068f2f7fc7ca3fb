"""What files a folder's names promise, and what of them was read or passed over.

A file's content says what it is, whatever it is called; what is passed over is counted.
Names and counts only: no file is opened here.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from kdlsr.config import UserError
from kdlsr.data.file_kind import FileKind

MAY_LOSE = 0.01  # of a folder's files; more is an error unless `skip_unreadable`
BELOW, IRREGULAR, UNNAMED = "in folders below", "no regular file", "without suffix"
# Passed over since a data set's own lists say so: no loss.
CHOSEN = UNLISTED, HELD_BACK = "on no list", "of the valid list"
ABSENT = "on a list and not there"


@dataclass(frozen=True)
class Files:
    """Files of one split: paths relative to the tree (with "/"), sorted; labels (N,)."""

    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def without(self, paths: frozenset[str]) -> "Files":
        """Returns these without some of them."""
        kept = np.array([path not in paths for path in self.paths], dtype=np.bool_)
        names = (p for p, is_kept in zip(self.paths, kept, strict=True) if is_kept)
        return Files(tuple(names), self.labels[kept])

    def at(self, rows: npt.NDArray[np.int64]) -> "Files":
        """Returns those at some places, in the order of `rows`."""
        return Files(tuple(self.paths[row] for row in rows), self.labels[rows])


@dataclass(frozen=True)
class Passed:
    """A file that is not read: the folder that it was expected in, its path, and what it is."""

    folder: str
    path: str
    what: str


@dataclass(frozen=True)
class Tree:
    """A data set as files below `root`.

    Attributes:
        root: the folder.
        kind: of its files.
        class_names: in the order of the labels.
        train: files to train on.
        test: files to test on.
        annotations: other files that decide what the data set is (paths as in `Files`).
        passed: what lies among them and is not read.
        skip_unreadable: go on without files that cannot be read, however many.
    """

    root: Path
    kind: FileKind
    class_names: tuple[str, ...]
    train: Files
    test: Files
    annotations: tuple[str, ...] = ()
    passed: tuple[Passed, ...] = ()
    skip_unreadable: bool = False

    def sifted(self, strays: frozenset[str]) -> "Tree":
        """Returns the tree of what can be read.

        Args:
            strays: files of `train` and `test` that are not of its kind.

        Raises:
            UserError: a folder holds no file of the kind, or loses more than `MAY_LOSE` of them.
        """
        found = (Passed(_folder(path), path, _suffix(path)) for path in sorted(strays))
        passed = (*self.passed, *found)
        train, test = self.train.without(strays), self.test.without(strays)
        self._check_losses(Counter(map(_folder, (*train.paths, *test.paths))), passed)
        return replace(self, train=train, test=test, passed=passed)

    def _check_losses(self, read: Mapping[str, int], passed: tuple[Passed, ...]) -> None:
        lost: dict[str, list[Passed]] = {}
        for file in passed:
            if self._is_lost(file):
                lost.setdefault(file.folder, []).append(file)
        expected = {_folder(path) for path in (*self.train.paths, *self.test.paths)}
        for folder in sorted(expected | lost.keys()):
            count, of_folder = read.get(folder, 0), lost.get(folder, [])
            if count and (
                self.skip_unreadable or len(of_folder) <= MAY_LOSE * (count + len(of_folder))
            ):
                continue
            listed = in_words(counted(tuple(of_folder)))
            if not count:
                hint = f" that can be read: passed over {listed}" if of_folder else ""
                raise UserError(f"{self.root / folder} holds no {self.kind.noun}{hint}")
            raise UserError(
                f"{self.root / folder} would lose {len(of_folder)} of {count + len(of_folder)} "
                f"{self.kind.noun}s ({listed}; the first: {of_folder[0].path}); mend or move them, "
                "or go on without them: dataset.skip_unreadable=true"
            )

    def _is_lost(self, file: Passed) -> bool:
        """Whether somebody seems to have meant a file to be read."""
        if file.what in CHOSEN:
            return False
        return file.what in (BELOW, IRREGULAR, ABSENT) or self.kind.seems(file.path)


def folders(path: Path) -> list[str]:
    """Returns the names of the folders in `path`, sorted, without hidden ones."""
    with os.scandir(path) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def listed(root: Path, folder: str, kind: FileKind) -> tuple[list[str], list[Passed]]:
    """Returns the files in `root/folder` that may be of `kind`, and what else might have been.

    Both sorted, as paths relative to `root`. Hidden files are neither. What no regular file is
    (a pipe, a device) is never opened; a link that leads nowhere is, so that it is told.
    """
    files, passed = [], []
    with os.scandir(root / folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            path = f"{folder}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                passed += [Passed(folder, below, BELOW) for below in _below(root, path, kind)]
            elif entry.is_file() or (entry.is_symlink() and not (root / path).exists()):
                files.append(path)
            else:
                passed.append(Passed(folder, path, IRREGULAR))
    return files, passed


def counted(passed: tuple[Passed, ...]) -> tuple[tuple[str, int], ...]:
    """Returns how many files of each kind were passed over, the most first."""
    return tuple(Counter(file.what for file in passed).most_common())


def in_words(skipped: tuple[tuple[str, int], ...]) -> str:
    """Returns "12 .txt, 3 in folders below"."""
    return ", ".join(f"{count:,} {what}" for what, count in skipped) or "nothing"


def _below(root: Path, folder: str, kind: FileKind) -> Iterator[str]:
    for place, inner, names in os.walk(root / folder):
        inner.sort()
        found = (Path(place, n).relative_to(root).as_posix() for n in sorted(names))
        yield from (path for path in found if kind.seems(path))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower() or UNNAMED
