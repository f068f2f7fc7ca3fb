"""Class-wise self-distillation: a sample's target is the output for another of its class."""

from dataclasses import dataclass
from typing import ClassVar

from kdlsr.losses.base import Control, Loss, NotNegative, Positive, losses
from kdlsr.losses.kd_weighted import weighted_distillation
from kdlsr.losses.step import Step, Terms


@losses.register("cs_kd")
@dataclass(frozen=True, kw_only=True)
class ClassWiseDistillation(Loss):
    """H(q, p) + weight tau^2 D_KL(p'_tau, p_tau), p' the output for another of the same class.

    CS-KD of Yun et al., CVPR 2020, as its code has it (alinlab/cs-kd b447f25): weight 1, tau 4,
    batches of 128 and 128 others; the cross-entropy sees the first 128. The network answers to
    the others in a second forward pass, in training mode and without gradient, which moves the
    running statistics of its batch normalisations once more, and costs its time. The code
    draws the other image from all of the class, now and then the same one (in another view);
    here it is another, with the view that it has itself in that epoch. What the paper writes
    otherwise is not known to us: there is one form.

    Its control is cross-entropy with that second pass: `weight=0`.

    Attributes:
        weight: of the divergence, 0 or more.
        tau: temperature of both softmaxes, above 0.
    """

    weight: NotNegative = 1.0
    tau: Positive = 4.0
    needs: ClassVar[frozenset[str]] = frozenset({"partner_logits"})
    forms: ClassVar[tuple[str, ...]] = ("as_released",)

    @property
    def hard_scale(self) -> float:
        return self.scale * (1 + (self.weight if self.tau == 1 else 0))

    def controls(self) -> tuple[Control, ...]:
        if not self.weight:
            return ()
        options = {"weight": 0.0, "scale": self.scale}
        return (Control("CE, second forward pass", "cs_kd", options),)

    def terms(self, step: Step) -> Terms:
        if step.partner_logits is None:
            raise ValueError("this loss needs partner_logits")
        return weighted_distillation(
            step.logits,
            step.labels,
            step.partner_logits,
            hard=1.0,
            soft=self.weight,
            tau=self.tau,
        )
