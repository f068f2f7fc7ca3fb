"""ESC-50 and ESC-10 (Piczak 2015): environmental sounds of 5 s, in five folds.

Clips that were cut from one recording share a fold: the folds are the split, never another.
"""

import csv
import io
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from kdlsr.config import UserError
from kdlsr.data.audio import AudioDataset
from kdlsr.data.class_folders import classes_in, files_of_classes
from kdlsr.data.dataset import datasets
from kdlsr.data.listing import Files, Passed, Tree
from kdlsr.data.scan import read_bytes
from kdlsr.data.sound_files import SOUNDS

META = "meta/esc50.csv"
COLUMNS = ("filename", "fold", "target", "category", "esc10")
FOLDS = range(1, 6)


@dataclass(frozen=True)
class Clips:
    """All clips of a tree; `folds` has the fold of each file."""

    root: Path
    class_names: tuple[str, ...]
    files: Files
    folds: list[int]
    annotations: tuple[str, ...] = ()
    passed: tuple[Passed, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Esc(AudioDataset):
    """Read from ESC-50's layout (`audio/*.wav` and `meta/esc50.csv`), or `<class>/<fold>-*`.

    Attributes:
        fold: the test set; the others are trained on.
    """

    fold: Literal[1, 2, 3, 4, 5] = 5

    classes: ClassVar[int]
    folders: ClassVar[tuple[str, ...]]

    def tree(self) -> Tree:
        folder = self.place((*self.folders, "."), f"{META}, and no <class>/<fold>-*")
        clips = self._listed(folder) if (folder / META).is_file() else _sorted(folder)
        if len(clips.class_names) != self.classes:
            raise UserError(
                f"{folder} has {len(clips.class_names)} classes, not {self.classes} "
                "(dataset=audio_folder reads any number)"
            )
        tested = np.array(clips.folds) == self.fold
        train, test = (clips.files.at(np.flatnonzero(rows)) for rows in (~tested, tested))
        return Tree(
            clips.root,
            SOUNDS,
            clips.class_names,
            train,
            test,
            clips.annotations,
            clips.passed,
            self.skip_unreadable,
        )

    def _listed(self, root: Path) -> Clips:
        """ESC-50's layout: `meta/esc50.csv` says of each file in `audio` what it is."""
        meta = root / META
        rows = sorted(_rows(meta), key=lambda row: row["filename"])
        _check_once(meta, [row["filename"] for row in rows])
        if self.classes == 10:
            rows = [row for row in rows if row["esc10"].lower() == "true"]
        names = _names(meta, rows)
        targets = sorted(names)
        labels = np.array([targets.index(int(row["target"])) for row in rows], dtype=np.int64)
        files = Files(tuple(f"audio/{row['filename']}" for row in rows), labels)
        folds = [_fold(meta, row["fold"]) for row in rows]
        return Clips(root, tuple(names[target] for target in targets), files, folds, (META,))


def _sorted(root: Path) -> Clips:
    """The layout of class folders, in which a file's name begins with its fold."""
    class_names, passed = classes_in(root), list[Passed]()
    files = files_of_classes(root, list(class_names), SOUNDS, passed)
    folds = [_fold(root / path, Path(path).name.partition("-")[0]) for path in files.paths]
    return Clips(root, class_names, files, folds, passed=tuple(passed))


def _check_once(where: Path, clips: list[str]) -> None:
    """Refuses a clip that stands twice: it might be trained and tested on."""
    for clip, following in itertools.pairwise(clips):
        if clip == following:
            raise UserError(f"{where}: {clip} stands in it twice")


def _names(where: Path, rows: list[dict[str, str]]) -> dict[int, str]:
    """Returns the category of each target; the two are different words for one class."""
    names: dict[int, str] = {}
    for row in rows:
        target, name = _number(where, row["target"]), row["category"]
        if names.setdefault(target, name) != name:
            raise UserError(f"{where}: target {target} is {names[target]!r} and {name!r}")
    target_of: dict[str, int] = {}
    for target, name in names.items():
        if target_of.setdefault(name, target) != target:
            raise UserError(f"{where}: {name!r} is target {target_of[name]} and {target}")
    return names


def _number(where: Path, text: str) -> int:
    if not text.isdecimal():
        raise UserError(f"{where}: {text!r} is no number")
    return int(text)


def _fold(where: Path, text: str) -> int:
    if not text.isdecimal() or int(text) not in FOLDS:
        raise UserError(f"{where}: {text!r} is no fold; expected 1 to 5")
    return int(text)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        table = csv.DictReader(io.StringIO(read_bytes(path)[0].decode("utf-8-sig")))
        rows = []
        for row in table:
            if None in row or None in row.values():
                width = len(table.fieldnames or ())
                raise UserError(f"{path}, line {table.line_num}: expected {width} columns")
            rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no table of comma-separated values ({error})") from error
    for name in COLUMNS:
        if name not in (table.fieldnames or ()):
            raise UserError(f"{path} has no column {name!r}")
    return rows


@datasets.register("esc10")
@dataclass(frozen=True, kw_only=True)
class Esc10(Esc):
    """The ten classes of ESC-50 that its author published under CC BY: 400 clips."""

    classes: ClassVar[int] = 10
    folders: ClassVar[tuple[str, ...]] = ("esc10", "ESC-10", "ESC-50", "ESC-50-master")


@datasets.register("esc50")
@dataclass(frozen=True, kw_only=True)
class Esc50(Esc):
    """Fifty classes, 2,000 clips, CC BY-NC."""

    classes: ClassVar[int] = 50
    folders: ClassVar[tuple[str, ...]] = ("ESC-50", "ESC-50-master")
