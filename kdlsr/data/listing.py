"""What image files a folder's names promise, and what of them was read or passed over.

A file is an image if Pillow can read it, whatever it is called; what is passed over is counted.
Names and counts only: no file is opened here.
"""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from kdlsr.config import UserError

# A file called so has to be an image: one that cannot be read is an error, or, where the user
# says so, a loss that is counted. Any other file is an image if its content is one.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")
# Of images that Pillow may not read; `mimetypes` does not know all of them everywhere.
OTHER_IMAGES = (".avif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".dng", ".nef", ".cr2", ".raw")
MAY_LOSE = 0.01  # of a folder's images; more is an error unless `skip_unreadable`
BELOW, IRREGULAR, UNNAMED = "in folders below", "no regular file", "without suffix"


@dataclass(frozen=True)
class Files:
    """Image files of one split: paths relative to the tree (with "/"), sorted; labels (N,)."""

    paths: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def without(self, paths: frozenset[str]) -> "Files":
        """Returns these without some of them."""
        kept = np.array([path not in paths for path in self.paths], dtype=np.bool_)
        names = (p for p, is_kept in zip(self.paths, kept, strict=True) if is_kept)
        return Files(tuple(names), self.labels[kept])


@dataclass(frozen=True)
class Passed:
    """A file that is not read: the folder that it was expected in, its path, and what it is."""

    folder: str
    path: str
    what: str

    @property
    def is_lost(self) -> bool:
        """Whether it seems to be an image that somebody meant to be read."""
        return self.what in (BELOW, IRREGULAR) or _seems_an_image(self.path)


@dataclass(frozen=True)
class Tree:
    """A data set as image files below `root`.

    Attributes:
        root: the folder.
        class_names: in the order of the labels.
        train: files to train on.
        test: files to test on.
        annotations: other files that decide what the data set is (paths as in `Files`).
        passed: what lies among the images and is not read.
        skip_unreadable: go on without images that cannot be read, however many.
    """

    root: Path
    class_names: tuple[str, ...]
    train: Files
    test: Files
    annotations: tuple[str, ...] = ()
    passed: tuple[Passed, ...] = ()
    skip_unreadable: bool = False

    def sifted(self, no_images: frozenset[str]) -> "Tree":
        """Returns the tree of what can be read.

        Args:
            no_images: files of `train` and `test` that are none.

        Raises:
            UserError: a folder holds no image, or loses more than `MAY_LOSE` of its images.
        """
        found = (Passed(_folder(path), path, _suffix(path)) for path in sorted(no_images))
        passed = (*self.passed, *found)
        train, test = self.train.without(no_images), self.test.without(no_images)
        self._check_losses(Counter(map(_folder, (*train.paths, *test.paths))), passed)
        return replace(self, train=train, test=test, passed=passed)

    def _check_losses(self, read: Mapping[str, int], passed: tuple[Passed, ...]) -> None:
        lost: dict[str, list[Passed]] = {}
        for file in passed:
            if file.is_lost:
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
                raise UserError(f"{self.root / folder} holds no image{hint}")
            raise UserError(
                f"{self.root / folder} would lose {len(of_folder)} of {count + len(of_folder)} "
                f"images ({listed}; the first: {of_folder[0].path}); mend or move them, or go on "
                "without them: dataset.skip_unreadable=true"
            )


def folders(path: Path) -> list[str]:
    """Returns the names of the folders in `path`, sorted, without hidden ones."""
    with os.scandir(path) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def listed(root: Path, folder: str) -> tuple[list[str], list[Passed]]:
    """Returns the files in `root/folder` that may be images, and what else might have been.

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
                passed += [Passed(folder, below, BELOW) for below in _images_below(root, path)]
            elif entry.is_file() or (entry.is_symlink() and not (root / path).exists()):
                files.append(path)
            else:
                passed.append(Passed(folder, path, IRREGULAR))
    return files, passed


def promises_image(path: str) -> bool:
    """Whether a file is called as images are that are always read."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def counted(passed: tuple[Passed, ...]) -> tuple[tuple[str, int], ...]:
    """Returns how many files of each kind were passed over, the most first."""
    return tuple(Counter(file.what for file in passed).most_common())


def in_words(skipped: tuple[tuple[str, int], ...]) -> str:
    """Returns "12 .txt, 3 in folders below"."""
    return ", ".join(f"{count:,} {what}" for what, count in skipped) or "nothing"


def _images_below(root: Path, folder: str) -> Iterator[str]:
    for place, inner, names in os.walk(root / folder):
        inner.sort()
        found = (Path(place, n).relative_to(root).as_posix() for n in sorted(names))
        yield from (path for path in found if _seems_an_image(path))


def _seems_an_image(path: str) -> bool:
    kind, _ = mimetypes.guess_type(path)
    is_image = kind is not None and kind.startswith("image/")
    return is_image or path.lower().endswith((*IMAGE_SUFFIXES, *OTHER_IMAGES))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower() or UNNAMED
