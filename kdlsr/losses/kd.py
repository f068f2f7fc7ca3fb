"""Knowledge distillation: the target is a network's tempered output."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from torch import Tensor

from kdlsr.losses.base import Positive, SoftTargetLoss, Weight, check_multiplier_form, losses
from kdlsr.losses.divergence import tempered_scores


@losses.register("kd")
@dataclass(frozen=True, kw_only=True)
class KnowledgeDistillation(SoftTargetLoss):
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
    multiplier: Positive | None = None
    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_multiplier_form(self.form, self.multiplier)

    def resolved(self, num_classes: int) -> Self:
        super().resolved(num_classes)
        if self.form != "as_released" or self.multiplier is not None:
            return self
        return replace(self, multiplier=1.0)

    @property
    def student_tau(self) -> float:
        return self.tau

    def soft_weight(self, num_classes: int) -> float:
        if self.form == "as_written":
            return self.alpha
        if self.form == "standard":
            return self.alpha * self.tau**2
        multiplier = 1.0 if self.multiplier is None else self.multiplier
        return self.alpha * self.tau**2 * multiplier / num_classes

    def target_scores(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None
    ) -> Tensor:
        del labels
        if teacher_logits is None:
            raise ValueError("this loss needs teacher_logits")
        if teacher_logits.shape != logits.shape:
            shapes = f"{tuple(teacher_logits.shape)}, the student's {tuple(logits.shape)}"
            raise ValueError(f"the teacher's logits have shape {shapes}")
        return tempered_scores(teacher_logits.detach().to(logits.dtype), self.tau)


@losses.register("tfkd_self")
@dataclass(frozen=True, kw_only=True)
class SelfTraining(KnowledgeDistillation):
    """Tf-KD_self: `kd` from a pretrained copy of the student itself.

    Yuan et al., CVPR 2020, Eq. 7, which is Eq. 4 with pt from the model S^p, of the same
    architecture as the student and trained by cross-entropy first. Forms, defaults and
    attributes are those of `kd`.
    """

    teacher_must_be_self: ClassVar[bool] = True
