"""CINIC-10 (Darlow et al. 2018, arXiv 1810.03505): CIFAR-10's classes, 3 x 90,000 images of 32x32.

CIFAR-10 with downsampled images of ImageNet, in three equal splits: train, valid and test. Address
and size are those of the authors' repository (Edinburgh DataShare, doi 10.7488/ds/2448); the MD5
is the one that several independent readers of the archive state.
"""

import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from kdlsr.config.inputs import ImageSpec
from kdlsr.data.cifar import CIFAR10_CLASSES
from kdlsr.data.class_folders import classes_of_splits, files_of_classes
from kdlsr.data.dataset import Facts, datasets
from kdlsr.data.image_files import IMAGES
from kdlsr.data.listing import Files, Passed, Tree
from kdlsr.data.official_tree import OfficialTree, unpack_official
from kdlsr.files import write_whole
from kdlsr.files.download import Archive, Progress

FOLDER = "CINIC-10"
SPLITS = ("train", "valid", "test")
SPLIT_SIZE = 90_000
SPEC = ImageSpec(32, 32, 3)
ARCHIVE = Archive(
    urls=("https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",),
    filename="CINIC-10.tar.gz",
    checksum="md5:6ee4d0c996905fe93221de577967a372",
    size=687_544_992,
)


@datasets.register("cinic10")
@dataclass(frozen=True, kw_only=True)
class Cinic10(OfficialTree):
    """Read from `<root>/CINIC-10`, which is downloaded and unpacked if need be, or from `root`.

    Each split is a folder of the classes' folders, as `image_folder` reads one; a tree with fewer
    classes or images is read as well, and known by its content.

    Attributes:
        join_valid: train on train and valid together (180,000 images), as some do; otherwise
            valid is left out. Held-out images for validation are `val_fraction`'s either way.
    """

    join_valid: bool = False

    @property
    def archive(self) -> Archive:
        return ARCHIVE

    @property
    def published(self) -> Facts:
        fingerprint = ARCHIVE.checksum + ("+valid" if self.join_valid else "")
        train = SPLIT_SIZE * (2 if self.join_valid else 1)
        names = CIFAR10_CLASSES
        return Facts(SPEC, len(names), fingerprint, names, train, SPLIT_SIZE, ())

    @property
    def tree_folder(self) -> Path:
        given = self.folder
        return given if (given / "train").is_dir() else given / FOLDER

    def read_tree(self, root: Path) -> Tree:
        return _tree(root, join_valid=self.join_valid, skip_unreadable=self.skip_unreadable)

    def unpack(self, archive: Path, root: Path, progress: Progress) -> None:
        _unpack(archive, root, progress)


def _tree(root: Path, *, join_valid: bool, skip_unreadable: bool = False) -> Tree:
    trained = ("train", "valid") if join_valid else ("train",)
    class_names = classes_of_splits(root, *trained, "test")
    passed: list[Passed] = []

    def files_of(split: str) -> Files:
        return files_of_classes(root, [f"{split}/{name}" for name in class_names], IMAGES, passed)

    parts = [files_of(split) for split in trained]
    train = Files(
        tuple(path for part in parts for path in part.paths),
        np.concatenate([part.labels for part in parts]),
    )
    test = files_of("test")
    return Tree(root, IMAGES, class_names, train, test, (), tuple(passed), skip_unreadable)


def _unpack(archive: Path, root: Path, progress: Progress) -> None:
    def extract(folder: Path) -> None:
        with tarfile.open(archive, "r|*") as tar:
            for done, member in enumerate(tar):
                place = PurePosixPath(member.name).parts[-3:]  # split, class, file
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None and len(place) == 3 and place[0] in SPLITS:
                    folder.joinpath(*place[:2]).mkdir(parents=True, exist_ok=True)
                    write_whole(folder.joinpath(*place), content.read(), sync=False)
                progress(f"unpack {archive.name}", done, 3 * SPLIT_SIZE)

    def trees(folder: Path) -> list[Tree]:
        return [_tree(folder, join_valid=joined) for joined in (False, True)]

    unpack_official(root, ARCHIVE, extract, trees, progress)
