"""Which parts of a config cannot go together: each refused in one line, at the plan.

What is wrong with a part on its own is found where it is built; nothing is decided here.
"""

from kdlsr.config import UserError
from kdlsr.config.schema import RunConfig
from kdlsr.data import Facts
from kdlsr.data.recipe import read_recipe
from kdlsr.losses import Loss
from kdlsr.models import check_builds
from kdlsr.teachers.teacher import Teacher


def check_teacher_fits(config: RunConfig, loss: Loss) -> None:
    """Refuses a loss without the teacher that it needs, and a teacher that nothing needs."""
    name, teacher = config.loss.name, config.teacher.name
    if loss.needs_teacher and teacher == "none":
        raise UserError(
            f"loss={name} needs a teacher: add teacher=<any model>, teacher=self or "
            "teacher=checkpoint"
        )
    if config.start == "teacher":
        if teacher == "none":
            raise UserError("start=teacher needs a teacher to start from: add teacher=self")
        return
    if not loss.needs_teacher and teacher != "none":
        raise UserError(f"loss={name} uses no teacher: drop teacher={teacher}, or choose loss=kd")
    if loss.teacher_must_be_self and teacher != "self":
        raise UserError(
            f"loss={name} learns from teacher=self only; with teacher={teacher} use loss=kd"
        )


def check_network(config: RunConfig, facts: Facts) -> None:
    """Refuses a network that cannot be built for the data set, or cannot take its views."""
    check_builds(
        config.model.name,
        config.model.options,
        spec=facts.spec,
        num_classes=facts.num_classes,
        dataset=config.dataset.name,
        views=read_recipe(config.dataset.views).gives(facts.spec),
    )


def check_epochs(config: RunConfig) -> None:
    """Refuses epochs that the run does not have."""
    epochs = config.schedule.epochs
    for kept in config.keep_epochs:
        if kept > epochs:
            raise UserError(f"keep_epochs has {kept}; the run has {epochs} epochs")
    if config.until is not None and config.until > epochs:
        raise UserError(f"until={config.until}: the run has {epochs} epochs")


def check_start(config: RunConfig, teacher: Teacher | None) -> None:
    """Refuses weights of another network to start from."""
    if config.start == "scratch":
        return
    if teacher is None or teacher.network != config.model:
        raise UserError(
            f"start=teacher: teacher={config.teacher.name} is another network than the "
            "student; use teacher=self"
        )
