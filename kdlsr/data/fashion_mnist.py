"""Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey images of clothes, 28x28.

Addresses, file names and checksums of the archives are those of torchvision's own class (a
test compares them), and files lie where torchvision puts them. Its reader is not used for the
reasons given in `cifar`.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kdlsr.config.inputs import ImageSpec
from kdlsr.data.dataset import Dataset, Facts, datasets, quiet
from kdlsr.data.images import Images
from kdlsr.files.download import Archive, Progress, fetch

MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"


def _archive(filename: str, md5: str, size: int) -> Archive:
    return Archive((MIRROR + filename,), filename, f"md5:{md5}", size)


@dataclass(frozen=True)
class IdxFile:
    """A gzipped array in MNIST's IDX format; `md5` is that of its unpacked content."""

    archive: Archive
    md5: str


# Images and labels for training, then for testing. torchvision publishes no md5 of the unpacked
# files: these are of what its archives (whose md5 was right) hold.
FILES = (
    IdxFile(
        _archive("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26_421_880),
        md5="f4a8712d7a061bf5bd6d2ca38dc4d50a",
    ),
    IdxFile(
        _archive("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe", 29_515),
        md5="9018921c3c673c538a1fc5bad174d6f9",
    ),
    IdxFile(
        _archive("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79", 4_422_102),
        md5="8181f5470baa50b63fa0f6fddb340f0a",
    ),
    IdxFile(
        _archive("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310", 5_148),
        md5="15d484375f8d13e6eb1aabb0c3f46965",
    ),
)
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@datasets.register("fashion_mnist")
@dataclass(frozen=True, kw_only=True)
class FashionMnist(Dataset):
    """Read from `<root>/FashionMNIST/raw/`, unpacked or gzipped; downloaded where neither is."""

    def facts(self) -> Facts:
        md5s = "\n".join(file.archive.checksum for file in FILES)
        fingerprint = "sha256:" + hashlib.sha256(md5s.encode()).hexdigest()
        return Facts(ImageSpec(28, 28, 1), 10, fingerprint, CLASSES, 60_000, 10_000)

    def load(self, progress: Progress = quiet) -> tuple[Images, Images]:
        folder = self.folder / "FashionMNIST" / "raw"
        arrays = []
        for done, file in enumerate(FILES):
            progress("read FashionMNIST", done, len(FILES))
            arrays.append(parse_idx(_content(file, folder, progress)))
        progress("read FashionMNIST", len(FILES), len(FILES))
        images, labels, test_images, test_labels = arrays
        return (
            Images(images[..., None], labels.astype(np.int64)),
            Images(test_images[..., None], test_labels.astype(np.int64)),
        )


def parse_idx(content: bytes) -> npt.NDArray[np.uint8]:
    """Returns the array in an IDX file's `content`, of any shape.

    The format: two zero bytes, 8 (unsigned bytes), the number of dimensions, each of them as a
    big-endian 32-bit integer, then the values in C order.

    Raises:
        ValueError: it is not such a file, or its length is not what its head says.
    """
    if content[:3] != b"\0\0\x08":
        raise ValueError("not an IDX file of bytes")
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4).tolist()
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


def _content(file: IdxFile, folder: Path, progress: Progress) -> bytes:
    unpacked = folder / file.archive.filename.removesuffix(".gz")
    if unpacked.is_file():
        content = unpacked.read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == file.md5:
            return content
    return gzip.decompress(fetch(file.archive, folder, progress).read_bytes())
