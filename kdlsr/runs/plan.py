"""A config turned into a run: everything resolved, its teacher a run too, its identity known.

Planning loads no data and trains nothing; whatever is wrong with a config is found here.
"""

import dataclasses
import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from kdlsr.config import UserError, nearest
from kdlsr.config.compose import option, relative_to_here
from kdlsr.config.inheritance import teacher_config
from kdlsr.config.inputs import InputSpec
from kdlsr.config.schema import (
    ModelConfig,
    RunConfig,
    TeacherConfig,
    as_plain,
    fields_of_last_bits,
    read_config,
)
from kdlsr.data.dataset import Facts
from kdlsr.data.prepare import data_identity, facts_of
from kdlsr.files import file_digest
from kdlsr.losses import Loss, build_loss
from kdlsr.machine.device import Precision, resolve_device, resolve_precision
from kdlsr.models import ModelOption, build_model, models
from kdlsr.tracking import read_tracker
from kdlsr.training.optimisation import Optimisation, resolve_optimisation

# Raised whenever a change of code changes results: runs made before it are not mixed with
# runs made after it.
NUMERICS = 2
ID_LENGTH = 80
HASH_LENGTH = 10
NO_RUN = ("none", "checkpoint", "timm")  # teachers that are not runs of this suite


@dataclass(frozen=True)
class TeacherFile:
    """A teacher from elsewhere: a file, or timm's pretrained weights.

    Attributes:
        kind: `checkpoint` or `timm`.
        name: the network: a registered model, or timm's architecture.
        options: that model's options.
        path: the file, for `checkpoint`.
        sha256: of the file, for `checkpoint`.
    """

    kind: Literal["checkpoint", "timm"]
    name: str
    options: dict[str, Any]
    path: Path | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Run:
    """One training of one network, fully decided.

    Attributes:
        config: with every `auto` and null that moves the numbers filled in.
        facts: of its data set.
        model: the registered network.
        loss: with everything that depends on the number of classes filled in.
        optimisation: the optimiser, its rate and weight decay.
        precision: fp32, bf16 or fp16.
        device: where it would run here (no part of its identity).
        teacher: the run or file that teaches it, or whose weights it starts from; None where
            it needs none.
        run_id: readable, then a hash of all that moves its numbers.
        cell_id: the same without the seed.
    """

    config: RunConfig
    facts: Facts
    model: ModelOption
    loss: Loss
    optimisation: Optimisation
    precision: Precision
    device: torch.device
    teacher: "Run | TeacherFile | None"
    run_id: str
    cell_id: str

    @property
    def teacher_epoch(self) -> int | str:
        """The teacher's epoch that is used; a number that is its last one reads `last`."""
        epoch = self.config.teacher.epoch
        is_last = isinstance(self.teacher, Run) and epoch == self.teacher.config.schedule.epochs
        return "last" if is_last else epoch

    def build_model(self) -> torch.nn.Module:
        """Returns the network with freshly drawn weights (torch's global generator)."""
        return build_model(
            self.config.model.name,
            self.config.model.options,
            spec=self.facts.spec,
            num_classes=self.facts.num_classes,
            dataset=self.config.dataset.name,
        )


def plan_run(config: RunConfig) -> Run:
    """Decides all of a run and of its teachers.

    Raises:
        UserError: an option that does not exist, a combination that is impossible, a data
            set or a file that cannot be found.
    """
    facts = facts_of(config.dataset)
    model = models.get(config.model.name)
    loss = build_loss(config.loss.name, config.loss.options, facts.num_classes)
    _check_teacher_fits(config, loss)
    needs_teacher = loss.needs_teacher or config.start == "teacher"
    read_tracker(config.tracker.name, config.tracker.options)
    device = resolve_device(config.device)
    run = Run(
        config=config,
        facts=facts,
        model=model,
        loss=loss,
        optimisation=resolve_optimisation(config.schedule, model.recipe),
        precision=resolve_precision(config.precision, device),
        device=device,
        teacher=_plan_teacher(config, facts) if needs_teacher else None,
        run_id="",
        cell_id="",
    )
    _check_model_builds(config.model, config.dataset.name, facts)
    _check_epochs(run)
    _check_start(run)
    return _with_identity(run)


