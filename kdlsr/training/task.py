"""What is learned from what: the data, the loss and, where it needs one, the teacher."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from kdlsr.data.stream import Batch, EvalStream, TrainStream
from kdlsr.losses import Loss
from kdlsr.metrics import Metrics


class SoftTargets(Protocol):
    """What `teachers/` gives: logits for a batch of views, rounded to the teacher's dtype."""

    def begin_epoch(self, epoch: int) -> None:
        """Before the first batch of an epoch, counted from 0."""

    def stored(self, rows: Tensor) -> Tensor | None:
        """Logits (n, K) of the epoch's rows (n,), if all of them lie on the device; else None.

        In the dtype that they are stored in. Who takes them asks for none batch by batch.
        """

    def logits(self, batch: Batch) -> Tensor | None:
        """Logits (B, K) for the epoch's next batch: all are asked for, in their order.

        None from a teacher that has nothing to say yet: a past that there is not.
        """

    def end_epoch(self) -> None:
        """Raises RunFailed if any of the epoch's logits were out of the dtype's range."""

    def on_training(self, train: TrainStream, epoch: int) -> Metrics | None:
        """The teacher's metrics on the training views of the epoch that ended last.

        None from a teacher that had nothing to say in it.
        """


@dataclass
class Task:
    """What is learned from what.

    Attributes:
        train_metrics: whether network and teacher are tested on every epoch's training views.
        more: further test sets, by name.
    """

    train: TrainStream
    test: EvalStream
    validation: EvalStream | None
    loss: Loss
    teacher: SoftTargets | None
    init_seed: int
    train_metrics: bool = False
    more: Mapping[str, EvalStream] = field(default_factory=dict)
