"""Weighted transformed teacher matching: only the teacher is tempered."""

from dataclasses import dataclass
from typing import ClassVar, Literal

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
from kdlsr.losses.step import Step, Terms, soft_targets_of

Weighing = Literal["sample", "mean"]


def transformed_matching(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    weight: float,
    gamma: float,
    weighing: Weighing = "sample",
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
        weighing: by each sample's s, or by the batch's mean of s, the same for all.

    Raises:
        ValueError: the two have different shapes.
    """
    logits, teacher = loss_precision(logits), other_logits(teacher_logits, logits)
    hard = cross_entropy(logits, labels)
    log_pt = F.log_softmax(tempered_scores(teacher, 1.0), dim=1)
    powers = (gamma * log_pt).exp().sum(dim=1)
    if weighing == "mean":
        powers = powers.mean()
    divergences = kl_divergences(gamma * log_pt, logits, 1.0)
    total = hard + weight * (powers * divergences).mean()
    return {"hard": hard, "soft": divergences.mean(), "total": total}


@losses.register("wttm")
@dataclass(frozen=True, kw_only=True)
class TransformedMatching(Loss):
    """H(q, p) + beta mean(s D_KL(pt^gamma / s, p)), with s = sum_k pt(k)^gamma.

    WTTM of Zheng and Yang, ICLR 2024, as its code has it (zkxufo/TTM fe457b3): the student is
    at temperature 1, only the teacher is tempered, and samples of whose class the teacher is
    unsure weigh more (s is 1 for a one-hot pt, K^(1 - gamma) for a uniform one). The README
    (2de9060) has gamma 0.2 and beta 4 for WTTM added to CRD's loss, gamma 0.1 and beta 45 for
    TTM, which is without s; WTTM's own are in the paper alone, and not known to us. The code
    stands on RepDistiller, which reports the last epoch.

    With gamma 1 it is H(q, p) + beta D_KL(pt, p). s is tens where gamma is small, so that no
    scale that is known beforehand is its own, and cross-entropy or KD at 1 + beta would be none.
    Its control, which is ours, is TTM at its scale: s at the batch's mean, for all samples.

    Attributes:
        weight: beta, 0 or more.
        gamma: exponent of the teacher's probabilities, above 0.
        weighing: `sample`, or `mean`: TTM at the scale of WTTM.
    """

    weight: NotNegative = 4.0
    gamma: Positive = 0.2
    weighing: Weighing = "sample"
    needs: ClassVar[frozenset[str]] = frozenset({"soft_targets"})
    forms: ClassVar[tuple[str, ...]] = ("as_released",)
    stated: ClassVar[frozenset[str]] = frozenset({"weight", "gamma"})

    @property
    def hard_scale(self) -> float:
        return self.scale  # and what s adds, which is the teacher's

    def controls(self) -> tuple[Control, ...]:
        if self.weighing == "mean":
            return ()
        options = {"weight": self.weight, "gamma": self.gamma, "weighing": "mean"}
        return (Control("TTM at its scale", "wttm", options | {"scale": self.scale}),)

    def terms(self, step: Step) -> Terms:
        return transformed_matching(
            step.logits,
            step.labels,
            soft_targets_of(step),
            weight=self.weight,
            gamma=self.gamma,
            weighing=self.weighing,
        )
