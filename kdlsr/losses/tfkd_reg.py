"""Teacher-free KD by regularization: the target is a hand-made, almost one-hot teacher."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from kdlsr.config import Between
from kdlsr.losses.base import Control, Positive, Weight, check_above_uniform, losses
from kdlsr.losses.divergence import loss_precision, one_class_scores
from kdlsr.losses.soft_target import ReleasedMultiplierLoss, soft_target_terms
from kdlsr.losses.step import Step, Terms

Form = Literal["as_released", "as_written"]


def virtual_teacher(labels: Tensor, *, a: float, tau: float, form: Form, like: Tensor) -> Tensor:
    """Returns the scores (N, K) of the hand-made teacher of Eq. 8, softened by tau.

    Args:
        labels: (N,), the right classes, int64.
        a: the probability of the right class; each other has (1 - a) / (K - 1).
        tau: temperature, above 0.
        form: `as_written` softens the logarithms of these probabilities, `as_released` the
            probabilities themselves.
        like: a tensor (N, K) of the dtype and on the device that are wanted.
    """
    right, wrong = a, (1 - a) / (like.shape[1] - 1)
    if form == "as_written":
        right, wrong = math.log(right), math.log(wrong)
    return one_class_scores(labels, right / tau, wrong / tau, like=like)


def teacher_free_regularization(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    tau: float,
    a: float,
    weight: float,
    form: Form,
) -> Terms:
    """Returns (1 - alpha) H(q, p) + weight D_KL(pd_tau, p_tau): Yuan et al. 2020, Eqs. 8 and 9.

    Args:
        logits: (N, K), the student's.
        labels: (N,), the right classes, int64.
        alpha: share of the soft target, in [0, 1].
        tau: temperature of the virtual teacher pd, and `as_written` of the student too.
        a: the virtual teacher's probability for the right class.
        weight: of D_KL, summed over classes, mean over the batch.
        form: how pd is softened (`virtual_teacher`).
    """
    logits = loss_precision(logits)
    target = virtual_teacher(labels, a=a, tau=tau, form=form, like=logits)
    student_tau = tau if form == "as_written" else 1.0
    return soft_target_terms(logits, labels, target, alpha=alpha, tau=student_tau, weight=weight)


@losses.register("tfkd_reg")
@dataclass(frozen=True, kw_only=True)
class TeacherFreeRegularization(ReleasedMultiplierLoss):
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
    form: Form = "as_released"
    forms: ClassVar[tuple[str, ...]] = ("as_released", "as_written")
    stated: ClassVar[frozenset[str]] = frozenset({"alpha", "tau", "multiplier"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_above_uniform("correct_probability", self.correct_probability, self.num_classes)

    @property
    def default_multiplier(self) -> float:
        return float(self.num_classes)

    @property
    def student_tau(self) -> float:
        return self.tau if self.form == "as_written" else 1.0

    @property
    def soft_weight(self) -> float:
        if self.multiplier is None:
            return self.alpha
        return self.alpha * self.multiplier / self.num_classes

    def terms(self, step: Step) -> Terms:
        return teacher_free_regularization(
            step.logits,
            step.labels,
            alpha=self.alpha,
            tau=self.tau,
            a=self.correct_probability,
            weight=self.soft_weight,
            form=self.form,
        )

    def controls(self) -> tuple[Control, ...]:
        if self.multiplier is None:
            return super().controls()
        epsilon, scale = equivalent_lsr(
            self.alpha, self.tau, self.correct_probability, self.multiplier, self.num_classes
        )
        options = {"alpha": epsilon, "form": "as_written", "scale": self.scale * scale}
        smoothing = Control(f"LSR {epsilon:.3g} x {self.scale * scale:.4g}", "lsr", options)
        return (*super().controls(), smoothing)


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
