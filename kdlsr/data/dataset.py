"""What a data set is to the rest of kdlsr: cheap facts, then content in the host's memory.

NumPy only. How content becomes views on a device is the business of `Samples`; no data set
may know of it.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdlsr.config import Registry
from kdlsr.config.encoding import Encoder
from kdlsr.config.inputs import InputSpec
from kdlsr.files.download import Progress

if TYPE_CHECKING:
    import torch

    from kdlsr.data.normalisation import Normalisation
    from kdlsr.data.recipe import ViewRecipe
    from kdlsr.data.samples import Samples


def quiet(what: str, done: int, total: int) -> None:
    """The `Progress` that shows nothing."""


@dataclass(frozen=True)
class Facts:
    """What is known of a data set without loading it.

    Attributes:
        spec: kind and shape of its inputs: what a network for it is built for.
        num_classes: K.
        fingerprint: identifies the content: the same wherever the same content lies.
        class_names: K names, in the order of the labels.
        train, test: how many samples there are to train and to test on; None: not known yet.
        skipped: how many files of which kind were passed over among those that hold the samples;
            None: the data set is no tree of files that might hold others.
        remark: what a user should know of what was found; None: nothing.
        finds_classes: its classes are whatever its files hold: a run says how many there are.
        with_f1: F1 of class 1 is among its metrics, where there are two classes.
    """

    spec: InputSpec
    num_classes: int
    fingerprint: str
    class_names: tuple[str, ...]
    train: int | None = None
    test: int | None = None
    skipped: tuple[tuple[str, int], ...] | None = None
    remark: str | None = None
    finds_classes: bool = False
    with_f1: bool = False


class Content(ABC):
    """One split as it lies in the host's memory, in a fixed order.

    Attributes:
        labels: (N,), int64, in [0, num_classes).
    """

    labels: npt.NDArray[np.int64]

    @abstractmethod
    def moments(self, rows: npt.NDArray[np.int64]) -> "Normalisation | None":
        """Returns mean and std per channel over `rows`; None where there are no quantities."""

    @abstractmethod
    def samples(
        self,
        spec: InputSpec,
        normalisation: "Normalisation | None",
        recipe: "ViewRecipe",
        device: "torch.device",
        encoder: Encoder | None = None,
    ) -> "Samples":
        """Makes this content ready for a device.

        Args:
            spec: the data set's.
            normalisation: what inputs are normalised by; None where `moments` gives none.
            recipe: how an input becomes a view; its steps take inputs of this spec.
            device: where views are wanted.
            encoder: of a network of texts, by which texts are read; None for any other.
        """


def data_dir() -> Path:
    """Returns where data sets without a `root` lie: `$KDLSR_DATA`, or `data` below this folder."""
    return Path(os.environ.get("KDLSR_DATA") or "data").expanduser().absolute()


def cache_dir() -> Path:
    """Returns where decoded images, tokens and checksums are kept: `<data dir>/.kdlsr-cache`.

    Never inside a user's own tree, which may be read-only; it may be deleted at any time.
    """
    return data_dir() / ".kdlsr-cache"


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
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
        """Returns what is known without downloading or decoding (small texts are read whole).

        Raises:
            UserError: the user's own files are missing or do not make a data set.
        """

    @abstractmethod
    def load(self, progress: Progress = quiet) -> tuple[Content, Content]:
        """Returns what to train and what to test on; downloads or decodes what is not there.

        Raises:
            UserError: it can be neither found nor downloaded, or a file is damaged.
        """

    def more(self) -> Mapping[str, Content]:
        """Returns further test sets by name, whose figures stand beside the test set's: none.

        Raises:
            UserError: as for `load`, which comes first.
        """
        return {}


datasets: Registry[type[Dataset]] = Registry("dataset", "kdlsr.data", entry_points="kdlsr.datasets")
