"""A teacher that is its student's own past: the network as it was some epochs ago."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from kdlsr.config import Between, UserError
from kdlsr.teachers.teacher import LoadedNetwork, Student, Teacher, kinds

FURTHEST = 20  # epochs ago; of so many the weights are in memory and in every checkpoint
Ago = Annotated[int, Between(1, FURTHEST)]


@dataclass(frozen=True, kw_only=True)
class PastTeacher(Teacher):
    """The student itself, earlier.

    Attributes:
        epochs_ago: rising; of several the answer is the mean of their logits.
    """

    epochs_ago: tuple[int, ...]

    @property
    def own_past(self) -> tuple[int, ...]:
        return self.epochs_ago

    @property
    def name(self) -> str:
        return f"past/{'+'.join(map(str, self.epochs_ago))}"

    def identity(self, *, with_seeds: bool) -> Mapping[str, Any]:  # noqa: ARG002
        return {"kind": self.kind, "epochs_ago": list(self.epochs_ago)}

    def weights_identity(self, checkpoint: Path | None) -> Mapping[str, Any]:  # noqa: ARG002
        return self.identity(with_seeds=True)

    def load(self, checkpoint: Path | None) -> LoadedNetwork:  # noqa: ARG002
        raise UserError("teacher=past has no weights before its student is trained")


@kinds.register("past")
def past(*, student: Student, epochs_ago: Ago | tuple[Ago, ...] = 1) -> PastTeacher:
    """Decides of how many epochs ago the student learns.

    Args:
        student: who is taught.
        epochs_ago: 1 is the network as the epoch before this one left it; several, in a list,
            answer with the mean of their logits.

    Raises:
        UserError: there is none, one twice, or one before the student's first epoch; what only
            another network has is set.
    """
    chosen = (epochs_ago,) if isinstance(epochs_ago, int) else epochs_ago
    config = student.config
    if not chosen or sorted(set(chosen)) != list(chosen):
        raise UserError(f"teacher.epochs_ago={list(chosen)} is not possible; expected rising")
    if chosen[0] >= config.schedule.epochs:  # of several those answer that there are
        raise UserError(
            f"teacher.epochs_ago={chosen[0]}: the run has {config.schedule.epochs} epochs"
        )
    if config.start == "teacher":
        raise UserError("start=teacher: teacher=past has no weights to start from")
    if config.teacher.overrides:
        raise UserError("teacher.overrides: teacher=past is the student itself, trained as it is")
    epoch = config.teacher.epoch
    return PastTeacher(kind="past", epoch=epoch, network=config.model, epochs_ago=chosen)
