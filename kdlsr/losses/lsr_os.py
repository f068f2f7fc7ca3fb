"""LSR in the regime of KD: uniform targets, seen by the student's tempered output."""

import math
from dataclasses import dataclass
from typing import Annotated, Self

import torch
from torch import Tensor

from kdlsr.config import Between
from kdlsr.losses.base import Positive, SoftTargetLoss, Weight, check_above_uniform, losses
from kdlsr.losses.divergence import one_class_scores


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

    @property
    def student_tau(self) -> float:
        return self.tau

    def soft_weight(self, num_classes: int) -> float:
        del num_classes
        return self.alpha * self.tau**2

    def target_scores(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None
    ) -> Tensor:
        del labels, teacher_logits
        return torch.zeros_like(logits)


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

    def resolved(self, num_classes: int) -> Self:
        super().resolved(num_classes)
        check_above_uniform("correct_share", self.correct_share, num_classes)
        return self

    def target_scores(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None
    ) -> Tensor:
        del teacher_logits
        wrong = (1 - self.correct_share) / (logits.shape[1] - 1)
        return one_class_scores(labels, math.log(self.correct_share), math.log(wrong), like=logits)
