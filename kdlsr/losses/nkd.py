"""Normalised KD: the right class and the others distilled apart, each with its own weight."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from kdlsr.losses.base import Control, Loss, NotNegative, Positive, losses
from kdlsr.losses.divergence import (
    cross_entropy,
    entropies,
    kl_divergence,
    loss_precision,
    other_logits,
    shifted_logits,
    tempered_scores,
)
from kdlsr.losses.kd_weighted import weighted_kd
from kdlsr.losses.right_class import wrong_classes
from kdlsr.losses.step import Step, Terms, soft_targets_of


def normalised_distillation(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, weight: float, tau: float
) -> Terms:
    """Returns H(q, p) - pt_y log p_y + weight tau^2 H(s, r).

    s and r are teacher's and student's distributions over the K - 1 wrong classes at tau, each
    with the sum 1; pt_y and p_y are at temperature 1. `soft` is D_KL(s, r) = H(s, r) - H(s).

    Args:
        logits: (N, K), the student's.
        labels: (N,), the right classes, int64.
        teacher_logits: (N, K), which get no gradient.
        weight: gamma, 0 or more.
        tau: temperature of s and r, above 0.

    Raises:
        ValueError: the two have different shapes.
    """
    logits, teacher = loss_precision(logits), other_logits(teacher_logits, logits)
    hard = cross_entropy(logits, labels)
    belief = F.softmax(tempered_scores(teacher, 1.0), dim=1).gather(1, labels[:, None])
    log_p = F.log_softmax(shifted_logits(logits), dim=1).gather(1, labels[:, None])
    target = tempered_scores(wrong_classes(teacher, labels), tau)
    soft = kl_divergence(target, wrong_classes(logits, labels), tau)
    wrong = weight * tau**2 * (soft + entropies(target).mean())
    return {"hard": hard, "soft": soft, "total": hard - (belief * log_p).mean() + wrong}


@losses.register("nkd")
@dataclass(frozen=True, kw_only=True)
class NormalisedDistillation(Loss):
    """H(q, p) - pt_y log p_y + gamma tau^2 H(s, r), s and r over the K - 1 wrong classes.

    NKD of Yang et al., ICCV 2023 (arXiv 2303.13005), as its code has it (yzd-v/cls_KD): the
    term of the right class has no temperature, and stands beside the labels' cross-entropy,
    so that the right class weighs 1 + pt_y, up to 2. The code's defaults are gamma 1.5 and
    tau 1; for ResNet34 to ResNet18 on ImageNet gamma 3.5 and tau 3. None is known for
    CIFAR-100, nor anything that the paper writes otherwise: there is one form.

    Its controls are ours: cross-entropy at the scale of its terms, the teacher's belief in the
    right class counted as 1, and KD with weight gamma at the same tau.

    Attributes:
        weight: gamma, of the wrong classes, 0 or more.
        tau: temperature among the wrong classes, above 0.
    """

    weight: NotNegative = 1.5
    tau: Positive = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"soft_targets"})
    forms: ClassVar[tuple[str, ...]] = ("as_released",)
    stated: ClassVar[frozenset[str]] = frozenset({"weight", "tau"})

    @property
    def hard_scale(self) -> float:
        return self.scale * (2 + (self.weight if self.tau == 1 else 0))

    def controls(self) -> tuple[Control, ...]:
        return (*super().controls(), weighted_kd(1.0, self.weight, self.tau, self.scale))

    def terms(self, step: Step) -> Terms:
        return normalised_distillation(
            step.logits,
            step.labels,
            soft_targets_of(step),
            weight=self.weight,
            tau=self.tau,
        )
