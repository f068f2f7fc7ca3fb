"""Plain cross-entropy: the baseline, and with `scale` the control of every other loss."""

from dataclasses import dataclass

from torch import Tensor

from kdlsr.losses.base import Loss, Terms, losses
from kdlsr.losses.divergence import cross_entropy, loss_precision


@losses.register("ce")
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """scale H(q, p): the first term of every equation of Yuan et al. (CVPR 2020)."""

    def hard_scale(self, num_classes: int) -> float:
        del num_classes
        return self.scale

    def __call__(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None
    ) -> Terms:
        del teacher_logits
        hard = cross_entropy(loss_precision(logits), labels)
        return Terms(hard, hard.new_zeros(()), self.scale * hard)
