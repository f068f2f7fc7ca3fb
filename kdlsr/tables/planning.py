"""From tables to the smallest set of runs: cells x forms x seeds, each run once, in layers.

A plan composes one config per distinct base and changes plain values after that, so that
thousands of runs are planned in seconds. It starts nothing.
"""

import copy
import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.schema import read_config
from kdlsr.data.prepare import facts_of
from kdlsr.runs.execute import store_of
from kdlsr.runs.plan import Run, apply_override, plan_run
from kdlsr.tables.forms import FORMS, TeacherKind, Variant, forms_of
from kdlsr.tables.schema import Cell, Form, Paper, Profile, Setting, Table, read_setting

Kind = Literal["baseline", "method", "control"]
JobState = Literal["complete", "failed", "incomplete", "not started", "not run", "not needed"]
# Set by the table, cell by cell, and so not for the command line to set for all.
SET_BY_TABLE = (
    "model",
    "loss",
    "teacher",
    "seed",
    "init_seed",
    "data_seed",
    "start",
    "until",
    "rows",
    "keep_epochs",
)
# Of the optimiser: what a teacher takes from its own network's recipe, not from its student.
RECIPE = ("schedule.lr", "schedule.weight_decay", "schedule.optimizer")


@dataclass(frozen=True)
class Request:
    """What a user asked for besides the tables.

    Attributes:
        profile: the size.
        seeds: of the students.
        forms: which forms of each method.
        controls: whether their controls are run too.
        overrides: for every run, as on the command line of `kdlsr.train`.
    """

    profile: Profile
    seeds: tuple[int, ...]
    forms: tuple[Form, ...] = FORMS
    controls: bool = True
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedCell:
    """Runs that differ in the seed only, and what they are in a table.

    Attributes:
        key: unique in the table, readable.
        group, row, column: its place in the paper's grid.
        name: its form, `baseline`, or what it controls for.
        kind: baseline, method or control.
        overrides: of `kdlsr.train`, without the seed.
        runs: by seed.
        baseline: the key of the cell that it is compared with; None for a baseline.
        controls: the keys of its control cells.
        paper: the paper's value.
        grade: of evidence, of that value.
        published_epoch: De-KD's: the teacher's epoch as published.
        note: what is to be known of it.
        omitted: why it is not run at all.
    """

    key: str
    group: str | None
    row: str
    column: str
    name: str
    kind: Kind
    overrides: tuple[str, ...] = ()
    runs: Mapping[int, Run] = field(default_factory=dict)
    baseline: str | None = None
    controls: tuple[str, ...] = ()
    paper: Paper | None = None
    grade: str | None = None
    published_epoch: int | None = None
    note: str | None = None
    omitted: str | None = None


@dataclass(frozen=True)
class PlannedTable:
    """A table with the runs that each of its cells needs."""

    table: Table
    setting: Setting
    request: Request
    cells: tuple[PlannedCell, ...]

    @property
    def report_name(self) -> str:
        """Where its report goes: below its own name, apart from other profiles' reports."""
        profile = self.request.profile.name
        is_own = profile == self.table.profile
        return self.table.name if is_own else f"{self.table.name}-{profile}"


@dataclass(frozen=True)
class PlannedJob:
    """One run to be brought to completion, or so far as it has to teach.

    Attributes:
        run: what is trained.
        overrides: of `kdlsr.train`.
        until: the epoch up to which it is needed, where no cell needs it whole.
        keep: the epochs at which it teaches.
        layer: 0 where it needs no other job.
        teacher: the run_id that it waits for.
        only_teaches: whether no cell of any table is made of it.
    """

    run: Run
    overrides: tuple[str, ...]
    until: int | None
    keep: tuple[int, ...]
    layer: int
    teacher: str | None
    only_teaches: bool

    def state(self) -> JobState:
        """Returns how far the job is, as the store has it."""
        status = store_of(self.run.config).run(self.run.run_id).status()
        if self.until is not None and not self._missing():
            return "complete"
        if status == "complete" and self._missing():
            return "incomplete"  # an epoch that it did not keep is made again
        return status

    def _missing(self) -> list[int]:
        """Returns the epochs at which it is to teach and that no checkpoint holds."""
        store = store_of(self.run.config)
        return [e for e in self.keep if store.find_checkpoint(self.run.run_id, e) is None]

    def can_teach(self) -> bool:
        """Whether those that wait for it can start; they make an epoch again that is missing."""
        return _is_complete(self.run) or (self.until is not None and not self._missing())

    @property
    def command(self) -> tuple[str, ...]:
        """The overrides with which a launcher starts it."""
        keep = (f"keep_epochs=[{','.join(map(str, self.keep))}]",) if self.keep else ()
        until = self.until
        if until is None and self.keep and _is_complete(self.run):
            until = max(self._missing())  # only to make an epoch again
        return (*self.overrides, *keep, *(() if until is None else (f"until={until}",)))


