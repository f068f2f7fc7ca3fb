"""What a loss is given and what it gives back: the two nouns between it and the training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

Terms: TypeAlias = Mapping[str, Tensor]
"""A loss and what it is made of: 0-dimensional tensors by name, logged as they come.

`total` is what is minimised, and nothing outside of a loss knows any other name. The losses
here have three, in this order:

hard: H(q, p), the cross-entropy with the labels at temperature 1, in nats, mean over the batch.
soft: D_KL(target, p_tau), the divergence to the method's target distribution, in nats, summed
    over classes, mean over the batch; 0 where there is no target.
total: the loss.

`hard` and `soft` are free of every weight (scale, alpha, tau squared, 1/K, multiplier), so that
they can be compared from one loss and form to another.
"""

ON_REQUEST = frozenset({"soft_targets", "partner_logits"})
"""What a step holds only for a loss that needs it: the names that `Loss.needs` may have."""


@dataclass(frozen=True)
class Step:
    """One step of training, as a loss sees it: a batch of N samples, K classes.

    On a GPU a step is recorded once and replayed, with other values in the same tensors: what a
    loss makes of a tensor it computes on the device. `.item()`, `float()`, `bool()` and `if` on
    one would wait for the device, and would go on saying what they said of the first step.

    Attributes:
        logits: (N, K), the student's.
        labels: (N,), the right classes, int64.
        rows: (N,), which of the data set's training samples these are, int64.
        progress: share of the whole training (all of its epochs) that lies before this step,
            in [0, 1): 0-dimensional, float64, on the logits' device.
        epoch: counted from 0: 0-dimensional, int64, likewise.
        epochs: of the whole training.
        soft_targets: (N, K), the teacher's logits; None unless the loss needs them.
        state: what `Loss.state` made, on the device; the loss may change its buffers in place.
        partner_logits: (N, K), the student's own, in training mode and without gradient, for
            another training sample of each sample's class; None unless the loss needs them.
    """

    logits: Tensor
    labels: Tensor
    rows: Tensor
    progress: Tensor
    epoch: Tensor
    epochs: int
    soft_targets: Tensor | None
    state: nn.Module
    partner_logits: Tensor | None = None


def soft_targets_of(step: Step) -> Tensor:
    """Returns the teacher's logits of a step.

    Raises:
        ValueError: it has none.
    """
    if step.soft_targets is None:
        raise ValueError("this loss needs soft_targets")
    return step.soft_targets
