"""Label smoothing regularization (LSR): the target is the uniform distribution."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kdlsr.losses.base import SoftTargetLoss, Weight, losses
from kdlsr.losses.divergence import one_class_scores


@losses.register("lsr")
@dataclass(frozen=True, kw_only=True)
class LabelSmoothing(SoftTargetLoss):
    """H(q', p), the cross-entropy with smoothed labels (Yuan et al., CVPR 2020, Eq. 2).

    `as_written` (Eq. 1; Müller et al., NeurIPS 2019; torch's `label_smoothing`):
    q' = (1 - alpha) q + alpha u, with u(k) = 1/K on all classes, the right one included.

    `as_released` (the code of Yuan et al.): q' is 1 - alpha on the right class and
    alpha / (K - 1) on each other, that is u is uniform over the wrong classes alone. The same
    alpha smooths more there, by a factor K / (K - 1).

    Either way total / scale = H(q', p) = (1 - alpha) H(q, p) + alpha (D_KL(u, p) + H(u)).
    `soft` is D_KL(u, p), as in Eq. 3, which leaves out the constant alpha H(u).

    Attributes:
        alpha: how much of the label is spread, in [0, 1].
        form: `as_written` or `as_released`.
    """

    alpha: Weight = 0.1
    form: Literal["as_written", "as_released"] = "as_written"

    @property
    def student_tau(self) -> float:
        return 1.0

    def soft_weight(self, num_classes: int) -> float:
        del num_classes
        return self.alpha

    def constant(self, num_classes: int) -> float:
        return math.log(num_classes if self.form == "as_written" else num_classes - 1)

    def target_scores(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None
    ) -> Tensor:
        del teacher_logits
        if self.form == "as_written":
            return torch.zeros_like(logits)
        return one_class_scores(labels, right=-math.inf, wrong=0.0, like=logits)
