"""Distillation with two free weights and a warm-up: what others' gains are to be held against."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from kdlsr.losses.base import Control, Loss, NotNegative, Positive, losses, rounded
from kdlsr.losses.growth import warmed_up
from kdlsr.losses.kd import distillation
from kdlsr.losses.step import Step, Terms, soft_targets_of


def weighted_distillation(
    logits: Tensor,
    labels: Tensor,
    teacher_logits: Tensor,
    *,
    hard: float,
    soft: float | Tensor,
    tau: float,
) -> Terms:
    """Returns hard H(q, p) + soft tau^2 D_KL(pt_tau, p_tau).

    Args:
        logits: (N, K), the student's.
        labels: (N,), the right classes, int64.
        teacher_logits: (N, K), which get no gradient.
        hard: of the cross-entropy, 0 or more.
        soft: of the divergence, 0 or more, a number or a 0-dimensional tensor.
        tau: temperature of both softmaxes, above 0.

    Raises:
        ValueError: the two have different shapes.
    """
    found = distillation(logits, labels, teacher_logits, alpha=0.0, tau=tau, weight=0.0)
    total = hard * found["hard"] + soft * tau**2 * found["soft"]
    return {**found, "total": total}


@losses.register("kd_weighted")
@dataclass(frozen=True, kw_only=True)
class WeightedDistillation(Loss):
    """hard H(q, p) + min(e / W, 1) soft tau^2 D_KL(pt_tau, p_tau): Hinton et al. 2015.

    `kd` (`standard`) has the weights 1 - alpha and alpha; methods since 2022 have others, whose
    sum is not 1 (0.1 and 9), and some let the soft term grow over the first W epochs (e counts
    from 1). The defaults are those of CRD (Tian et al., ICLR 2020): 0.1, 0.9, tau 4.

    Attributes:
        hard: weight of the cross-entropy, 0 or more.
        soft: weight of the soft term, 0 or more.
        tau: temperature of both softmaxes, above 0.
        warmup_epochs: W, over which the soft term's weight grows; 0: it does not.
    """

    hard: NotNegative = 0.1
    soft: NotNegative = 0.9
    tau: Positive = 4.0
    warmup_epochs: NotNegative = 0.0
    needs: ClassVar[frozenset[str]] = frozenset({"soft_targets"})
    forms: ClassVar[tuple[str, ...]] = ("standard",)
    stated: ClassVar[frozenset[str]] = frozenset({"hard", "soft", "tau"})
    in_epochs: ClassVar[frozenset[str]] = frozenset({"warmup_epochs"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hard + self.soft:
            raise ValueError("hard=0 and soft=0 leave no loss; expected one of them above 0")

    @property
    def hard_scale(self) -> float:
        return self.scale * (self.hard + (self.soft if self.tau == 1 else 0))

    def controls(self) -> tuple[Control, ...]:
        return super().controls() if self.hard_scale else ()

    def terms(self, step: Step) -> Terms:
        return weighted_distillation(
            step.logits,
            step.labels,
            soft_targets_of(step),
            hard=self.hard,
            soft=self.soft * warmed_up(step, self.warmup_epochs),
            tau=self.tau,
        )


def weighted_kd(
    hard: float, soft: float, tau: float, scale: float, warmup_epochs: float = 0.0
) -> Control:
    """Returns the control `kd_weighted`, from the same teacher."""
    options = {
        "hard": hard,
        "soft": rounded(soft),
        "tau": rounded(tau),
        "warmup_epochs": warmup_epochs,
        "scale": scale,
    }
    name = f"KD {hard:.3g} + {soft:.3g}, tau {tau:.3g}"
    name += f", {warmup_epochs:g} epochs' warm-up" if warmup_epochs else ""
    return Control(name if scale == 1 else f"({name}) x {scale:.4g}", "kd_weighted", options)
