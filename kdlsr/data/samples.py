"""What training is given of a data set: labels, and inputs of chosen rows, on a device.

Images, text and sound are classes of `Samples`, never other streams. Batches, splits and seeds
are chosen elsewhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from kdlsr.config.encoding import Encoder
from kdlsr.config.inputs import InputSpec
from kdlsr.data.draws import Rows, permutation
from kdlsr.data.normalisation import Normalisation

Inputs: TypeAlias = Tensor | dict[str, Tensor]
"""What a network is given: the batch axis first, in every tensor."""

Made: TypeAlias = Callable[[slice], Inputs]
"""Inputs that are ready to be made: of a slice of the rows that were asked for, in their order."""


@dataclass(frozen=True)
class PlannedViews:
    """Inputs that are made of a plan's columns, one for each of them, whoever chooses these.

    Attributes:
        plan: tensors (k, n), of any k, on the device that makes the inputs.
        make: gives the inputs (B, ...) of columns (k, B) of each; the same function for all
            epochs of a recipe, without randomness, and without waiting for the device.
    """

    plan: Sequence[Tensor]
    make: Callable[[Sequence[Tensor]], Tensor]

    def __call__(self, part: slice) -> Tensor:
        """Returns the inputs of a slice of the columns."""
        return self.make([columns[:, part] for columns in self.plan])


class Samples(ABC):
    """The inputs and labels of one split of a data set, made on a device.

    Attributes:
        labels: (N,), int64, on `device`: of all rows.
        spec: what the inputs are.
        device: where inputs are wanted.
        normalisation: what they are normalised by; None: they are no quantities (tokens).
        on_device: views are made by the device alone: the host neither waits nor copies
            between an epoch's batches. Where they are `PlannedViews` too, a step can be recorded
            with its views.
        varies: views differ from epoch to epoch; where they do not, a teacher's answers to all
            of them are one pass's.
        evaluation_batch_size: how many are evaluated at once.
    """

    labels: Tensor
    spec: InputSpec
    device: torch.device
    normalisation: Normalisation | None = None
    on_device: bool = False
    varies: bool = True
    evaluation_batch_size: int = 1000

    def order(
        self,
        rows: Rows,
        data_seed: int,
        epoch: int,
        batch_size: int,  # noqa: ARG002 (others order by length)
    ) -> Rows:
        """Returns `rows` in the order of an epoch (from 0): drawn, unless a kind has its own.

        Args:
            rows: (n,), what is trained on.
            data_seed: with `epoch`, all that a draw may depend on.
            epoch: counted from 0.
            batch_size: how many will share a batch, for an order of like lengths.
        """
        return rows[permutation(len(rows), data_seed, epoch)]

    def evaluation_order(self, rows: Rows) -> Rows | None:  # noqa: ARG002 (others: by length)
        """Returns in which order `rows` (n,) are best evaluated: places 0..n-1; None: as they are.

        A function of the rows alone, so that each shares its batch with the same others.
        """
        return None

    def read_by(self, encoder: Encoder | None) -> "Samples":  # noqa: ARG002 (texts are read)
        """Returns the same rows as the network sees them that brings `encoder`; None: these."""
        return self

    @abstractmethod
    def views(self, rows: Rows, data_seed: int, epoch: int) -> Made:
        """Makes ready the views of `rows` in an epoch: a function of row, epoch and seed."""

    @abstractmethod
    def plain(self, rows: Rows) -> Made:
        """Makes ready the inputs of `rows` as they are, without augmentation."""
