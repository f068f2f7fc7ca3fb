"""Weights that grow over the epochs: tensors on the step's device, which no host reads.

Here is arithmetic of epochs alone; what a weight is of is its loss's.
"""

from torch import Tensor

from kdlsr.losses.divergence import loss_precision
from kdlsr.losses.step import Step


def grown(step: Step, begin: float, end: float, counted_from: int = 0) -> Tensor:
    """Returns begin + (end - begin) e / E in the loss's precision, 0-dimensional.

    Args:
        step: of the epoch e, of E in all.
        begin: the value at e = 0.
        end: the value at e = E.
        counted_from: what the first epoch's e is: counted from 0, `end` is never reached;
            from 1, `begin` never is.
    """
    return begin + (end - begin) * (_epoch(step) + counted_from) / step.epochs


def warmed_up(step: Step, epochs: float) -> Tensor:
    """Returns min(e / epochs, 1), e counted from 1; 1 where `epochs` is 0. 0-dimensional."""
    counted = _epoch(step) + 1
    return (counted / epochs).clamp(max=1) if epochs else counted.clamp(max=1)


def _epoch(step: Step) -> Tensor:
    return step.epoch.to(loss_precision(step.logits).dtype)
