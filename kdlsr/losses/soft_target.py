"""The form that all methods here have: cross-entropy plus a divergence to a target.

total = (1 - alpha) H(q, p) + weight (D_KL(t, p_tau) + constant), with t a distribution given by
its scores. A method is: its target, the temperature at which it sees the student, its weight.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from kdlsr.losses.base import Loss, Positive, Weight
from kdlsr.losses.divergence import cross_entropy, kl_divergence, loss_precision
from kdlsr.losses.step import Terms


def soft_target_terms(
    logits: Tensor,
    labels: Tensor,
    target_scores: Tensor,
    *,
    alpha: float | Tensor,
    tau: float,
    weight: float | Tensor,
    constant: float = 0.0,
) -> Terms:
    """Returns (1 - alpha) H(q, p) + weight (D_KL(t, p_tau) + constant) and its two terms.

    Args:
        logits: (N, K), the student's.
        labels: (N,), the right classes, int64.
        target_scores: (N, K), log t up to a constant per sample.
        alpha: in [0, 1].
        tau: temperature of the student's softmax in the soft term, above 0.
        weight: of D_KL, summed over classes, mean over the batch.
        constant: H(t) where an equation has H(t, p) instead of D_KL.
    """
    logits = loss_precision(logits)
    hard = cross_entropy(logits, labels)
    soft = kl_divergence(target_scores, logits, tau)
    total = (1 - alpha) * hard + weight * (soft + constant)
    return {"hard": hard, "soft": soft, "total": total}


@dataclass(frozen=True, kw_only=True)
class SoftTargetLoss(Loss):
    """A loss of that form.

    Attributes:
        alpha: share of the soft target, in [0, 1].
    """

    alpha: Weight

    @property
    @abstractmethod
    def student_tau(self) -> float:
        """The temperature of the student's softmax in the soft term."""

    @property
    @abstractmethod
    def soft_weight(self) -> float:
        """The factor of D_KL (summed over classes, mean over the batch)."""

    @property
    def hard_scale(self) -> float:
        soft = self.soft_weight if self.student_tau == 1 else 0.0
        return self.scale * (1 - self.alpha + soft)


@dataclass(frozen=True, kw_only=True)
class ReleasedMultiplierLoss(SoftTargetLoss):
    """A loss whose released form has the mean over batch and classes, times a multiplier.

    Attributes:
        tau: temperature, above 0.
        form: `as_released` or another, as the loss has them.
        multiplier: of `as_released` alone, where the soft term's weight has the factor
            multiplier / K; null is that loss's own default.
    """

    alpha: Weight
    tau: Positive
    form: str
    multiplier: Positive | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form != "as_released" and self.multiplier is not None:
            raise ValueError(
                f"multiplier={self.multiplier:g} belongs to form=as_released alone; "
                f"expected null with form={self.form}"
            )
        if self.form == "as_released" and self.multiplier is None:
            object.__setattr__(self, "multiplier", self.default_multiplier)

    @property
    @abstractmethod
    def default_multiplier(self) -> float:
        """What null stands for in `as_released`."""

    @classmethod
    def options_in(cls, form: str, row: Mapping[str, Any]) -> dict[str, Any]:
        options = super().options_in(form, row)
        if form != "as_released":
            options.pop("multiplier", None)
        return options

    def on_classes(self, num_classes: int) -> Self:
        """Returns it with the multiplier m K' / K, at which the weight alpha m / K is the same."""
        moved = self.multiplier
        if moved is not None:
            moved = moved * num_classes / self.num_classes
        return replace(self, num_classes=num_classes, multiplier=moved)
