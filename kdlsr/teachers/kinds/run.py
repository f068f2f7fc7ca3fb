"""A teacher that is a run of this suite: `teacher=self`, or any model's name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlsr.config import UserError
from kdlsr.config.encoding import Encoder
from kdlsr.data.normalisation import Normalisation
from kdlsr.models import encoder_of, library_versions
from kdlsr.teachers.teacher import (
    RUN,
    LoadedNetwork,
    Student,
    Teacher,
    TeachingRun,
    kinds,
    said_of_teacher,
)
from kdlsr.training.checkpoint import checkpoint_digest, read_checkpoint


@dataclass(frozen=True, kw_only=True)
class RunTeacher(Teacher):
    """A run at one of its epochs."""

    trained: TeachingRun

    @property
    def run(self) -> TeachingRun:
        return self.trained

    @property
    def encoder(self) -> Encoder | None:
        return encoder_of(self.network.name, self.network.options)

    @property
    def name(self) -> str:
        return self.trained.run_id

    def identity(self, *, with_seeds: bool) -> Mapping[str, Any]:
        return {"run": self.trained.run_id if with_seeds else self.trained.cell_id}

    def weights_identity(self, checkpoint: Path | None) -> Mapping[str, Any]:
        assert checkpoint is not None
        # A run made again elsewhere has its id and other bits: its checkpoint tells them apart.
        found = {"run_id": self.trained.run_id, "sha256": checkpoint_digest(checkpoint)}
        return found | library_versions(self.network.name)

    def load(self, checkpoint: Path | None) -> LoadedNetwork:
        assert checkpoint is not None
        state = read_checkpoint(checkpoint, self.trained.run_id)
        model = self.trained.build_model()
        model.load_state_dict(state["model"])
        learnt = state["normalisation"]
        return LoadedNetwork(model, Normalisation.from_state(learnt) if learnt else None)


@kinds.register(RUN)
def run(*, student: Student) -> RunTeacher:
    """Plans the run that teaches a student.

    Raises:
        UserError: it has fewer epochs than are asked for, no validation split to choose an epoch
            by, or another data set.
    """
    asked = student.config.teacher.epoch
    with said_of_teacher(student.config.teacher.name):
        trained = student.plan_teacher(student.config)
    epochs = trained.config.schedule.epochs
    if isinstance(asked, int) and asked > epochs:
        raise UserError(f"teacher.epoch={asked}: the teacher is trained for {epochs} epochs")
    if asked == "best_val" and not trained.config.dataset.val_fraction:
        raise UserError("teacher.epoch=best_val needs dataset.val_fraction above 0")
    if not _same_task(trained, student):
        raise UserError("teacher.overrides: the teacher's data set has other classes or channels")
    epoch = "last" if asked == epochs else asked
    return RunTeacher(kind=RUN, epoch=epoch, network=trained.config.model, trained=trained)


def _same_task(trained: TeachingRun, student: Student) -> bool:
    theirs, ours = trained.facts, student.facts
    return theirs.num_classes == ours.num_classes and theirs.spec.interchangeable(ours.spec)
