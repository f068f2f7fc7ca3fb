"""What a data set is to the rest of kdlsr: cheap facts, then pixels and labels.

NumPy only. How pixels become views on a device is the business of `views` and `stream`; no
source may know of it.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kdlsr.config import Registry
from kdlsr.config.inputs import InputSpec

Report: TypeAlias = Callable[[str, int, int], None]
"""Told `(what, done, total)` as work goes on; a total of 0 is not known."""


def quiet(what: str, done: int, total: int) -> None:
    """The `Report` that shows nothing."""


@dataclass(frozen=True)
class ImageSet:
    """Images and their classes, in a fixed order.

    Attributes:
        pixels: (N, H, W, C), uint8, C is 1 or 3; may be memory-mapped.
        labels: (N,), int64, in [0, num_classes).
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Facts:
    """What is known of a data set without loading it.

    Attributes:
        spec: kind and shape of its inputs: what a network for it is built for.
        num_classes: K.
        fingerprint: identifies the content: the same wherever the same images lie.
        class_names: K names, in the order of the labels.
    """

    spec: InputSpec
    num_classes: int
    fingerprint: str
    class_names: tuple[str, ...]


def data_dir() -> Path:
    """Returns where data sets lie unless told: `$KDLSR_DATA`, or `data` below this folder."""
    return Path(os.environ.get("KDLSR_DATA") or "data").expanduser().absolute()


def cache_dir() -> Path:
    """Returns where decoded images and checksums are kept: `<data dir>/.kdlsr-cache`.

    Never inside a user's own tree, which may be read-only; it may be deleted at any time.
    """
    return data_dir() / ".kdlsr-cache"


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A data set's own options (its dataclass fields) and how to read it.

    Attributes:
        root: the folder that the data set's files lie in, or are downloaded to; null: the
            data directory.
    """

    root: str | None = None

    @property
    def folder(self) -> Path:
        """`root`, or the data directory where it is not set."""
        return data_dir() if self.root is None else Path(self.root).expanduser().absolute()

    @abstractmethod
    def facts(self) -> Facts:
        """Returns what can be told without downloading or decoding.

        Raises:
            UserError: the user's own files are missing or do not make a data set.
        """

    @abstractmethod
    def load(self, report: Report = quiet) -> tuple[ImageSet, ImageSet]:
        """Returns the training and the test images; downloads or decodes what is not there.

        Raises:
            UserError: they can be neither found nor downloaded, or a file is damaged.
        """


datasets: Registry[type[Source]] = Registry("dataset", "kdlsr.data", entry_points="kdlsr.datasets")
