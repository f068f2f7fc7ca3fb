"""DIST: the teacher's correlations in place of its probabilities."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional as F

from kdlsr.losses.base import Control, Loss, NotNegative, Positive, losses
from kdlsr.losses.divergence import cross_entropy, loss_precision, other_logits, shifted_logits
from kdlsr.losses.kd_weighted import weighted_kd
from kdlsr.losses.step import Step, Terms, soft_targets_of

EPSILON = 1e-8  # of the released code, beside the product of the norms


def correlations(first: Tensor, second: Tensor) -> Tensor:
    """Returns Pearson's correlation of each row with its counterpart: (n,), in [-1, 1].

    0 where a row has no variance (a single value has none), with a gradient of 0.

    Args:
        first: (n, m).
        second: (n, m).
    """
    first, second = (x - x.mean(dim=1, keepdim=True) for x in (first, second))
    norms: Tensor = vector_norm(first, dim=1) * vector_norm(second, dim=1)
    return (first * second).sum(dim=1) / (norms + EPSILON)


def correlation_distillation(
    logits: Tensor, labels: Tensor, teacher_logits: Tensor, *, weight: float, tau: float
) -> Terms:
    """Returns H(q, p) + weight ((1 - mean rho over samples) + (1 - mean rho over classes)).

    rho of a sample is between the K probabilities that teacher and student have at tau, rho of
    a class between the N that its samples of the batch have. `soft` is the bracket, in [0, 4].

    Args:
        logits: (N, K), the student's.
        labels: (N,), the right classes, int64.
        teacher_logits: (N, K), which get no gradient.
        weight: of the bracket, 0 or more.
        tau: temperature of both softmaxes, above 0.

    Raises:
        ValueError: the two have different shapes.
    """
    logits, teacher = loss_precision(logits), other_logits(teacher_logits, logits)
    hard = cross_entropy(logits, labels)
    p, pt = (F.softmax(shifted_logits(z) / tau, dim=1) for z in (logits, teacher))
    soft = 2 - correlations(p, pt).mean() - correlations(p.T, pt.T).mean()
    return {"hard": hard, "soft": soft, "total": hard + weight * soft}


@losses.register("dist")
@dataclass(frozen=True, kw_only=True)
class CorrelationDistillation(Loss):
    """H(q, p) + w ((1 - mean rho over samples) + (1 - mean rho over classes)).

    DIST of Huang et al., NeurIPS 2022. The forms differ in w:

    `as_released` (DIST_KD 2418f18): w = 2 tau^2, with tau 4. `as_written`: w = 2; the paper has
    no tau^2 (image_classification_sota, issue 19). Which 2 and tau it has is not known to us.

    The second bracket couples the samples of a batch: the loss of a batch is not the mean of
    its samples' losses, and that of a small last batch is another one. A batch of one sample
    has no correlation: the released code's epsilon makes it 0, a constant loss, and so here.
    (Training makes batches of one only with `schedule.batch_size=1`.)

    Its control is ours: KD with the same weight and tau.

    Attributes:
        weight: of both brackets, without tau^2, 0 or more.
        tau: temperature, above 0.
        form: `as_released` or `as_written`.
    """

    weight: NotNegative = 2.0
    tau: Positive = 4.0
    form: Literal["as_released", "as_written"] = "as_released"
    needs: ClassVar[frozenset[str]] = frozenset({"soft_targets"})
    forms: ClassVar[tuple[str, ...]] = ("as_released", "as_written")
    stated: ClassVar[frozenset[str]] = frozenset({"tau"})

    @property
    def soft_weight(self) -> float:
        """The factor of `soft`."""
        return self.weight * (self.tau**2 if self.form == "as_released" else 1)

    @property
    def hard_scale(self) -> float:
        return self.scale  # a correlation is no cross-entropy, at whatever temperature

    def controls(self) -> tuple[Control, ...]:
        soft = self.soft_weight / self.tau**2
        return (weighted_kd(1.0, soft, self.tau, self.scale),)

    def terms(self, step: Step) -> Terms:
        return correlation_distillation(
            step.logits,
            step.labels,
            soft_targets_of(step),
            weight=self.soft_weight,
            tau=self.tau,
        )