def _is_complete(run: Run) -> bool:
    return store_of(run.config).run(run.run_id).is_complete()


@dataclass(frozen=True)
class Plan:
    """Tables and the jobs that their cells need, each once, in the order of dependency."""

    tables: tuple[PlannedTable, ...]
    layers: tuple[tuple[PlannedJob, ...], ...]

    @property
    def jobs(self) -> list[PlannedJob]:
        """All jobs, layer by layer."""
        return list(itertools.chain.from_iterable(self.layers))


def plan_tables(tables: Sequence[Table], request: Request) -> Plan:
    """Plans the runs of some tables, shared between their cells and between the tables.

    Raises:
        UserError: a run is impossible; the message names the cell.
    """
    _check_overrides(request.overrides)
    planned = tuple(_Expansion(table, request).planned() for table in tables)
    return Plan(planned, _layers(planned))


def _check_overrides(overrides: Iterable[str]) -> None:
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] in SET_BY_TABLE:
            raise UserError(f"{override}: {key} is set by the table, cell by cell")
        if key == "schedule.batch_size":
            raise UserError(f"{override}: the batch size of all runs is profile.batch_size")


class _Expansion:
    """One table's cells, made one after the other: a cell's baseline is a cell too."""

    def __init__(self, table: Table, request: Request) -> None:
        self.table = table
        self.request = request
        self.setting = read_setting(table.setting)
        profile = request.profile
        own = self.setting.overrides if profile.overrides is None else profile.overrides
        self.base = (*own, *request.overrides)
        self.cells: dict[str, PlannedCell] = {}

    def planned(self) -> PlannedTable:
        for name, paper in self.table.baselines.items():
            self._baseline(name, None, paper)
        for cell in self.table.cells:
            self._row(cell)
        return PlannedTable(self.table, self.setting, self.request, tuple(self.cells.values()))

    @functools.cached_property
    def _config(self) -> dict[str, Any]:
        return compose_config(self.base)

    @functools.cached_property
    def _classes(self) -> int:
        return facts_of(read_config(self._config).dataset).num_classes

    def _network(self, name: str, role: str | None) -> tuple[str, ...]:
        """Returns what selects a network, or the one that stands in for it by role."""
        profile, network = self.request.profile, self.setting.networks[name]
        if profile.weak is None or profile.strong is None:
            return network.overrides
        return profile.weak if (role or network.role) == "weak" else profile.strong

    def _recipe(self, name: str) -> tuple[str, ...]:
        """Returns the recipe of a network's own baseline row."""
        profile, network = self.request.profile, self.setting.networks[name]
        batch_size = f"schedule.batch_size={profile.batch_size or network.batch_size}"
        return (batch_size, *(() if profile.weak else network.baseline_overrides))

    def _label(self, name: str, role: str | None) -> str:
        if self.request.profile.weak is None:
            return name
        return role or self.setting.networks[name].role

    def _baseline(self, name: str, role: str | None, paper: Paper | None = None) -> str:
        """Adds the baseline row of a network, once; returns its key."""
        label = self._label(name, role)
        key = f"baseline {label}"
        if key not in self.cells:
            overrides = (*self._network(name, role), *self._recipe(name), "loss=ce")
            self.cells[key] = PlannedCell(
                key=key,
                group=None,
                row=label,
                column="Baseline",
                name="baseline",
                kind="baseline",
                overrides=self._ordered(overrides),
                runs=self._runs(overrides, key),
                paper=paper if self.request.profile.weak is None else None,
                grade=(paper.grade or self.table.grade) if paper else None,
                note=self.setting.networks[name].note if not self.request.profile.weak else None,
            )
        return key

    def _row(self, cell: Cell) -> None:
        if cell.omitted is not None:
            key = self._free_key(f"{cell.row} {cell.column}")
            self._add(cell, key, Variant(cell.method, "method", ()), (), {}, None, ())
            return
        baseline = self._baseline(cell.network, cell.student_role)
        for variant in forms_of(cell, self._classes, self.request.forms):
            wanted = variant.controls if self.request.controls else ()
            controls = [self._control(cell, control, baseline) for control in wanted]
            self._variant(cell, variant, baseline, tuple(dict.fromkeys(controls)))

    def _variant(
        self, cell: Cell, variant: Variant, baseline: str, controls: tuple[str, ...]
    ) -> None:
        key = self._free_key(f"{cell.row} {cell.column} {variant.name}")
        overrides = self._student(cell, variant)
        runs = self._runs(overrides, key)
        self._add(cell, key, variant, self._ordered(overrides), runs, baseline, controls)

    def _control(self, cell: Cell, variant: Variant, baseline: str) -> str:
        """Adds a control cell unless it is there already, or is the baseline; returns its key."""
        overrides = self._student(cell, variant)
        runs = self._runs(overrides, f"{cell.row}: {variant.name}")
        ids = {run.run_id for run in runs.values()}
        for key, known in self.cells.items():
            if known.runs and {run.run_id for run in known.runs.values()} == ids:
                return key
        key = self._free_key(f"control {self._label(cell.network, cell.student_role)} {variant.name}")
        self._add(cell, key, variant, self._ordered(overrides), runs, baseline, ())
        return key

    def _add(
        self,
        cell: Cell,
        key: str,
        variant: Variant,
        overrides: tuple[str, ...],
        runs: Mapping[int, Run],
        baseline: str | None,
        controls: tuple[str, ...],
    ) -> None:
        is_method = variant.kind == "method"
        paper = cell.paper if is_method else None
        epoch = variant.teacher_epoch
        self.cells[key] = PlannedCell(
            key=key,
            group=cell.group if is_method else None,
            row=cell.row if is_method else self._label(cell.network, cell.student_role),
            column=cell.column if is_method else "Control",
            name=variant.name,
            kind=variant.kind,
            overrides=overrides,
            runs=runs,
            baseline=baseline,
            controls=controls,
            paper=paper,
            grade=(paper.grade or self.table.grade) if paper else None,
            published_epoch=epoch if isinstance(epoch, int) else None,
            note=cell.note if is_method else None,
            omitted=cell.omitted,
        )

    def _free_key(self, wanted: str) -> str:
        taken = (f"{wanted} ({number})" for number in itertools.count(2))
        return wanted if wanted not in self.cells else next(k for k in taken if k not in self.cells)

    def _student(self, cell: Cell, variant: Variant) -> tuple[str, ...]:
        """Returns the overrides of one variant of a row, without data set and seed."""
        profile, network = self.request.profile, self.setting.networks[cell.network]
        batch_size = profile.batch_size or cell.batch_size or network.batch_size
        return (
            *self._network(cell.network, cell.student_role),
            f"schedule.batch_size={batch_size}",
            *(() if profile.weak else cell.overrides),
            *self._teacher(cell, variant),
            *variant.loss,
            *(("start=teacher",) if variant.start_from_teacher else ()),
        )

    def _teacher(self, cell: Cell, variant: Variant) -> tuple[str, ...]:
        """Returns the teacher of a variant, pinned to its own baseline row."""
        if variant.teacher == "none":
            return ()
        name, pinned = self._teacher_network(cell, variant.teacher)
        listed = ",".join(f'"{override}"' for override in pinned)
        return (
            f"teacher={name}",
            f"teacher.epoch={self._epoch(variant.teacher_epoch)}",
            *((f"teacher.overrides=[{listed}]",) if listed else ()),
        )

    def _teacher_network(self, cell: Cell, kind: TeacherKind) -> tuple[str, tuple[str, ...]]:
        """Returns a teacher's name, and what pins it to its own baseline row."""
        asked = [o for o in self.request.overrides if o.partition("=")[0] in RECIPE]
        if kind == "self":
            return "self", (*self._recipe(cell.network), *asked)
        assert cell.teacher is not None
        model, *options = self._network(cell.teacher, cell.teacher_role)
        return model.removeprefix("model="), (*options, *self._recipe(cell.teacher), *asked)

    def _epoch(self, published: int | str) -> int | str:
        """Returns a teacher's epoch on this schedule: the same share of it, 1 at least."""
        if isinstance(published, str) or published == 1:
            return published
        epochs = int(self._config["schedule"]["epochs"])
        return max(1, round(published * epochs / self.setting.epochs))

    def _ordered(self, overrides: Iterable[str]) -> tuple[str, ...]:
        return ordered((*self.base, *overrides))

    def _runs(self, overrides: Sequence[str], where: str) -> dict[int, Run]:
        plain = self._config
        try:
            return {seed: _planned_run(plain, overrides, seed) for seed in self.request.seeds}
        except UserError as error:
            raise UserError(f"{self.table.name}: {where}: {error}") from error