def _check_model_builds(model: ModelConfig, dataset: str, facts: Facts) -> None:
    _build_once(model.name, json.dumps(model.options), facts.spec, facts.num_classes, dataset)


@functools.lru_cache(maxsize=256)
def _build_once(name: str, options: str, spec: InputSpec, num_classes: int, dataset: str) -> None:
    with torch.device("meta"):
        build_model(name, json.loads(options), spec=spec, num_classes=num_classes, dataset=dataset)


def _check_teacher_fits(config: RunConfig, loss: Loss) -> None:
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


def _check_epochs(run: Run) -> None:
    schedule = run.config.schedule
    for kept in run.config.keep_epochs:
        if kept > schedule.epochs:
            raise UserError(f"keep_epochs has {kept}; the run has {schedule.epochs} epochs")
    if run.config.until is not None and run.config.until > schedule.epochs:
        raise UserError(f"until={run.config.until}: the run has {schedule.epochs} epochs")
    epoch = run.config.teacher.epoch
    if not isinstance(run.teacher, Run):
        if run.teacher is not None and epoch != "last":
            raise UserError(f"teacher.epoch={epoch}: teacher={run.teacher.kind} has no epochs")
        return
    teacher = run.teacher.config
    if isinstance(epoch, int) and epoch > teacher.schedule.epochs:
        raise UserError(
            f"teacher.epoch={epoch}: the teacher is trained for {teacher.schedule.epochs} epochs"
        )
    if epoch == "best_val" and not teacher.dataset.val_fraction:
        raise UserError("teacher.epoch=best_val needs dataset.val_fraction above 0")
    theirs, ours = run.teacher.facts, run.facts
    if theirs.num_classes != ours.num_classes or not theirs.spec.interchangeable(ours.spec):
        raise UserError("teacher.overrides: the teacher's data set has other classes or channels")


def _check_start(run: Run) -> None:
    """Refuses weights of another network to start from."""
    if run.config.start == "scratch":
        return
    own = (run.config.model.name, dict(run.config.model.options))
    teacher = run.teacher
    if isinstance(teacher, Run):
        fits = own == (teacher.config.model.name, dict(teacher.config.model.options))
    else:
        fits = teacher is not None and own == (teacher.name, teacher.options)
    if not fits:
        raise UserError(
            f"start=teacher: teacher={run.config.teacher.name} is another network than the "
            "student; use teacher=self"
        )


def _plan_teacher(config: RunConfig, facts: Facts) -> Run | TeacherFile:
    if config.teacher.name not in NO_RUN:
        return _planned_once(canonical(as_plain(teacher_config(config))))
    if config.teacher.name == "timm":
        return _plan_timm(config.teacher, facts)
    return _plan_file(config, facts)


@functools.lru_cache(maxsize=1024)
def _planned_once(config: str) -> Run:
    """Plans the run of a config given as JSON: students of one teacher plan it once."""
    return plan_run(read_config(json.loads(config)))


def with_seed(run: Run, seed: int) -> Run:
    """Returns the same run with another seed (and `init_seed` and `data_seed` with it).

    Nothing else of a plan depends on the student's seed: teachers have their own.
    """
    config = dataclasses.replace(run.config, seed=seed, init_seed=seed, data_seed=seed)
    seeded = dataclasses.replace(run, config=config)
    return dataclasses.replace(seeded, run_id=_run_id(seeded))


