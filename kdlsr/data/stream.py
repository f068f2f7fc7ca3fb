"""Batches in the order in which a network meets them: shuffled views, or plain inputs.

What a batch holds is a function of data seed and epoch; streams keep no state between epochs,
so training resumes anywhere. What the inputs are is the business of `Samples`.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kdlsr.config.encoding import Encoder
from kdlsr.data.draws import Rows, partners
from kdlsr.data.samples import Inputs, Made, Samples


class Batch(NamedTuple):
    """What one step sees, on the samples' device.

    Attributes:
        inputs: as their spec says: images (B, C, H, W) are normalised and channels_last.
        labels: (B,), int64.
        rows: (B,), int64: which samples of the original data set these are.
        partners: another sample of each one's class, where they are asked for.
    """

    inputs: Inputs
    labels: Tensor
    rows: Tensor
    partners: Inputs | None = None


class EpochPlan(NamedTuple):
    """An epoch before its first batch.

    Attributes:
        rows: (n,), int64, on the samples' device: which samples it visits, in its order.
        views: theirs, ready to be made.
        partners: those of their partners, where they are asked for.
    """

    rows: Tensor
    views: Made
    partners: Made | None = None


class TrainStream:
    """The training views of any epoch, shuffled.

    The last, partial batch of an epoch is kept, as the papers' code does; but where it would
    hold a single sample (another one each epoch) it is dropped, since batch normalisation
    cannot learn from one.

    Args:
        samples: of the original training set.
        rows: (n,), which of them are trained on.
        data_seed: sets order and views.
        batch_size: samples per step.

    Raises:
        ValueError: no batch can be made: fewer than two samples, or a batch size below one.
    """

    def __init__(self, samples: Samples, rows: Rows, data_seed: int, batch_size: int) -> None:
        if len(rows) < 2 or batch_size < 1:
            raise ValueError(f"{len(rows)} samples in batches of {batch_size} cannot train")
        self.samples = samples
        self.rows = np.asarray(rows, dtype=np.int64)
        self.data_seed = data_seed
        self.batch_size = batch_size
        single = batch_size > 1 and len(rows) % batch_size == 1
        self.samples_per_epoch = len(rows) - single

    def __len__(self) -> int:
        """Steps per epoch."""
        return math.ceil(self.samples_per_epoch / self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yields the batches of `epoch` (counted from 0)."""
        return self.batches(self.plan(epoch))

    def plan(self, epoch: int, *, with_partners: bool = False) -> EpochPlan:
        """Draws `epoch` (counted from 0), and makes its views ready.

        Args:
            epoch: counted from 0.
            with_partners: another sample of its class for each, drawn for the epoch, with the
                view that it has itself in it.
        """
        order = self.samples.order(self.rows, self.data_seed, epoch, self.batch_size)
        order = order[: self.samples_per_epoch]
        rows = torch.from_numpy(order).to(self.samples.device)
        views = self.samples.views(order, self.data_seed, epoch)
        if not with_partners:
            return EpochPlan(rows, views)
        labels = self.samples.labels.cpu().numpy()
        others = np.empty_like(labels)
        others[self.rows] = partners(labels, self.rows, self.data_seed, epoch)
        return EpochPlan(rows, views, self.samples.views(others[order], self.data_seed, epoch))

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """Yields the batches of an epoch."""
        rows = plan.rows
        for start in range(0, len(rows), self.batch_size):
            part = slice(start, start + self.batch_size)
            labels = self.samples.labels.index_select(0, rows[part])
            others = None if plan.partners is None else plan.partners(part)
            yield Batch(plan.views(part), labels, rows[part], others)


class EvalStream:
    """Samples as they are, `samples.evaluation_batch_size` at once.

    They come in the order in which their kind is best evaluated (texts by length); `collect`
    puts what is answered to them back into the stream's own.

    Args:
        samples: of the original data set.
        rows: (n,), which of them, in the stream's order.
        with_f1: whether F1 is among the metrics of what is answered to them.

    Attributes:
        labels: (n,), int64, of the samples of this stream, on their device, in its order.
        rows: (n,), int64, likewise.
    """

    def __init__(self, samples: Samples, rows: Rows, *, with_f1: bool = False) -> None:
        self.samples = samples
        self.with_f1 = with_f1
        self.rows = torch.as_tensor(rows, dtype=torch.int64).to(samples.device)
        self.labels = samples.labels[self.rows]
        order = samples.evaluation_order(rows)
        self._order = None if order is None else torch.from_numpy(order).to(samples.device)
        self._inputs = samples.plain(rows if order is None else rows[order])

    def __len__(self) -> int:
        """Batches."""
        return math.ceil(len(self.rows) / self.samples.evaluation_batch_size)

    def __iter__(self) -> Iterator[Batch]:
        size = self.samples.evaluation_batch_size
        rows, labels = self.rows, self.labels
        if self._order is not None:
            rows, labels = rows[self._order], labels[self._order]
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            yield Batch(self._inputs(part), labels[part], rows[part])

    def collect(self, answer: Callable[[Batch], Tensor]) -> Tensor:
        """Returns what is answered to each sample, (n, ...), in the stream's order.

        Args:
            answer: gives (B, ...) for a batch; what it gave may not change afterwards.
        """
        answers = torch.cat([answer(batch) for batch in self])
        if self._order is None:
            return answers
        return torch.empty_like(answers).index_copy_(0, self._order, answers)

    def read_by(self, encoder: Encoder | None) -> "EvalStream":
        """Returns the same samples as the network sees them that brings `encoder`."""
        samples = self.samples.read_by(encoder)
        if samples is self.samples:
            return self
        return EvalStream(samples, self.rows.cpu().numpy(), with_f1=self.with_f1)
