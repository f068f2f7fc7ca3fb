"""Plain cross-entropy: the baseline, and with `scale` the control of every other loss."""

from dataclasses import dataclass

from kdlsr.losses.base import Control, Loss, losses
from kdlsr.losses.divergence import cross_entropy, loss_precision
from kdlsr.losses.step import Step, Terms


@losses.register("ce")
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """scale H(q, p): the first term of every equation of Yuan et al. (CVPR 2020)."""

    @property
    def hard_scale(self) -> float:
        return self.scale

    def controls(self) -> tuple[Control, ...]:
        return ()  # it is what others are compared with

    def terms(self, step: Step) -> Terms:
        hard = cross_entropy(loss_precision(step.logits), step.labels)
        return {"hard": hard, "soft": hard.new_zeros(()), "total": hard}