def ordered(overrides: Iterable[str]) -> tuple[str, ...]:
    """Puts the choice of groups before what is set within them, and drops what is repeated.

    Of two overrides of one key the last one counts.
    """
    last = {override.partition("=")[0]: override for override in overrides}
    return tuple(sorted(last.values(), key=lambda o: "." in o.partition("=")[0]))


def _planned_run(base: Mapping[str, Any], overrides: Sequence[str], seed: int) -> Run:
    """Plans a run from a composed base, as composing all of it would, but without Hydra."""
    plain = copy.deepcopy(dict(base))
    for override in ordered((*overrides, f"seed={seed}")):
        apply_override(plain, override)
    return plan_run(read_config(plain))


@dataclass
class _Need:
    """What is wanted of one run: the whole of it, and the epochs at which it teaches."""

    run: Run
    overrides: tuple[str, ...]
    whole: bool = False
    only_teaches: bool = True
    keep: set[int] = field(default_factory=set)


def _layers(tables: Sequence[PlannedTable]) -> tuple[tuple[PlannedJob, ...], ...]:
    needs: dict[str, _Need] = {}
    for table in tables:
        for cell in table.cells:
            for seed, run in cell.runs.items():
                _demand(needs, run, (*cell.overrides, f"seed={seed}"), "last")
                needs[run.run_id].only_teaches = False
    jobs = [_job(need) for need in needs.values()]
    depth = max((job.layer for job in jobs), default=-1) + 1
    return tuple(tuple(job for job in jobs if job.layer == layer) for layer in range(depth))


