"""Knowledge distillation: the target is a network's tempered output."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from kdlsr.losses.base import Control, Positive, Weight, losses
from kdlsr.losses.divergence import other_logits, tempered_scores
from kdlsr.losses.soft_target import ReleasedMultiplierLoss, soft_target_terms
from kdlsr.losses.step import Step, Terms, soft_targets_of


def distillation(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    alpha: float,
    tau: float,
    weight: float,
) -> Terms:
    """Returns (1 - alpha) H(q, p) + weight D_KL(pt_tau, p_tau): Yuan et al., CVPR 2020, Eq. 4.

    pt_tau = softmax(zt / tau) is the teacher's and p_tau = softmax(z / tau) the student's
    tempered output; `weight` is alpha in the paper and alpha tau^2 in Hinton et al. 2015.

    Args:
        logits: (N, K), the student's, z.
        labels: (N,), the right classes, int64.
        teacher_logits: (N, K), zt, which get no gradient.
        alpha: share of the soft target, in [0, 1].
        tau: temperature of both softmaxes, above 0.
        weight: of D_KL, summed over classes, mean over the batch.

    Raises:
        ValueError: the two have different shapes.
    """
    target = tempered_scores(other_logits(teacher_logits, logits), tau)
    return soft_target_terms(logits, labels, target, alpha=alpha, tau=tau, weight=weight)


@losses.register("kd")
@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation(ReleasedMultiplierLoss):
    """(1 - alpha) H(q, p) + w D_KL(pt_tau, p_tau): Yuan et al., CVPR 2020, Eq. 4.

    pt_tau = softmax(zt / tau) is the teacher's and p_tau = softmax(z / tau) the student's
    tempered output. Re-KD and De-KD are this loss with another teacher. The forms differ in
    the weight w of D_KL (summed over classes, mean over the batch):

    `standard` (Hinton et al. 2015): w = alpha tau^2, which keeps the gradient's size as tau
    grows: it tends to ((z - mean z) - (zt - mean zt)) / K for each sample (times alpha).

    `as_written`: w = alpha; the paper's equations have no tau^2.

    `as_released`: w = alpha tau^2 multiplier / K. The authors' code calls torch's KLDivLoss
    with reduction "mean", over batch and classes, and so divides by K; its normal KD has no
    multiplier (1), its self-training 1, 50 or 100.

    `soft` is the same D_KL in all forms.

    Attributes:
        alpha: share of the soft target, in [0, 1].
        tau: temperature of both softmaxes, above 0.
        form: `standard`, `as_written` or `as_released`.
        multiplier: of `as_released` alone; null is 1.
    """

    alpha: Weight = 0.9
    tau: Positive = 4.0
    form: Literal["standard", "as_written", "as_released"] = "standard"
    needs: ClassVar[frozenset[str]] = frozenset({"soft_targets"})
    forms: ClassVar[tuple[str, ...]] = ("as_released", "as_written", "standard")
    stated: ClassVar[frozenset[str]] = frozenset({"alpha", "tau"})

    @property
    def default_multiplier(self) -> float:
        return 1.0

    @property
    def student_tau(self) -> float:
        return self.tau

    @property
    def soft_weight(self) -> float:
        if self.form == "as_written":
            return self.alpha
        if self.multiplier is None:
            return self.alpha * self.tau**2
        return self.alpha * self.tau**2 * self.multiplier / self.num_classes

    def terms(self, step: Step) -> Terms:
        return distillation(
            step.logits,
            step.labels,
            soft_targets_of(step),
            alpha=self.alpha,
            tau=self.tau,
            weight=self.soft_weight,
        )


# Cross-entropy continued from the baseline's own weights: the released code's control of
# self-training (`--double_training`).
DOUBLE_TRAINING = Control("double training", "ce", start_from_teacher=True)


@losses.register("tfkd_self")
@dataclass(frozen=True, kw_only=True)
class SelfTraining(KnowledgeDistillation):
    """Tf-KD_self: `kd` from a pretrained copy of the student itself.

    Yuan et al., CVPR 2020, Eq. 7, which is Eq. 4 with pt from the model S^p, of the same
    architecture as the student and trained by cross-entropy first. Forms, defaults and
    attributes are those of `kd`.
    """

    teacher_must_be_self: ClassVar[bool] = True

    def controls(self) -> tuple[Control, ...]:
        return (*super().controls(), DOUBLE_TRAINING)
