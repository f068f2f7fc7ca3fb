"""What a teacher is: decided when its student is planned, loaded when its outputs are needed.

A kind of teacher is a function registered by the name that a config uses; any other name is a
model's, and means a run of this suite. How a run that teaches is found or trained is for `runs/`;
how outputs are kept, for `outputs`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from kdlsr.config import Registry, UserError, build_call
from kdlsr.config.encoding import Encoder
from kdlsr.config.refusals import no_such_option
from kdlsr.config.schema import ModelConfig, RunConfig
from kdlsr.data import Facts
from kdlsr.data.normalisation import Normalisation
from kdlsr.models import models


class TeachingRun(Protocol):
    """A run of this suite that teaches another one, as far as a teacher has to know it."""

    @property
    def run_id(self) -> str: ...
    @property
    def cell_id(self) -> str: ...
    @property
    def config(self) -> RunConfig: ...
    @property
    def facts(self) -> Facts: ...

    def build_model(self) -> nn.Module: ...


@dataclass(frozen=True)
class Student:
    """Who is to be taught: what a kind of teacher is decided from.

    Attributes:
        config: the student's.
        facts: of its data set.
        plan_teacher: plans the run that teaches it, by the rules of what a teacher inherits.
    """

    config: RunConfig
    facts: Facts
    plan_teacher: Callable[[RunConfig], TeachingRun]


@dataclass(frozen=True)
class LoadedNetwork:
    """A teacher's network with its weights.

    Attributes:
        model: on the CPU.
        normalisation: of the pixels it was trained on; None: not known, or nothing to normalise.
        remark: what a user should know of how its weights were matched; None: nothing.
    """

    model: nn.Module
    normalisation: Normalisation | None = None
    remark: str | None = None


@dataclass(frozen=True, kw_only=True)
class Teacher(ABC):
    """A decided teacher.

    Attributes:
        kind: the name it is registered by.
        epoch: which of its epochs teaches; a number that is its last one reads `last`.
        network: which network it is: a model's name and options.
    """

    kind: str
    epoch: int | str = "last"
    network: ModelConfig

    @property
    def run(self) -> TeachingRun | None:
        """The run of this suite that has to be there first; None for weights from elsewhere."""
        return None

    @property
    def own_past(self) -> tuple[int, ...]:
        """How many epochs ago the student itself is that teaches; empty for any other network."""
        return ()

    @property
    def encoder(self) -> Encoder | None:
        """How it reads texts; None: it reads what its student does, or no texts."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """Its run_id, its file, or its name elsewhere."""

    @abstractmethod
    def identity(self, *, with_seeds: bool) -> Mapping[str, Any]:
        """Returns what tells it from other teachers, in its students' identities."""

    @abstractmethod
    def weights_identity(self, checkpoint: Path | None) -> Mapping[str, Any]:
        """Returns what tells its weights from all others, to the bit.

        Args:
            checkpoint: of its run, where it has one.
        """

    @abstractmethod
    def load(self, checkpoint: Path | None) -> LoadedNetwork:
        """Returns the network with its weights.

        Raises:
            UserError: they cannot be had, or do not fit the network.
        """


@contextmanager
def said_of_teacher(name: str) -> Iterator[None]:
    """Has a refusal say that it is the teacher's, and where an option of its network is set."""
    try:
        yield
    except UserError as error:
        text = str(error)
        if text.startswith("teacher"):
            raise
        key = re.search(r"^(?:unknown key )?(model\.\w+)", text)
        set_by = f"; it is set by 'teacher.overrides=[\"{key[1]}=...\"]'" if key else ""
        raise UserError(f"teacher={name}: {text}{set_by}") from error


Kind = Callable[..., Teacher]
kinds: Registry[Kind] = Registry("teacher", "kdlsr.teachers.kinds", entry_points="kdlsr.teachers")
RUN = "self"  # the kind of every teacher that is called by a model's name


def decide_teacher(student: Student) -> Teacher:
    """Returns the teacher that a student's config names.

    Raises:
        UserError: there is none of that name, or it cannot teach this student.
    """
    config = student.config.teacher
    known = [*kinds.names(), *models.names()]
    if config.name not in known:
        raise UserError(no_such_option("teacher", config.name, known))
    kind = config.name if config.name in kinds.names() else RUN
    teacher = build_call(kinds.get(kind), config.options, "teacher", student=student)
    if teacher.run is None and teacher.epoch != "last":
        raise UserError(f"teacher.epoch={teacher.epoch}: teacher={config.name} has no epochs")
    return teacher
