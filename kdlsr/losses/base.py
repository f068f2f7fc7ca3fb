"""What every loss is: the contract, its controls, the registry.

No method's formula stands here; each has its own module.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

from torch import nn

from kdlsr.config import Above, AtLeast, Between, Registry, UserError, nearest
from kdlsr.config.fields import build_call
from kdlsr.losses.divergence import cross_entropy, loss_precision
from kdlsr.losses.step import ON_REQUEST, Step, Terms

Weight = Annotated[float, Between(0, 1)]
Positive = Annotated[float, Above(0)]
NotNegative = Annotated[float, AtLeast(0)]


@dataclass(frozen=True)
class Control:
    """A training that lacks one part of a method, and so shows what it is not needed for.

    Attributes:
        name: as reports show it.
        loss: the name of its loss; one that needs a teacher has its method's.
        options: of that loss.
        start_from_teacher: whether its weights begin as those of its method's teacher.
    """

    name: str
    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)
    start_from_teacher: bool = False


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """A loss with its hyper-parameters: the fields of its class, `num_classes` apart.

    Attributes:
        num_classes: K, 2 or more; given by the program when the loss is built.
        scale: multiplies the total.
        needs: what of a step it has to be given, of `ON_REQUEST`.
        teacher_must_be_self: whether its teacher has to be the student's own architecture.
        decays_state: whether what its state learns has the network's weight decay.
        forms: in which of the forms that can be confused it exists (a field `form` has them,
            where there are several).
        stated: hyper-parameters that a published row cannot leave to this loss's defaults.
        in_epochs: those that are lengths in epochs: of a shorter schedule a row takes their share.
    """

    num_classes: int
    scale: Positive = 1.0
    needs: ClassVar[frozenset[str]] = frozenset()
    teacher_must_be_self: ClassVar[bool] = False
    decays_state: ClassVar[bool] = False
    forms: ClassVar[tuple[str, ...]] = ("as_written",)
    stated: ClassVar[frozenset[str]] = frozenset()
    in_epochs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"a loss needs at least 2 classes, not {self.num_classes}")

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """What a config may set, every default filled in."""
        values = dataclasses.asdict(self)
        del values["num_classes"]
        return values

    @property
    def needs_teacher(self) -> bool:
        """Whether it is given a teacher's logits."""
        return "soft_targets" in self.needs

    @abstractmethod
    def terms(self, step: Step) -> Terms:
        """Returns the loss of a batch before `scale`, in fp32 (fp64 for fp64 logits).

        Values and gradients are finite for finite logits of any size; NaN for others. Nothing
        but the step's logits and the state's parameters gets a gradient.

        Raises:
            ValueError: the step's soft targets are missing, or have another shape.
        """

    def __call__(self, step: Step) -> Terms:
        """Returns the terms of a batch, the total times `scale`."""
        terms = self.terms(step)
        return {**terms, "total": self.scale * terms["total"]}

    def untaught(self, step: Step) -> Terms:
        """Returns the terms of a batch of which a teacher has nothing to say yet.

        Cross-entropy with the labels, times `scale`: the target is one-hot, as PS-KD's (Kim et
        al., ICCV 2021) is in the epoch before which there was none.
        """
        hard = cross_entropy(loss_precision(step.logits), step.labels)
        return {"hard": hard, "soft": hard.new_zeros(()), "total": self.scale * hard}

    def state(self, num_samples: int) -> nn.Module:  # noqa: ARG002
        """Returns what this loss keeps from step to step, as it is before the first.

        Its buffers are remembered and its parameters learned with the network (by the same
        optimiser, without weight decay unless `decays_state`); both are in the checkpoint. A
        step and `end_epoch` change them in place: a recorded step goes on seeing them.

        Args:
            num_samples: of the data set's training samples: `Step.rows` are below it.
        """
        return nn.Module()

    def end_epoch(self, state: nn.Module) -> None:  # noqa: B027
        """Updates the state after an epoch's last step."""

    # ------------------------------------------------------------ in a table

    @property
    @abstractmethod
    def hard_scale(self) -> float:
        """The weight of all terms that see the student at temperature 1, with `scale`.

        Cross-entropy times this number is the control that tells soft targets from a mere
        change of the loss's scale.
        """

    def controls(self) -> tuple[Control, ...]:
        """Returns what it is to be compared with, besides the baseline."""
        scale = rounded(self.hard_scale)
        return (Control(f"CE x {scale:.4g}", "ce", {"scale": scale}),)

    @classmethod
    def options_in(cls, form: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a published row's hyper-parameters as this loss's options in one form."""
        has_form = any(f.name == "form" for f in dataclasses.fields(cls))
        return {**row, "form": form} if has_form else dict(row)

    def on_classes(self, num_classes: int) -> Self:
        """Returns this loss on another number of classes, its weights kept."""
        return dataclasses.replace(self, num_classes=num_classes)


def rounded(value: float) -> float:
    """Drops what binary arithmetic adds: 1 - 0.95 is 0.05."""
    return float(f"{value:.12g}")


losses: Registry[type[Loss]] = Registry("loss", "kdlsr.losses")


def build_loss(
    name: str, options: Mapping[str, Any], num_classes: int, where: str = "loss"
) -> Loss:
    """Builds the loss registered as `name` from hyper-parameters found at the path `where`.

    Raises:
        UserError: no such loss, an unknown key, a value of the wrong type or out of range, an
            impossible combination, or a need that no training can meet.
    """
    cls = losses.get(name)
    unmet = sorted(cls.needs - ON_REQUEST)
    if unmet:
        raise UserError(
            f"{where}: {name} needs {unmet[0]}, which training does not "
            f"give{nearest(unmet[0], ON_REQUEST)}"
        )
    return build_call(cls, options, where, num_classes=num_classes)


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
