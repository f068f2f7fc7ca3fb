"""Decoupled KD: KD's divergence cut into right-or-wrong and among the wrong, weighed apart."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kdlsr.losses.base import Control, Loss, NotNegative, Positive, losses
from kdlsr.losses.divergence import (
    cross_entropy,
    kl_divergence,
    loss_precision,
    other_logits,
    tempered_scores,
)
from kdlsr.losses.growth import warmed_up
from kdlsr.losses.kd_weighted import weighted_kd
from kdlsr.losses.right_class import right_or_wrong, wrong_classes
from kdlsr.losses.step import Step, Terms, soft_targets_of


def decoupled_distillation(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    target: float,
    non_target: float,
    tau: float,
    warmth: float | Tensor = 1.0,
) -> Terms:
    """Returns H(q, p) + warmth tau^2 (target D_KL(bt, b) + non_target D_KL(s, r)).

    bt and b are (pt_y, 1 - pt_y) of teacher and student, s and r their distributions over the
    K - 1 wrong classes, all at tau. D_KL(pt, p) = D_KL(bt, b) + (1 - pt_y) D_KL(s, r). `soft`
    is the sum of both divergences, unweighted.

    Args:
        logits: (N, K), the student's.
        labels: (N,), the right classes, int64.
        teacher_logits: (N, K), which get no gradient.
        target: alpha, of right or wrong, 0 or more.
        non_target: beta, of the wrong among themselves, 0 or more.
        tau: temperature of all softmaxes, above 0.
        warmth: in [0, 1], of both: a number or a 0-dimensional tensor.

    Raises:
        ValueError: the two have different shapes.
    """
    logits, teacher = loss_precision(logits), other_logits(teacher_logits, logits)
    hard = cross_entropy(logits, labels)
    pair = right_or_wrong(teacher, labels, tau)
    binary = kl_divergence(pair, right_or_wrong(logits, labels, tau), 1.0)
    scores = tempered_scores(wrong_classes(teacher, labels), tau)
    wrong = kl_divergence(scores, wrong_classes(logits, labels), tau)
    weighted = target * binary + non_target * wrong
    return {"hard": hard, "soft": binary + wrong, "total": hard + warmth * tau**2 * weighted}


@losses.register("dkd")
@dataclass(frozen=True, kw_only=True)
class DecoupledDistillation(Loss):
    """H(q, p) + min(e / W, 1) tau^2 (alpha D_KL(bt, b) + beta D_KL(s, r)).

    DKD of Zhao et al., CVPR 2022, as its code has it (mdistiller a08d46f): e counts from 1, so
    that the first epoch has 1/W; W 20, alpha 1, tau 4, and beta per pair: 8, for pairs of WRN
    and for VGG13 6, for ResNet56 and ResNet110 2. The code leaves a class out by subtracting
    1000 from its logit, here it is left out: the same unless logits at tau lie 1000 apart.
    Whether the paper writes anything otherwise is not known to us: there is one form.

    With alpha 1 and beta = 1 - pt_y it is KD of weight 1. Its controls have KD's divergence whole
    with one of its two weights, the same tau and the same warm-up; which of the two is "KD at its
    weight" is open, since KD weighs what is not the class by 1 - pt_y.

    Attributes:
        target: alpha, 0 or more.
        non_target: beta, 0 or more.
        tau: temperature, above 0.
        warmup_epochs: W; 0: full weight from the first epoch. It counts epochs, whatever the
            schedule's length: 20 of 240 as published.
    """

    target: NotNegative = 1.0
    non_target: NotNegative = 8.0
    tau: Positive = 4.0
    warmup_epochs: NotNegative = 20.0
    needs: ClassVar[frozenset[str]] = frozenset({"soft_targets"})
    forms: ClassVar[tuple[str, ...]] = ("as_released",)
    stated: ClassVar[frozenset[str]] = frozenset({"target", "non_target", "tau"})
    in_epochs: ClassVar[frozenset[str]] = frozenset({"warmup_epochs"})

    @property
    def hard_scale(self) -> float:
        soft = self.target + self.non_target if self.tau == 1 else 0
        return self.scale * (1 + soft)

    def controls(self) -> tuple[Control, ...]:
        weights = dict.fromkeys((self.target, self.non_target))
        return tuple(
            weighted_kd(1.0, weight, self.tau, self.scale, self.warmup_epochs)
            for weight in weights
            if weight
        )

    def terms(self, step: Step) -> Terms:
        return decoupled_distillation(
            step.logits,
            step.labels,
            soft_targets_of(step),
            target=self.target,
            non_target=self.non_target,
            tau=self.tau,
            warmth=warmed_up(step, self.warmup_epochs),
        )