def _demand(
    needs: dict[str, _Need], run: Run, overrides: tuple[str, ...], epoch: int | str
) -> None:
    """Notes that a run is needed, whole or up to an epoch, and all that it needs itself."""
    if isinstance(run.teacher, Run):
        teaching = _teacher_overrides(overrides, run)
        _demand(needs, run.teacher, teaching, run.teacher_epoch)
    need = needs.setdefault(run.run_id, _Need(run, overrides))
    if isinstance(epoch, int):
        need.keep.add(epoch)
    else:
        need.whole = True


def _teacher_overrides(student: Sequence[str], run: Run) -> tuple[str, ...]:
    """Returns the command line of a student's teacher: the same rules as `teacher_config`."""
    teacher = run.config.teacher
    own_model = teacher.name == "self"
    dropped = ("loss", "teacher", "start", "seed") + (() if own_model else ("model",))
    kept = [
        o
        for o in student
        if o.partition("=")[0].partition(".")[0] not in dropped and o.partition("=")[0] not in RECIPE
    ]
    model = [] if own_model else [f"model={teacher.name}"]
    return ordered([*kept, *model, "loss=ce", f"seed={teacher.seed}", *teacher.overrides])


def _job(need: _Need) -> PlannedJob:
    return PlannedJob(
        run=need.run,
        overrides=need.overrides,
        until=None if need.whole else max(need.keep),
        keep=tuple(sorted(need.keep)),
        layer=_depth(need.run),
        teacher=need.run.teacher.run_id if isinstance(need.run.teacher, Run) else None,
        only_teaches=need.only_teaches,
    )


def _depth(run: Run) -> int:
    return 1 + _depth(run.teacher) if isinstance(run.teacher, Run) else 0
