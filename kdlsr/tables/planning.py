"""From tables to the smallest set of runs: cells x forms x seeds, each run once, in layers.

A plan composes one config per distinct base and changes plain values after that, so that
thousands of runs are planned in seconds. It starts nothing.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.inheritance import RECIPE, teacher_overrides
from kdlsr.config.overrides import NO_OVERRIDES, Override, Overrides
from kdlsr.config.schema import is_same_experiment, read_config
from kdlsr.data.prepare import facts_of
from kdlsr.runs.execute import store_of
from kdlsr.runs.plan import Run, plan_run, with_seed
from kdlsr.tables.forms import Variant, forms_of
from kdlsr.tables.methods import TeacherKind
from kdlsr.tables.reading import read_setting
from kdlsr.tables.schema import Cell, Paper, Profile, Setting, Table

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


@dataclass(frozen=True)
class Request:
    """What a user asked for besides the tables.

    Attributes:
        profile: the size.
        seeds: of the students.
        forms: which forms of each method; None: all that its loss has.
        methods: only rows of these methods; None: all.
        controls: whether their controls are run too.
        overrides: for every run, as on the command line of `kdlsr.train`.
    """

    profile: Profile
    seeds: tuple[int, ...]
    forms: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    controls: bool = True
    overrides: Overrides = NO_OVERRIDES

    @property
    def is_published_size(self) -> bool:
        """Whether the runs are the paper's: its own setting, nothing of it overridden."""
        is_unchanged = all(is_same_experiment(override.key) for override in self.overrides)
        return self.profile.overrides is None and is_unchanged


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
    overrides: Overrides = NO_OVERRIDES
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
    overrides: Overrides
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
    def command(self) -> Overrides:
        """The overrides with which a launcher starts it.

        The precision is told, for `auto` may mean another one where the job runs.
        """
        until, missing = self.until, self._missing()
        if until is None and missing and _is_complete(self.run):
            until = max(missing)  # only to make an epoch again
        told = [Override("precision", self.run.precision)]
        told += [Override("keep_epochs", list(self.keep))] if self.keep else []
        told += [] if until is None else [Override("until", until)]
        return Overrides([*self.overrides, *told])


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


def _check_overrides(overrides: Overrides) -> None:
    for override in overrides:
        if override.section in SET_BY_TABLE:
            raise UserError(f"{override}: {override.key} is set by the table, cell by cell")
        if override.key == "schedule.batch_size":
            raise UserError(f"{override}: the batch size of all runs is profile.batch_size")


