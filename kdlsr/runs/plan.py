"""A config turned into a run: everything resolved, its teacher decided, its identity known.

Planning loads no data and trains nothing; whatever is wrong with a config is found here.
"""

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from kdlsr.config.encoding import Encoder
from kdlsr.config.inheritance import teacher_config, teacher_overrides
from kdlsr.config.overrides import NO_OVERRIDES, Override, Overrides
from kdlsr.config.schema import (
    RunConfig,
    as_plain,
    fields_of_last_bits,
    read_config,
)
from kdlsr.data import Facts
from kdlsr.data.prepare import data_identity, facts_of
from kdlsr.losses import Loss, build_loss
from kdlsr.machine.compiler import check_compiler
from kdlsr.machine.cores import check_threads
from kdlsr.machine.device import Precision, resolve_device, resolve_precision
from kdlsr.models import ModelOption, build_model, encoder_of, identity_of_options, models
from kdlsr.runs.card import DataOnCard, MadeFor, RunCard, TeacherOnCard
from kdlsr.runs.combinations import (
    check_epochs,
    check_network,
    check_start,
    check_teacher_fits,
)
from kdlsr.runs.identity import canonical, readable_id
from kdlsr.teachers.teacher import Student, Teacher, decide_teacher
from kdlsr.tracking import check_tracker
from kdlsr.training.optimisation import Optimisation, resolve_optimisation, schedule_identity

# Raised whenever a change of code changes results: runs made before it are not mixed with
# runs made after it.
NUMERICS = 4


@dataclass(frozen=True)
class Run:
    """One training of one network, fully decided.

    Attributes:
        config: as it was composed.
        command: the overrides that compose to it.
        facts: of its data set.
        model: the registered network.
        loss: with every default filled in.
        optimisation: the optimiser, its rate and weight decay.
        precision: fp32, bf16 or fp16.
        device: where it would run here (no part of its identity).
        teacher: what teaches it, or whose weights it starts from; None where it needs none.
        teacher_run: the teacher, where that is a run of this suite.
        run_id: readable, then a hash of all that moves its numbers.
        cell_id: the same without the seed.
    """

    config: RunConfig
    command: Overrides
    facts: Facts
    model: ModelOption
    loss: Loss
    optimisation: Optimisation
    precision: Precision
    device: torch.device
    teacher: Teacher | None
    teacher_run: "Run | None"
    run_id: str = ""
    cell_id: str = ""

    @property
    def encoder(self) -> Encoder | None:
        """The tokenizer of a network of texts; None for a network of anything else."""
        return encoder_of(self.config.model.name, self.config.model.options)

    @property
    def captures(self) -> bool:
        """Whether its steps are recorded and replayed as CUDA graphs, where they can be."""
        chosen = self.config.capture
        return self.device.type == "cuda" if chosen == "auto" else chosen

    def build_model(self) -> torch.nn.Module:
        """Returns the network with freshly drawn weights (torch's global generator)."""
        return build_model(
            self.config.model.name,
            self.config.model.options,
            spec=self.facts.spec,
            num_classes=self.facts.num_classes,
            dataset=self.config.dataset.name,
        )


def plan_run(config: RunConfig, command: Overrides = NO_OVERRIDES) -> Run:
    """Decides all of a run and of its teachers.

    Args:
        config: of the run.
        command: what composes to it, for its card.

    Raises:
        UserError: an option that does not exist, a combination that is impossible, a data
            set or a file that cannot be found.
    """
    facts = facts_of(config.dataset)
    model = models.get(config.model.name)
    loss = build_loss(config.loss.name, config.loss.options, facts.num_classes)
    check_teacher_fits(config, loss)
    check_tracker(config.tracker.name, config.tracker.options)
    device = resolve_device(config.device)
    _check_machine(config, device)
    # All that is the run's own before its teacher, whose refusals are said to be the teacher's.
    optimisation = resolve_optimisation(config.schedule, model.recipe)
    precision = resolve_precision(config.precision, device, model.bf16_flags)
    check_network(config, facts)
    check_epochs(config)
    is_taught = loss.needs_teacher or config.start == "teacher"
    teacher, teacher_run = _plan_teacher(config, command, facts) if is_taught else (None, None)
    run = Run(
        config=config,
        command=command,
        facts=facts,
        model=model,
        loss=loss,
        optimisation=optimisation,
        precision=precision,
        device=device,
        teacher=teacher,
        teacher_run=teacher_run,
    )
    check_start(config, teacher)
    cell_id = readable_id(_words(run), identity_of(run, with_seeds=False))
    return dataclasses.replace(run, run_id=_run_id(run), cell_id=cell_id)


