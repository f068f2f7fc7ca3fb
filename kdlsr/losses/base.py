"""What every loss is: the contract, the named terms, the registry, and the common form.

No method's formula stands here; each has its own module.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from torch import Tensor

from kdlsr.config import Above, Between, Registry, UserError, build
from kdlsr.losses.divergence import cross_entropy, kl_divergence, loss_precision

Weight = Annotated[float, Between(0, 1)]
Positive = Annotated[float, Above(0)]


class Terms(NamedTuple):
    """A loss and what it is made of, each a 0-dimensional tensor.

    The first two are free of every weight (scale, alpha, tau squared, 1/K, multiplier), so
    that they can be compared from one loss and form to another.

    Attributes:
        hard: H(q, p), the cross-entropy with the labels at temperature 1, in nats, mean over
            the batch.
        soft: D_KL(target, p_tau), the divergence to the method's target distribution, in
            nats, summed over classes, mean over the batch; 0 where there is no target.
        total: what is minimised.
    """

    hard: Tensor
    soft: Tensor
    total: Tensor


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """A loss with its hyper-parameters.

    Attributes:
        scale: multiplies the total.
        needs_teacher: whether it is called with teacher logits.
        teacher_must_be_self: whether its teacher has to be the student's own architecture.
    """

    scale: Positive = 1.0
    needs_teacher: ClassVar[bool] = False
    teacher_must_be_self: ClassVar[bool] = False

    def resolved(self, num_classes: int) -> Self:
        """Returns this loss with every default filled that depends on the number of classes.

        Raises:
            ValueError: a hyper-parameter makes no sense with so many classes.
        """
        if num_classes < 2:
            raise ValueError(f"a loss needs at least 2 classes, not {num_classes}")
        return self

    @abstractmethod
    def hard_scale(self, num_classes: int) -> float:
        """Returns the weight of all terms that see the student at temperature 1, with `scale`.

        Cross-entropy times this number is the control that tells soft targets from a mere
        change of the loss's scale.
        """

    @abstractmethod
    def __call__(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None
    ) -> Terms:
        """Returns the loss of a batch, computed in fp32 (fp64 for fp64 logits).

        Values and gradients are finite for finite logits of any size; NaN for others.

        Args:
            logits: (N, K), the student's.
            labels: (N,), the right classes, int64.
            teacher_logits: (N, K); they get no gradient.

        Raises:
            ValueError: there is no teacher where one is needed, or it has another shape.
        """


@dataclass(frozen=True, kw_only=True)
class SoftTargetLoss(Loss):
    """Cross-entropy plus a divergence to a target distribution t.

    total = scale [(1 - alpha) H(q, p) + soft_weight (D_KL(t, p_tau) + constant)]

    A method is: its target, the temperature at which it sees the student, and its weight.

    Attributes:
        alpha: share of the soft target, in [0, 1].
    """

    alpha: Weight

    @abstractmethod
    def target_scores(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None
    ) -> Tensor:
        """Returns log t up to a constant per sample, (N, K), of the dtype of `logits`."""

    @property
    @abstractmethod
    def student_tau(self) -> float:
        """The temperature of the student's softmax in the soft term."""

    @abstractmethod
    def soft_weight(self, num_classes: int) -> float:
        """Returns the factor of D_KL (summed over classes, mean over the batch)."""

    def constant(self, num_classes: int) -> float:
        """Returns what is added to D_KL: H(t) where the equation has H(t, p) instead."""
        del num_classes
        return 0.0

    def hard_scale(self, num_classes: int) -> float:
        soft = self.soft_weight(num_classes) if self.student_tau == 1 else 0.0
        return self.scale * (1 - self.alpha + soft)

    def __call__(
        self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None = None
    ) -> Terms:
        logits = loss_precision(logits)
        num_classes = logits.shape[1]
        hard = cross_entropy(logits, labels)
        target_scores = self.target_scores(logits, labels, teacher_logits)
        soft = kl_divergence(target_scores, logits, self.student_tau)
        full = soft + self.constant(num_classes)
        total = (1 - self.alpha) * hard + self.soft_weight(num_classes) * full
        return Terms(hard, soft, self.scale * total)


losses: Registry[type[Loss]] = Registry("loss", "kdlsr.losses")


def build_loss(name: str, options: Mapping[str, Any], num_classes: int) -> Loss:
    """Builds the loss registered as `name` from the config section's other keys.

    Raises:
        UserError: no such loss, an unknown key, a value of the wrong type or out of range,
            or an impossible combination.
    """
    loss = build(losses.get(name), options, "loss")
    try:
        return loss.resolved(num_classes)
    except ValueError as error:
        raise UserError(f"loss: {error}") from error


def check_above_uniform(key: str, probability: float, num_classes: int) -> None:
    """Refuses a right class that would get no more than the uniform distribution gives it.

    Raises:
        ValueError: `probability` is at most 1/K.
    """
    if probability <= 1 / num_classes:
        raise ValueError(
            f"{key}={probability:g} is not possible with {num_classes} classes; "
            f"expected more than 1/{num_classes} = {1 / num_classes:.4g}"
        )


def check_multiplier_form(form: str, multiplier: float | None) -> None:
    """Refuses a multiplier outside of the form that has one.

    Raises:
        ValueError: `multiplier` is set although `form` is not `as_released`.
    """
    if multiplier is not None and form != "as_released":
        raise ValueError(
            f"multiplier={multiplier:g} belongs to form=as_released alone; "
            f"expected null with form={form}"
        )
