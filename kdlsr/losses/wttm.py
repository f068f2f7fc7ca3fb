"""Weighted transformed teacher matching: only the teacher is tempered."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kdlsr.losses.base import Control, Loss, NotNegative, Positive, losses
from kdlsr.losses.divergence import (
    cross_entropy,
    kl_divergences,
    loss_precision,
    other_logits,
    tempered_scores,
)
from kdlsr.losses.kd_weighted import weighted_kd
from kdlsr.losses.step import Step, Terms, soft_targets_of


def transformed_matching(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, weight: float, gamma: float
) -> Terms:
    """Returns H(q, p) + weight mean(s D_KL(pt^gamma / s, p)), s = sum_k pt(k)^gamma.

    pt and p are at temperature 1: pt^gamma / s is the teacher's output at the temperature
    1/gamma. `soft` is the mean D_KL without s.

    Args:
        logits: (N, K), the student's.
        labels: (N,), the right classes, int64.
        teacher_logits: (N, K), which get no gradient.
        weight: beta, 0 or more.
        gamma: exponent, above 0.

    Raises:
        ValueError: the two have different shapes.
    """
    logits, teacher = loss_precision(logits), other_logits(teacher_logits, logits)
    hard = cross_entropy(logits, labels)
    log_pt = F.log_softmax(tempered_scores(teacher, 1.0), dim=1)
    powers = (gamma * log_pt).exp().sum(dim=1)
    divergences = kl_divergences(gamma * log_pt, logits, 1.0)
    total = hard + weight * (powers * divergences).mean()
    return {"hard": hard, "soft": divergences.mean(), "total": total}


@losses.register("wttm")
@dataclass(frozen=True, kw_only=True)
class TransformedMatching(Loss):
    """H(q, p) + beta mean(s D_KL(pt^gamma / s, p)), with s = sum_k pt(k)^gamma.

    WTTM of Zheng and Yang, ICLR 2024, as its code has it (zkxufo/TTM fe457b3): the student is
    at temperature 1, only the teacher is tempered, and samples of whose class the teacher is
    unsure weigh more (s is 1 for a one-hot pt, K^(1 - gamma) for a uniform one). The README has
    gamma 0.1 and beta 45, for TTM (without s) from VGG13; WTTM's own are in the paper alone,
    and not known to us. The code stands on RepDistiller, which reports the last epoch.

    With gamma 1 it is H(q, p) + beta D_KL(pt, p). Its controls are ours: cross-entropy at the
    scale 1 + beta, s counted as 1, and KD whose divergence has the weight beta, at the
    temperature 1/gamma.

    Attributes:
        weight: beta, 0 or more.
        gamma: exponent of the teacher's probabilities, above 0.
    """

    weight: NotNegative = 45.0
    gamma: Positive = 0.1
    needs: ClassVar[frozenset[str]] = frozenset({"soft_targets"})
    forms: ClassVar[tuple[str, ...]] = ("as_released",)
    stated: ClassVar[frozenset[str]] = frozenset({"weight", "gamma"})

    @property
    def hard_scale(self) -> float:
        return self.scale * (1 + self.weight)

    def controls(self) -> tuple[Control, ...]:
        kd = weighted_kd(1.0, self.weight * self.gamma**2, 1 / self.gamma, self.scale)
        return (*super().controls(), kd)

    def terms(self, step: Step) -> Terms:
        return transformed_matching(
            step.logits,
            step.labels,
            soft_targets_of(step),
            weight=self.weight,
            gamma=self.gamma,
        )
