"""scikit-learn's embedded 8x8 handwritten digits: real images with nothing to download."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kdlsr.config.inputs import ImageSpec
from kdlsr.data.dataset import Dataset, Facts, datasets, quiet
from kdlsr.data.images import Images
from kdlsr.files.download import Progress

TEST_PER_CLASS = 50
# SHA-256 over training pixels, labels (little-endian int64), then those for testing.
FINGERPRINT = "sha256:0368236d8106983a10dd2f320608425db5bdb091fbf86b31b3c4ec4a2a85e345"


@datasets.register("digits")
@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """1,797 images of 8x8, split 1,297 / 500; values 0..16 are scaled by 15 to 0..240.

    The data is the test part of Alpaydin and Kaynak's "Optical Recognition of Handwritten
    Digits" (UCI, 1998), which names no split of it. Ours is fixed and stratified: 50 images of
    each class are the test set, drawn by `test_rows`. `root` is not used.
    """

    def facts(self) -> Facts:
        return Facts(ImageSpec(8, 8, 1), 10, FINGERPRINT, tuple("0123456789"), 1297, 500)

    def load(self, progress: Progress = quiet) -> tuple[Images, Images]:
        progress("read digits", 0, 1)
        images, written = _read()
        pixels = (images.reshape(-1, 8, 8, 1) * 15).astype(np.uint8)
        labels = written.astype(np.int64)
        is_test = test_rows(labels)
        progress("read digits", 1, 1)
        return (
            Images(pixels[~is_test], labels[~is_test]),
            Images(pixels[is_test], labels[is_test]),
        )


def _read() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns (1797, 64) values and (1797,) labels, as scikit-learn's `load_digits` has them.

    From its file, where that lies as it does today: importing scikit-learn takes as long as
    importing torch.
    """
    package = importlib.util.find_spec("sklearn")
    for folder in package.submodule_search_locations or () if package else ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.exists():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels


def test_rows(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Returns which rows are the test set: (N,) truth values, 50 for each class.

    Each row has a random number, the raw 64-bit output of NumPy's Philox with key 0 (a stream
    that NumPy promises never to change); the 50 lowest of a class are its test rows. Neighbours
    in the file come from one writer, so a split by position would be another, harder task.
    """
    draws = np.random.Philox(key=0).random_raw(len(labels))
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        chosen[rows[np.argsort(draws[rows], kind="stable")[:TEST_PER_CLASS]]] = True
    return chosen
