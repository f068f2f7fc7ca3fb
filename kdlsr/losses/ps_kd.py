"""Progressive self-distillation: a sample's target is refined by its own output an epoch ago."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.losses.base import Control, Loss, Weight, losses
from kdlsr.losses.divergence import (
    cross_entropies,
    cross_entropy,
    loss_precision,
    one_class_scores,
    shifted_logits,
)
from kdlsr.losses.growth import grown
from kdlsr.losses.lsr_growing import growing_smoothing
from kdlsr.losses.step import Step, Terms


class LastOutputs(nn.Module):
    """Each training sample's output when it was last met.

    Attributes:
        probabilities: (samples, K), fp32; 0 for a sample that was not met yet.
    """

    probabilities: Tensor

    def __init__(self, num_samples: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("probabilities", torch.zeros(num_samples, num_classes))


def progressive_distillation(
    logits: Tensor, labels: Tensor, past: Tensor, *, alpha: float | Tensor
) -> Terms:
    """Returns H((1 - alpha) q + alpha t, p), t the sample's past output, or q where it has none.

    `soft` is D_KL(t, p).

    Args:
        logits: (N, K).
        labels: (N,), the right classes, int64.
        past: (N, K), probabilities; a row of zeros where there is none. No gradient.
        alpha: share of the past, in [0, 1], a number or a 0-dimensional tensor.
    """
    logits = loss_precision(logits)
    past = past.to(logits.dtype)
    one_hot = one_class_scores(labels, 1.0, 0.0, like=logits)
    target = torch.where(past.sum(dim=1, keepdim=True) > 0, past, one_hot)
    hard, soft = cross_entropy(logits, labels), cross_entropies(target, logits)
    total = (1 - alpha) * hard + alpha * soft.mean()
    divergence = (soft - torch.special.entr(target).sum(dim=1)).mean()
    return {"hard": hard, "soft": divergence, "total": total}


@losses.register("ps_kd")
@dataclass(frozen=True, kw_only=True)
class ProgressiveDistillation(Loss):
    """H((1 - a_e) q + a_e p^(e-1), p), with a_e = alpha (e + 1) / E in epoch e of E, from 0.

    PS-KD of Kim et al., ICCV 2021, as its code has it (lgcnsai/PS-KD-Pytorch 9aa0828), with
    alpha 0.8; the paper's formula is the same: there is one form. p^(e-1) is the sample's
    output of the epoch before, in training mode and on that epoch's own view, at temperature
    1. In epoch 0 the target is one-hot. Where a last batch of one sample is left out, that
    sample's output stays the one of when it was last met.

    Its control is label smoothing whose epsilon grows as a_e: how much of the gain is that
    the target becomes soft, whatever it says?

    (`past_kd` in tables has a teacher in evaluation mode and a fixed alpha: another method.)
    The outputs are the run's: in its checkpoint, samples x K numbers, 20 MB for CIFAR-100 and
    5 GB for ImageNet.

    Attributes:
        alpha: share of the past in the last epoch, in [0, 1].
    """

    alpha: Weight = 0.8
    forms: ClassVar[tuple[str, ...]] = ("as_released",)

    @property
    def hard_scale(self) -> float:
        return self.scale

    def controls(self) -> tuple[Control, ...]:
        return (growing_smoothing(0.0, self.alpha, 1, self.scale),)

    def state(self, num_samples: int) -> LastOutputs:
        return LastOutputs(num_samples, self.num_classes)

    def terms(self, step: Step) -> Terms:
        assert isinstance(step.state, LastOutputs)
        known = step.state.probabilities
        found = progressive_distillation(
            step.logits,
            step.labels,
            known.index_select(0, step.rows),
            alpha=grown(step, 0.0, self.alpha, counted_from=1),
        )
        with torch.no_grad():
            now = F.softmax(shifted_logits(loss_precision(step.logits)), dim=1)
            known.index_copy_(0, step.rows, now.to(known.dtype))
        return found
