"""Any tree of images in folders named by class: `train/<class>/*` and `test/<class>/*`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from kdlsr.config import AtLeast, UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data.dataset import Dataset, Facts, datasets, quiet
from kdlsr.data.decoded import Decoding, load_decoded
from kdlsr.data.images import Images
from kdlsr.data.listing import Files, Passed, Tree, counted, folders, listed
from kdlsr.data.scan import Inspection, inspect
from kdlsr.files.download import Progress


@datasets.register("image_folder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder(Dataset):
    """Images of the user's own; classes are the sorted folder names.

    Grey where all images are, else RGB. A file is an image if Pillow can read it, whatever its
    suffix (.jfif, .avif, none); of an animation it is the first frame. Hidden files are passed
    over; so are others that are no image, which are counted. Checksums and decoded images are
    kept in the data directory's `.kdlsr-cache`, never in the tree itself.

    Attributes:
        image_size: what the shorter side is resized to (bilinear) before the centre is
            cropped square; null: all images have one size already.
        skip_unreadable: go on without files that are called images, or seem to be, and cannot be
            read, however many they are; otherwise a class that loses more than 1 % is refused.
    """

    image_size: Annotated[int, AtLeast(1)] | None = None
    skip_unreadable: bool = False

    def facts(self) -> Facts:
        tree, found = self._inspected(quiet)
        return Facts(
            spec=self._spec(found),
            num_classes=len(tree.class_names),
            fingerprint=found.fingerprint,
            class_names=tree.class_names,
            train=len(tree.train.paths),
            test=len(tree.test.paths),
            skipped=counted(tree.passed),
        )

    def load(self, progress: Progress = quiet) -> tuple[Images, Images]:
        tree, found = self._inspected(progress)
        decoding = Decoding(self._spec(found), self.image_size)
        return load_decoded(tree, found.fingerprint, decoding, progress)

    def _inspected(self, progress: Progress) -> tuple[Tree, Inspection]:
        tree = self._tree()
        found = inspect(tree, progress)
        return tree.sifted(found.no_images), found

    def _spec(self, found: Inspection) -> ImageSpec:
        channels = 1 if found.grey else 3
        if self.image_size is not None:
            return ImageSpec(self.image_size, self.image_size, channels)
        advice = "; set dataset.image_size to resize and crop all to one"
        return ImageSpec(*one_size(found, advice), channels)

    def _tree(self) -> Tree:
        if self.root is None:
            raise UserError(
                "dataset.root is missing: set dataset.root=FOLDER, which holds train/<class>/* "
                "and test/<class>/*"
            )
        root = self.folder
        class_names = class_folders(root, "train", "test")
        passed: list[Passed] = []
        train, test = (class_files(root, split, class_names, passed) for split in ("train", "test"))
        return Tree(root, class_names, train, test, (), tuple(passed), self.skip_unreadable)


def one_size(found: Inspection, advice: str = "") -> tuple[int, int]:
    """Returns the (H, W) that all images have.

    Raises:
        UserError: they differ; the message names two of them, and ends with `advice`.
    """
    (size, path), *others = found.shapes.items()
    for (height, width), other in others:
        raise UserError(
            f"images differ in size: {path} is {size[0]}x{size[1]} pixels, "
            f"{other} {height}x{width}{advice}"
        )
    return size


def class_folders(root: Path, first: str, *others: str) -> tuple[str, ...]:
    """Returns the names of the classes below `root/<split>`, sorted: the same in all splits.

    Raises:
        UserError: there is no such folder, fewer than two classes in it, or others than in the
            first split.
    """
    class_names = _folders_of(root, first)
    for split in others:
        for name in sorted({*class_names} ^ {*_folders_of(root, split)}):
            have, lack = (first, split) if name in class_names else (split, first)
            raise UserError(f"{root / lack} has no class {name!r}, which {have} has")
    return class_names


def _folders_of(root: Path, split: str) -> tuple[str, ...]:
    if not (root / split).is_dir():
        raise UserError(f"dataset.root={root}: there is no folder {split}/ in it")
    names = tuple(folders(root / split))
    if len(names) < 2:
        raise UserError(f"{root / split} must hold a folder for each of at least two classes")
    return names


def class_files(
    root: Path, split: str, class_names: tuple[str, ...], passed: list[Passed]
) -> Files:
    """Returns the images of a split; what lies among them and is none is added to `passed`.

    Raises:
        UserError: a class has none.
    """
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found, others = listed(root, f"{split}/{name}")
        if not found and not others:
            raise UserError(f"{root / split / name} holds no image")
        paths += found
        labels += [label] * len(found)
        passed += others
    return Files(tuple(paths), np.array(labels, dtype=np.int64))
