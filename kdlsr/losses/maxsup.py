"""Max suppression: what is pulled to the mean is the highest logit, not the right one."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kdlsr.losses.base import Control, Loss, Weight, losses
from kdlsr.losses.divergence import cross_entropy, loss_precision, shifted_logits
from kdlsr.losses.growth import grown
from kdlsr.losses.lsr_growing import growing_smoothing
from kdlsr.losses.step import Step, Terms


def max_suppression(logits: Tensor, labels: Tensor, *, weight: float | Tensor) -> Terms:
    """Returns H(q, p) + weight (max z - mean z), mean over the batch.

    `soft` is max z - mean z: as much as label smoothing's (z_y - mean z) where the label has
    the highest logit.

    Args:
        logits: (N, K), z.
        labels: (N,), the right classes, int64.
        weight: lambda, a number or a 0-dimensional tensor.
    """
    logits = loss_precision(logits)
    hard = cross_entropy(logits, labels)
    shifted = shifted_logits(logits)
    soft = (shifted.max(dim=1).values - shifted.mean(dim=1)).mean()
    return {"hard": hard, "soft": soft, "total": hard + weight * soft}


@losses.register("maxsup")
@dataclass(frozen=True, kw_only=True)
class MaxSuppression(Loss):
    """H(q, p) + lambda_e (max z - mean z), with lambda_e = begin + (end - begin) e / E.

    MaxSup of Zhou et al., NeurIPS 2025, as its code has it
    (ZhouYuxuanYX/Maximum-Suppression-Regularization, `Conv/ffcv`): e counts from 0, so that `end`
    is not reached. Released for ImageNet and CIFAR-10-LT alone, with lambda from 0.1 to 0.2.
    Whether the paper's experiments have that schedule is not known to us, and so there is one form.

    Label smoothing is exactly H(q, p) + epsilon (z_y - mean z): on samples that are classified
    correctly MaxSup *is* LSR, with an epsilon that doubles, while the LSR that it was compared
    with had 0.1. Hence its control: LSR at the same schedule.

    Among equally high logits the first has the gradient.

    Attributes:
        begin: lambda in the first epoch, in [0, 1].
        end: lambda at e = E, in [0, 1].
    """

    begin: Weight = 0.1
    end: Weight = 0.2
    forms: ClassVar[tuple[str, ...]] = ("as_released",)

    @property
    def hard_scale(self) -> float:
        return self.scale

    def controls(self) -> tuple[Control, ...]:
        return (growing_smoothing(self.begin, self.end, 0, self.scale),)

    def terms(self, step: Step) -> Terms:
        weight = grown(step, self.begin, self.end)
        return max_suppression(step.logits, step.labels, weight=weight)
