"""Label smoothing regularization (LSR): the target is the uniform distribution."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kdlsr.losses.base import Control, Weight, losses
from kdlsr.losses.divergence import loss_precision, one_class_scores
from kdlsr.losses.soft_target import SoftTargetLoss, soft_target_terms
from kdlsr.losses.step import Step, Terms

Form = Literal["as_written", "as_released"]


def smoothed_cross_entropy(
    logits: Tensor, labels: Tensor, *, alpha: float | Tensor, form: Form = "as_written"
) -> Terms:
    """Returns H(q', p), the cross-entropy with smoothed labels: Yuan et al., CVPR 2020, Eq. 2.

    Args:
        logits: (N, K).
        labels: (N,), the right classes, int64.
        alpha: how much of the label is spread, in [0, 1].
        form: over all K classes (`as_written`), or over the K - 1 wrong ones (`as_released`).
    """
    logits, spread_over = loss_precision(logits), logits.shape[1]
    if form == "as_written":
        target = torch.zeros_like(logits)
    else:
        target = one_class_scores(labels, right=-math.inf, wrong=0.0, like=logits)
        spread_over -= 1
    return soft_target_terms(
        logits, labels, target, alpha=alpha, tau=1.0, weight=alpha, constant=math.log(spread_over)
    )


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
    form: Form = "as_written"
    forms: ClassVar[tuple[str, ...]] = ("as_released", "as_written")
    stated: ClassVar[frozenset[str]] = frozenset({"alpha"})

    @property
    def student_tau(self) -> float:
        return 1.0

    @property
    def soft_weight(self) -> float:
        return self.alpha

    def controls(self) -> tuple[Control, ...]:
        return ()  # its scale is 1: its control is the baseline

    def terms(self, step: Step) -> Terms:
        return smoothed_cross_entropy(step.logits, step.labels, alpha=self.alpha, form=self.form)