class _Expansion:
    """One table's cells, made one after the other: a cell's baseline is a cell too."""

    def __init__(self, table: Table, request: Request) -> None:
        self.table = table
        self.request = request
        self.setting = read_setting(table.setting)
        profile = request.profile
        own = self.setting.overrides if profile.overrides is None else profile.overrides
        self.base = own + request.overrides
        self.cells: dict[str, PlannedCell] = {}

    def planned(self) -> PlannedTable:
        for name, paper in self.table.baselines.items():
            self._baseline(name, None, paper)
        for cell in self.table.cells:
            if self.request.methods is None or cell.method in self.request.methods:
                self._row(cell)
        return PlannedTable(self.table, self.setting, self.request, tuple(self.cells.values()))

    @functools.cached_property
    def _config(self) -> dict[str, Any]:
        return compose_config(self.base.texts())

    @functools.cached_property
    def _classes(self) -> int:
        return facts_of(read_config(self._config).dataset).num_classes

    def _network(self, name: str, role: str | None) -> Overrides:
        """Returns what selects a network, or the one that stands in for it by role."""
        profile, network = self.request.profile, self.setting.networks[name]
        if profile.weak is None or profile.strong is None:
            return network.overrides
        return profile.weak if (role or network.role) == "weak" else profile.strong

    def _recipe(self, name: str) -> Overrides:
        """Returns the recipe of a network's own baseline row."""
        profile, network = self.request.profile, self.setting.networks[name]
        own = Overrides() if profile.weak else network.baseline_overrides
        return _batch_size(profile.batch_size or network.batch_size) + own

    def _label(self, name: str, role: str | None) -> str:
        if self.request.profile.weak is None:
            return name
        return role or self.setting.networks[name].role

    def _baseline(self, name: str, role: str | None, paper: Paper | None = None) -> str:
        """Adds the baseline row of a network, once; returns its key."""
        label = self._label(name, role)
        key = f"baseline {label}"
        if key not in self.cells:
            loss = Overrides.of("loss", "ce", {})
            overrides = self.base + self._network(name, role) + self._recipe(name) + loss
            self.cells[key] = PlannedCell(
                key=key,
                group=None,
                row=label,
                column="Baseline",
                name="baseline",
                kind="baseline",
                overrides=overrides,
                runs=self._runs(overrides, key),
                paper=paper if self.request.profile.weak is None else None,
                grade=(paper.grade or self.table.grade) if paper else None,
                note=self.setting.networks[name].note if not self.request.profile.weak else None,
            )
        return key

    def _row(self, cell: Cell) -> None:
        if cell.omitted is not None:
            key = self._free_key(f"{cell.row} {cell.column}")
            self._add(cell, key, Variant(cell.method, "method", ""), Overrides(), {}, None, ())
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
        self._add(cell, key, variant, overrides, runs, baseline, controls)

    def _control(self, cell: Cell, variant: Variant, baseline: str) -> str:
        """Adds a control cell unless it is there already, or is the baseline; returns its key."""
        overrides = self._student(cell, variant)
        runs = self._runs(overrides, f"{cell.row}: {variant.name}")
        ids = {run.run_id for run in runs.values()}
        for key, known in self.cells.items():
            if known.runs and {run.run_id for run in known.runs.values()} == ids:
                return key
        label = self._label(cell.network, cell.student_role)
        variant = dataclasses.replace(variant, name=variant.name + self._own_batch(cell))
        key = self._free_key(f"control {label} {variant.name}")
        self._add(cell, key, variant, overrides, runs, baseline, ())
        return key

    def _own_batch(self, cell: Cell) -> str:
        """Says the batch size of a row where it is not that of its network's baseline."""
        usual = self.setting.networks[cell.network].batch_size
        batch_size = cell.batch_size or usual
        mapped = self.request.profile.batch_size is not None
        return "" if mapped or batch_size == usual else f", batch {batch_size}"

    def _add(
        self,
        cell: Cell,
        key: str,
        variant: Variant,
        overrides: Overrides,
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

    def _student(self, cell: Cell, variant: Variant) -> Overrides:
        """Returns the overrides of one variant of a row, without the seed."""
        profile, network = self.request.profile, self.setting.networks[cell.network]
        start = [Override("start", "teacher")] if variant.start_from_teacher else []
        return (
            self.base
            + self._network(cell.network, cell.student_role)
            + _batch_size(profile.batch_size or cell.batch_size or network.batch_size)
            + (Overrides() if profile.weak else cell.overrides)
            + self._teacher(cell, variant)
            + Overrides.of("loss", variant.loss, variant.options)
            + start
        )

    def _teacher(self, cell: Cell, variant: Variant) -> Overrides:
        """Returns the teacher of a variant, pinned to its own baseline row."""
        if variant.teacher == "none":
            return Overrides()
        name, pinned = self._teacher_network(cell, variant.teacher)
        options: dict[str, object] = {"epoch": self._epoch(variant.teacher_epoch)}
        if pinned:
            options["overrides"] = pinned.texts()
        return Overrides.of("teacher", name, options)

    def _teacher_network(self, cell: Cell, kind: TeacherKind) -> tuple[str, Overrides]:
        """Returns a teacher's name, and what pins it to its own baseline row."""
        asked = self.request.overrides.only(*RECIPE)
        if kind == "self":
            return "self", self._recipe(cell.network) + asked
        assert cell.teacher is not None
        network = self._network(cell.teacher, cell.teacher_role)
        name, recipe = str(network.get("model")), self._recipe(cell.teacher) + asked
        if name == "timm":  # as a teacher's name, timm means pretrained weights
            return "self", network + recipe
        return name, Overrides(o for o in network if o.key != "model") + recipe

    def _epoch(self, published: int | str) -> int | str:
        """Returns a teacher's epoch on this schedule: the same share of it, 1 at least."""
        if isinstance(published, str) or published == 1:
            return published
        epochs = int(self._config["schedule"]["epochs"])
        return max(1, round(published * epochs / self.setting.epochs))

    def _runs(self, overrides: Overrides, where: str) -> dict[int, Run]:
        planned = _planned_run(self._config, overrides, f"{self.table.name}: {where}")
        return {seed: with_seed(planned, seed) for seed in self.request.seeds}


def _seed(seed: int) -> Overrides:
    return Overrides([Override("seed", seed)])


def _batch_size(size: int) -> Overrides:
    return Overrides([Override("schedule.batch_size", size)])


def _planned_run(base: Mapping[str, Any], overrides: Overrides, where: str) -> Run:
    """Plans a run from a composed base, as composing all of it would, but without Hydra."""
    try:
        return plan_run(read_config(overrides.apply_to(base)))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


@dataclass
class _Need:
    """What is wanted of one run: the whole of it, and the epochs at which it teaches."""

    run: Run
    overrides: Overrides
    whole: bool = False
    only_teaches: bool = True
    keep: set[int] = field(default_factory=set)


def _layers(tables: Sequence[PlannedTable]) -> tuple[tuple[PlannedJob, ...], ...]:
    needs: dict[str, _Need] = {}
    for table in tables:
        for cell in table.cells:
            for seed, run in cell.runs.items():
                _demand(needs, run, cell.overrides + _seed(seed), "last")
                needs[run.run_id].only_teaches = False
    jobs = [_job(need) for need in needs.values()]
    depth = max((job.layer for job in jobs), default=-1) + 1
    return tuple(tuple(job for job in jobs if job.layer == layer) for layer in range(depth))


def _demand(needs: dict[str, _Need], run: Run, overrides: Overrides, epoch: int | str) -> None:
    """Notes that a run is needed, whole or up to an epoch, and all that it needs itself."""
    if run.teacher is not None and run.teacher_run is not None:
        teaching = teacher_overrides(overrides, run.config.teacher)
        _demand(needs, run.teacher_run, teaching, run.teacher.epoch)
    need = needs.setdefault(run.run_id, _Need(run, overrides))
    if isinstance(epoch, int):
        need.keep.add(epoch)
    else:
        need.whole = True


def _job(need: _Need) -> PlannedJob:
    return PlannedJob(
        run=need.run,
        overrides=need.overrides,
        until=None if need.whole else max(need.keep),
        keep=tuple(sorted(need.keep)),
        layer=_depth(need.run),
        teacher=need.run.teacher_run.run_id if need.run.teacher_run else None,
        only_teaches=need.only_teaches,
    )


def _depth(run: Run) -> int:
    return 1 + _depth(run.teacher_run) if run.teacher_run else 0