def _plan_timm(teacher: TeacherConfig, facts: Facts) -> TeacherFile:
    import timm

    name = teacher.architecture or ""
    if not timm.is_model(name.partition(".")[0]):
        known = timm.list_models(pretrained=True)
        raise UserError(f"teacher.architecture={name}: not in timm{nearest(name, known)}")
    classes = timm.get_pretrained_cfg_value(name, "num_classes")
    if classes != facts.num_classes:
        raise UserError(
            f"teacher.architecture={name} has {classes} classes; the data set has "
            f"{facts.num_classes}"
        )
    return TeacherFile(kind="timm", name=name, options={})


def _plan_file(config: RunConfig, facts: Facts) -> TeacherFile:
    teacher = config.teacher
    path = relative_to_here(teacher.path or "")
    if not path.is_file():
        raise UserError(f"teacher.path={teacher.path}: no such file")
    plain = as_plain(config)
    if teacher.model is not None:
        plain["model"] = option("model", teacher.model)
    for override in teacher.overrides.without("model"):
        raise UserError(f"teacher.overrides: {override} does not change the model")
    model = read_config(teacher.overrides.apply_to(plain, "teacher.overrides")).model
    _check_model_builds(model, config.dataset.name, facts)
    return TeacherFile("checkpoint", model.name, dict(model.options), path, file_digest(path))


def _with_identity(run: Run) -> Run:
    cell_id = _readable_id(_words(run), _identity(run, with_seeds=False))
    return dataclasses.replace(run, run_id=_run_id(run), cell_id=cell_id)


def _run_id(run: Run) -> str:
    config = run.config
    seed = f"s{config.init_seed}"
    if config.data_seed != config.init_seed:
        seed += f"d{config.data_seed}"
    return _readable_id([*_words(run), seed], _identity(run, with_seeds=True))


def _words(run: Run) -> list[str]:
    """Returns what a reader of an id recognises a run by."""
    config = run.config
    taught = ["from", config.teacher.name] if run.teacher is not None else []
    return [config.dataset.name, config.model.name, config.loss.name, *taught]


def _readable_id(parts: list[str], identity: dict[str, Any]) -> str:
    digest = hashlib.sha256(canonical(identity).encode()).hexdigest()[:HASH_LENGTH]
    words = re.sub(r"[^a-z0-9._-]+", "-", "-".join(parts).lower())
    return f"{words[: ID_LENGTH - HASH_LENGTH - 1].rstrip('-.')}-{digest}"


def canonical(value: Any) -> str:
    """The one JSON text of a nested plain value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _identity(run: Run, *, with_seeds: bool) -> dict[str, Any]:
    """Returns all that is meant to move a run's numbers, and nothing else."""
    config = run.config
    schedule = dataclasses.asdict(config.schedule)
    for resolved in ("optimizer", "lr", "weight_decay", "sgd"):
        del schedule[resolved]
    identity: dict[str, Any] = {
        "numerics": NUMERICS,
        "data": data_identity(config.dataset, run.facts),
        "model": {"name": config.model.name, **config.model.options},
        "loss": {"name": config.loss.name, **run.loss.hyper_parameters},
        "schedule": schedule | vars(run.optimisation),
        **{key: getattr(config, key) for key in fields_of_last_bits()},
        "precision": run.precision,
        "teacher": _teacher_identity(run, with_seeds=with_seeds),
    }
    if config.start != "scratch":
        identity["start"] = config.start
    if with_seeds:
        identity |= {"init_seed": config.init_seed, "data_seed": config.data_seed}
    return identity


def _teacher_identity(run: Run, *, with_seeds: bool) -> dict[str, Any] | None:
    teacher = run.teacher
    if teacher is None:
        return None
    common = {"epoch": run.teacher_epoch, "dtype": run.config.teacher.dtype}
    if isinstance(teacher, TeacherFile):
        source = {"kind": teacher.kind, "model": teacher.name, "sha256": teacher.sha256}
        return {**common, **source, "options": teacher.options}
    return {**common, "run": teacher.run_id if with_seeds else teacher.cell_id}
