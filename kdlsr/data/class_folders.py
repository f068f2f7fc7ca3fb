"""Trees of files in folders named by class, of any kind of file."""

from pathlib import Path

import numpy as np

from kdlsr.config import UserError
from kdlsr.data.draws import Purpose
from kdlsr.data.file_kind import FileKind
from kdlsr.data.listing import Files, Passed, Tree, folders, listed
from kdlsr.data.split import stratified_split


def train_and_test(root: Path, kind: FileKind) -> Tree:
    """Returns the tree of `train/<class>/*` and `test/<class>/*` below `root`.

    Raises:
        UserError: a folder is missing or empty, or the two have other classes.
    """
    class_names = classes_of_splits(root, "train", "test")
    passed: list[Passed] = []
    train, test = (
        files_of_classes(root, [f"{split}/{name}" for name in class_names], kind, passed)
        for split in ("train", "test")
    )
    return Tree(root, kind, class_names, train, test, passed=tuple(passed))


def classes_of_splits(root: Path, first: str, *others: str) -> tuple[str, ...]:
    """Returns the names of the classes below `root/<split>`, sorted: the same in all splits.

    Raises:
        UserError: there is no such folder, fewer than two classes in it, or others than in the
            first split.
    """
    class_names = _split_classes(root, first)
    for split in others:
        for name in sorted({*class_names} ^ {*_split_classes(root, split)}):
            have, lack = (first, split) if name in class_names else (split, first)
            raise UserError(f"{root / lack} has no class {name!r}, which {have} has")
    return class_names


def classes_in(folder: Path) -> tuple[str, ...]:
    """Returns the names of the folders in `folder`, sorted: its classes.

    Raises:
        UserError: there are fewer than two.
    """
    names = tuple(folders(folder))
    if len(names) < 2:
        raise UserError(f"{folder} must hold a folder for each of at least two classes")
    return names


def files_of_classes(
    root: Path, class_folders: list[str], kind: FileKind, passed: list[Passed]
) -> Files:
    """Returns the files of each class's folder below `root`; labels are the folders' places.

    Args:
        root: the tree.
        class_folders: relative to it, one for each class.
        kind: of the files.
        passed: gets what lies there and is not read.

    Raises:
        UserError: a folder is empty.
    """
    paths: list[str] = []
    labels: list[int] = []
    for label, folder in enumerate(class_folders):
        found, others = listed(root, folder, kind)
        if not found and not others:
            raise UserError(f"{root / folder} holds no {kind.noun}")
        paths += found
        labels += [label] * len(found)
        passed += others
    return Files(tuple(paths), np.array(labels, dtype=np.int64))


def split_at_random(files: Files, test_fraction: float, test_seed: int) -> tuple[Files, Files]:
    """Returns files to train on, and a share of each class to test on, chosen by a seed.

    Raises:
        UserError: no class has a file to spare.
    """
    kept, held_out = stratified_split(files.labels, test_fraction, test_seed, Purpose.TEST)
    if not len(held_out):
        raise UserError(
            f"dataset.test_fraction={test_fraction:g} leaves nothing to test on: no class has more "
            "than one file, and one of each is trained on"
        )
    return files.at(kept), files.at(held_out)


def _split_classes(root: Path, split: str) -> tuple[str, ...]:
    if not (root / split).is_dir():
        raise UserError(f"dataset.root={root}: there is no folder {split}/ in it")
    return classes_in(root / split)
