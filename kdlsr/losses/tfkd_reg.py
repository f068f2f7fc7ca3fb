"""Teacher-free KD by regularization: the target is a hand-made, almost one-hot teacher."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

from torch import Tensor

from kdlsr.config import Between
from kdlsr.losses.base import (
    Positive,
    SoftTargetLoss,
    Weight,
    check_above_uniform,
    check_multiplier_form,
    losses,
)
from kdlsr.losses.divergence import one_class_scores


@losses.register("tfkd_reg")
@dataclass(frozen=True, kw_only=True)
class TeacherFreeRegularization(SoftTargetLoss):
    """(1 - alpha) H(q, p) + w D_KL(pd_tau, p_tau): Yuan et al., CVPR 2020, Eqs. 8 and 9.

    The virtual teacher pd gives the probability a to the right class and (1 - a) / (K - 1) to
    each other (Eq. 8). The paper does not say how a probability vector is softened by tau.

    `as_written`: w = alpha, pd_tau = softmax(log pd / tau), as if log pd were the teacher's
    logits, and the student at temperature tau. That reading of what the paper leaves open is
    ours; the bars of its Fig. 3 look like the released softening.

    `as_released` (what the authors' code computes): w = alpha multiplier / K (the mean over
    batch and classes), no tau^2; pd_tau = softmax(pd / tau) of the probabilities themselves,
    nearly uniform; and the student at temperature 1. That is label smoothing, scaled:
    `equivalent_lsr` gives both numbers.

    `soft` is the D_KL of the form in use.

    Attributes:
        alpha: share of the soft target, in [0, 1].
        tau: temperature, above 0; the paper uses 20 or more.
        correct_probability: a, the virtual teacher's belief in the right class, in [0.9, 1);
            0.99 in the paper.
        form: `as_released` or `as_written`.
        multiplier: of `as_released` alone; null is the number of classes, with which
            w = alpha. The defaults on 100 classes are the paper's ResNet18 row.
    """

    alpha: Weight = 0.1
    tau: Positive = 20.0
    correct_probability: Annotated[float, Between(0.9, 1, open_high=True)] = 0.99
    form: Literal["as_released", "as_written"] = "as_released"
    multiplier: Positive | None = None

    def __post_init__(self) -> None:
        check_multiplier_form(self.form, self.multiplier)

    def resolved(self, num_classes: int) -> Self:
        super().resolved(num_classes)
        check_above_uniform("correct_probability", self.correct_probability, num_classes)
        if self.form != "as_released" or self.multiplier is not None:
            return self
        return replace(self, multiplier=float(num_classes))

    @property
    def student_tau(self) -> float:
        return self.tau if self.form == "as_written" else 1.0

    def soft_weight(self, num_classes: int) -> float:
        if self.form == "as_written" or self.multiplier is None:
            return self.alpha
        return self.alpha * self.multiplier / num_classes

    def target_scores(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None
    ) -> Tensor:
        del teacher_logits
        right = self.correct_probability
        wrong = (1 - right) / (logits.shape[1] - 1)
        if self.form == "as_written":
            right, wrong = math.log(right), math.log(wrong)
        return one_class_scores(labels, right / self.tau, wrong / self.tau, like=logits)


def equivalent_lsr(
    alpha: float, tau: float, a: float, multiplier: float, num_classes: int
) -> tuple[float, float]:
    """Returns (epsilon, scale): the LSR that `as_released` Tf-KD_reg is.

    Its gradient is `scale` times that of H(q', p) with q' = (1 - epsilon) q + epsilon / K
    (derived from the released code, exact but for rounding). With w = alpha multiplier / K and what
    softmax(pd / tau) gives to a wrong class, t_o = 1 / (K - 1 + exp((a - b) / tau)), where
    b = (1 - a) / (K - 1): scale = 1 - alpha + w and epsilon = w K t_o / scale.

    Args:
        alpha: share of the soft target, in [0, 1].
        tau: temperature of the virtual teacher, above 0.
        a: the virtual teacher's probability for the right class.
        multiplier: as in the released code, above 0.
        num_classes: K, 2 or more.
    """
    weight = alpha * multiplier / num_classes
    scale = 1 - alpha + weight
    wrong = (1 - a) / (num_classes - 1)
    target_wrong = 1 / (num_classes - 1 + math.exp((a - wrong) / tau))
    return weight * num_classes * target_wrong / scale, scale
