"""Batches in the order in which a network meets them: shuffled views, or plain images.

What a batch holds is a function of data seed and epoch; streams keep no state between epochs,
so training resumes anywhere. On a GPU preparing a batch never makes the host wait.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlsr.data.draws import Indices, draw, permutation
from kdlsr.data.recipes import ViewRecipe
from kdlsr.data.views import ViewMaker

Inputs: TypeAlias = Tensor | dict[str, Tensor]
"""What a network is given: the batch axis first, in every tensor."""


class Batch(NamedTuple):
    """What one step sees, on the stream's device.

    Attributes:
        inputs: images (B, C, H, W), normalised, channels_last in memory.
        labels: (B,), int64.
        indices: (B,), int64: which samples of the original data set these are.
    """

    inputs: Inputs
    labels: Tensor
    indices: Tensor


class TrainStream:
    """The training views of any epoch, shuffled.

    The last, partial batch of an epoch is kept, as the papers' code does; but where it would
    hold a single sample (another one each epoch) it is dropped, since batch normalisation
    cannot learn from one.

    Args:
        maker: of the original training set's views.
        labels: (N,), of the original training set.
        indices: (n,), which of its samples are trained on.
        recipe: how an image becomes a view.
        data_seed: sets order and views.
        batch_size: samples per step.

    Raises:
        ValueError: no batch can be made: fewer than two samples, or a batch size below one.
    """

    def __init__(
        self,
        maker: ViewMaker,
        labels: npt.NDArray[np.int64],
        indices: Indices,
        recipe: ViewRecipe,
        data_seed: int,
        batch_size: int,
    ) -> None:
        if len(indices) < 2 or batch_size < 1:
            raise ValueError(f"{len(indices)} samples in batches of {batch_size} cannot train")
        self.maker = maker
        self.labels = torch.as_tensor(labels, dtype=torch.int64, device=maker.device)
        self.indices = np.asarray(indices, dtype=np.int64)
        self.recipe = recipe
        self.data_seed = data_seed
        self.batch_size = batch_size
        single = batch_size > 1 and len(indices) % batch_size == 1
        self.samples_per_epoch = len(indices) - single

    def __len__(self) -> int:
        """Steps per epoch."""
        return math.ceil(self.samples_per_epoch / self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yields the batches of `epoch` (counted from 0)."""
        order = self.indices[permutation(len(self.indices), self.data_seed, epoch)]
        order = order[: self.samples_per_epoch]
        draws = draw(self.recipe, self.maker.count, self.data_seed, epoch).of(order)
        plan = self.maker.plan(order, draws)
        indices = plan[0].to(self.maker.device).long()
        for start in range(0, len(order), self.batch_size):
            part = slice(start, start + self.batch_size)
            chosen = indices[part]
            views = self.maker.planned(plan[:, part])
            yield Batch(views, self.labels.index_select(0, chosen), chosen)


class EvalStream:
    """Samples as they are, in order.

    Args:
        maker: of the original data set's views.
        labels: (N,), of the original data set.
        indices: (n,), which of its samples, in this order.
        batch_size: samples per batch; the last may be smaller.

    Attributes:
        labels: (n,), int64, of the samples of this stream, on its device.
        indices: (n,), int64, likewise.
    """

    def __init__(
        self,
        maker: ViewMaker,
        labels: npt.NDArray[np.int64],
        indices: Indices,
        batch_size: int,
    ) -> None:
        self.maker = maker
        rows = torch.as_tensor(indices, dtype=torch.int64)
        self._rows = rows.to(maker.pixel_device)
        self.indices = rows.to(maker.device)
        self.labels = torch.as_tensor(labels, dtype=torch.int64, device=maker.device)[self.indices]
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Batches."""
        return math.ceil(len(self._rows) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self._rows), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield Batch(self.maker.plain(self._rows[part]), self.labels[part], self.indices[part])