def _check_machine(config: RunConfig, device: torch.device) -> None:
    """Refuses more threads than this machine has room for, and to compile without a compiler."""
    check_threads(config.threads)
    if config.compile:
        check_compiler(device.type)


def with_seed(run: Run, seed: int) -> Run:
    """Returns the same run with another seed (and `init_seed` and `data_seed` with it).

    Nothing else of a plan depends on the student's seed: teachers have their own.
    """
    config = dataclasses.replace(run.config, seed=seed, init_seed=seed, data_seed=seed)
    seeded = dataclasses.replace(
        run, config=config, command=Overrides([*run.command, Override("seed", seed)])
    )
    return dataclasses.replace(seeded, run_id=_run_id(seeded))


# ---------------------------------------------------------------- teachers


def _plan_teacher(
    config: RunConfig, command: Overrides, facts: Facts
) -> tuple[Teacher, Run | None]:
    planned: list[Run] = []

    def plan_teacher(student: RunConfig) -> Run:
        plain = canonical(as_plain(teacher_config(student)))
        run = _planned_once(plain, teacher_overrides(command, student.teacher))
        planned.append(run)
        return run

    teacher = decide_teacher(Student(config, facts, plan_teacher))
    return teacher, planned[0] if planned else None


@functools.lru_cache(maxsize=1024)
def _planned_once(config: str, command: Overrides) -> Run:
    """Plans the run of a config given as JSON: students of one teacher plan it once."""
    return plan_run(read_config(json.loads(config)), command)


# ---------------------------------------------------------------- identity


def resolved_config(run: Run) -> dict[str, Any]:
    """Returns the run's config with everything that was `auto` or null filled in."""
    plain = as_plain(run.config)
    plain["loss"] = {"name": run.config.loss.name, **run.loss.hyper_parameters}
    plain["schedule"] |= vars(run.optimisation)
    plain["precision"] = run.precision
    return plain


def card_of(run: Run, made_for: MadeFor) -> RunCard:
    """Returns a run's card."""
    teacher, trained = run.teacher, run.teacher_run
    return RunCard(
        run_id=run.run_id,
        cell_id=run.cell_id,
        made_for=made_for,
        command=tuple(run.command.texts()),
        teacher=TeacherOnCard(
            run_id=trained.run_id if trained else None,
            cell_id=trained.cell_id if trained else None,
            name=teacher.name,
            epoch=teacher.epoch,
            is_own_past=bool(teacher.own_past),
        )
        if teacher
        else None,
        numerics=NUMERICS,
        identity=json.loads(canonical(identity_of(run, with_seeds=True))),
        config=resolved_config(run),
        data=DataOnCard(
            train=run.facts.train,
            test=run.facts.test,
            skipped=None if run.facts.skipped is None else dict(run.facts.skipped),
        ),
    )


def _run_id(run: Run) -> str:
    config = run.config
    seed = f"s{config.init_seed}"
    if config.data_seed != config.init_seed:
        seed += f"d{config.data_seed}"
    return readable_id([*_words(run), seed], identity_of(run, with_seeds=True))


def _words(run: Run) -> list[str]:
    """Returns what a reader of an id recognises a run by."""
    config = run.config
    taught = ["from", config.teacher.name] if run.teacher is not None else []
    return [config.dataset.name, config.model.name, config.loss.name, *taught]


def identity_of(run: Run, *, with_seeds: bool) -> dict[str, Any]:
    """Returns all that is meant to move a run's numbers, and nothing else."""
    config = run.config
    identity: dict[str, Any] = {
        "numerics": NUMERICS,
        "data": data_identity(config.dataset, run.facts),
        "model": _model_identity(run),
        "loss": {"name": config.loss.name, **run.loss.hyper_parameters},
        "schedule": schedule_identity(config.schedule, run.optimisation),
        **{key: getattr(config, key) for key in fields_of_last_bits()},
        "precision": run.precision,
        "teacher": _teacher_identity(run, with_seeds=with_seeds),
    }
    if config.start != "scratch":
        identity["start"] = config.start
    if with_seeds:
        identity |= {"init_seed": config.init_seed, "data_seed": config.data_seed}
    return identity


def _model_identity(run: Run) -> Mapping[str, Any]:
    config, encoder = run.config.model, run.encoder
    tokens = {} if encoder is None else {"encoder": encoder.identity}
    return {"name": config.name, **identity_of_options(config.name, config.options), **tokens}


def _teacher_identity(run: Run, *, with_seeds: bool) -> Mapping[str, Any] | None:
    teacher = run.teacher
    if teacher is None:
        return None
    common = {"epoch": teacher.epoch, "dtype": run.config.teacher.dtype}
    return {**common, **teacher.identity(with_seeds=with_seeds)}
