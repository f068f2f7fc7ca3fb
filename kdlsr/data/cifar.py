"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from the authors' archives.

Addresses, file names and checksums are those of torchvision's own classes (a test compares
them), and files lie where torchvision puts them, so that neither downloads after the other.
The files are pickles: no byte of one is unpickled before its checksum is found to be right.
That, and downloads that are resumed, is why torchvision's own reader is not used: it opens files
again after checking them, and importing it takes as long as importing torch (90 lines fewer).
"""

import hashlib
import pickle
import tarfile
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data.dataset import Dataset, Facts, datasets, quiet
from kdlsr.data.images import Images
from kdlsr.files import disk_refusals, write_whole
from kdlsr.files.download import Archive, Progress, fetch

Files = tuple[tuple[str, str], ...]  # (name, md5) each


@dataclass(frozen=True)
class Layout:
    """One CIFAR archive: `folder` holds `train` and `test` batches with `label_key` labels."""

    archive: Archive
    folder: str
    train: Files
    test: Files
    label_key: str


CIFAR10_LAYOUT = Layout(
    archive=Archive(
        urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        filename="cifar-10-python.tar.gz",
        checksum="md5:c58f30108f718f92721af3b95e74349a",
        size=170_498_071,
    ),
    folder="cifar-10-batches-py",
    train=(
        ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
        ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        ("data_batch_4", "634d18415352ddfa80567beed471001a"),
        ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    test=(("test_batch", "40351d587109b95175f43aff81a1287e"),),
    label_key="labels",
)

CIFAR100_LAYOUT = Layout(
    archive=Archive(
        urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        filename="cifar-100-python.tar.gz",
        checksum="md5:eb9058c3a382ffc7106e4002c42a8d85",
        size=169_001_437,
    ),
    folder="cifar-100-python",
    train=(("train", "16019d7e3df5f24257cddd939b257f8d"),),
    test=(("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
    label_key="fine_labels",
)

CIFAR10_CLASSES = tuple(
    "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905
)

CIFAR100_CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
    crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
    keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse
    mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy
    porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper
    snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television
    tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True, kw_only=True)
class Cifar(Dataset):
    """What both sets share: 50,000 + 10,000 colour images of 32x32."""

    layout: ClassVar[Layout]
    class_names: ClassVar[tuple[str, ...]]

    def facts(self) -> Facts:
        checksum = self.layout.archive.checksum
        names = self.class_names
        return Facts(ImageSpec(32, 32, 3), len(names), checksum, names, 50_000, 10_000)

    def load(self, progress: Progress = quiet) -> tuple[Images, Images]:
        layout = self.layout
        folder = self.folder / layout.folder
        batches = _verified(folder, layout)
        if batches is None:
            _unpack(fetch(layout.archive, self.folder, progress), folder, progress)
            batches = _verified(folder, layout)
        if batches is None:
            raise UserError(f"{folder} changed while it was read; run again")
        train, test = len(layout.train), len(layout.test)
        progress(f"read {layout.folder}", train + test, train + test)
        return _decode(batches[:train], layout), _decode(batches[train:], layout)


@datasets.register("cifar10")
@dataclass(frozen=True, kw_only=True)
class Cifar10(Cifar):
    """CIFAR-10: 10 classes."""

    layout = CIFAR10_LAYOUT
    class_names = CIFAR10_CLASSES


@datasets.register("cifar100")
@dataclass(frozen=True, kw_only=True)
class Cifar100(Cifar):
    """CIFAR-100: the 100 fine labels."""

    layout = CIFAR100_LAYOUT
    class_names = CIFAR100_CLASSES


def _verified(folder: Path, layout: Layout) -> list[bytes] | None:
    """Returns the batch files' contents, or None where one is missing or has another md5."""
    contents = []
    for name, md5 in layout.train + layout.test:
        path = folder / name
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            return None
        contents.append(content)
    return contents


def _unpack(archive: Path, folder: Path, progress: Progress) -> None:
    """Writes the archive's files below `folder`, each whole or not at all."""
    with tarfile.open(archive) as tar:
        members = [
            member
            for member in tar.getmembers()
            if member.isfile() and PurePosixPath(member.name).parent.as_posix() == folder.name
        ]
        for done, member in enumerate(members):
            progress(f"unpack {archive.name}", done, len(members))
            content = tar.extractfile(member)
            assert content is not None  # a regular file has content
            path = folder / PurePosixPath(member.name).name
            with disk_refusals(path):
                write_whole(path, content.read())


def _decode(batches: list[bytes], layout: Layout) -> Images:
    entries = [_unpickle(batch) for batch in batches]
    pixels = np.concatenate([entry["data"] for entry in entries]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([np.asarray(entry[layout.label_key]) for entry in entries])
    return Images(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), labels.astype(np.int64))


def _unpickle(verified: bytes) -> dict[str, Any]:
    with warnings.catch_warnings():
        # The arrays were pickled by a NumPy that wrote dtype flags as integers.
        warnings.simplefilter("ignore")
        entry: dict[str, Any] = pickle.loads(verified, encoding="latin1")
    return entry
