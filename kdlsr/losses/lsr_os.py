"""LSR in the regime of KD: uniform targets, seen by the student's tempered output."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from kdlsr.config import Between
from kdlsr.losses.base import Positive, Weight, check_above_uniform, losses
from kdlsr.losses.divergence import loss_precision, one_class_scores
from kdlsr.losses.soft_target import SoftTargetLoss, soft_target_terms
from kdlsr.losses.step import Step, Terms


def output_smoothing(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    tau: float,
    correct_share: float | None = None,
) -> Terms:
    """Returns (1 - alpha) H(q, p) + alpha tau^2 D_KL(u, p_tau).

    Args:
        logits: (N, K).
        labels: (N,), the right classes, int64.
        alpha: share of the soft target, in [0, 1].
        tau: temperature of the student's softmax, above 0; the target has none.
        correct_share: u of the right class, each other having an equal share of the rest;
            None: 1/K, u is uniform.
    """
    logits = loss_precision(logits)
    if correct_share is None:
        target = torch.zeros_like(logits)
    else:
        wrong = (1 - correct_share) / (logits.shape[1] - 1)
        target = one_class_scores(labels, math.log(correct_share), math.log(wrong), like=logits)
    return soft_target_terms(logits, labels, target, alpha=alpha, tau=tau, weight=alpha * tau**2)


@losses.register("lsr_os")
@dataclass(frozen=True, kw_only=True)
class OutputSmoothing(SoftTargetLoss):
    """(1 - alpha) H(q, p) + alpha tau^2 D_KL(u, p_tau), with u(k) = 1/K.

    LSR-OS of Wang et al., Appl. Sci. 2021, 11(10) 4699 (LsrKD in arXiv 2009.05226). The form
    is reconstructed from the abstract's sentences (grade [D], derived), not quoted:
    whether the paper has the tau^2 is not known. The defaults of alpha and tau are ours, not
    the paper's.

    Attributes:
        alpha: share of the soft target, in [0, 1].
        tau: temperature of the student's softmax, above 0; the target has none.
    """

    alpha: Weight = 0.1
    tau: Positive = 2.0
    stated: ClassVar[frozenset[str]] = frozenset({"alpha", "tau"})

    @property
    def student_tau(self) -> float:
        return self.tau

    @property
    def soft_weight(self) -> float:
        return self.alpha * self.tau**2

    def terms(self, step: Step) -> Terms:
        return output_smoothing(step.logits, step.labels, alpha=self.alpha, tau=self.tau)


@losses.register("lsr_os_tc")
@dataclass(frozen=True, kw_only=True)
class TeacherCorrection(OutputSmoothing):
    """`lsr_os` with a corrected teacher: u^TC gives a constant larger share to the right class.

    LSR-OS-TC of Wang et al. (see `OutputSmoothing` for source and grade, [D]):
    (1 - alpha) H(q, p) + alpha tau^2 D_KL(u^TC, p_tau), u^TC(c) = beta > 1/K on the right
    class and (1 - beta) / (K - 1) on each other. The default of beta, 0.5, is ours, not the
    paper's, as are those of alpha and tau.

    Attributes:
        correct_share: beta, in (0, 1) and above 1/K.
    """

    correct_share: Annotated[float, Between(0, 1, open_low=True, open_high=True)] = 0.5
    stated: ClassVar[frozenset[str]] = frozenset({"alpha", "tau", "correct_share"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_above_uniform("correct_share", self.correct_share, self.num_classes)

    def terms(self, step: Step) -> Terms:
        return output_smoothing(
            step.logits,
            step.labels,
            alpha=self.alpha,
            tau=self.tau,
            correct_share=self.correct_share,
        )
