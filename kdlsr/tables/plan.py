"""What a plan is made of: tables, their cells, and the jobs that the cells need, in layers."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from kdlsr.config.overrides import NO_OVERRIDES, Overrides
from kdlsr.config.schema import is_same_experiment
from kdlsr.runs.execute import status_of, store_of
from kdlsr.runs.executors import Job
from kdlsr.runs.plan import Run
from kdlsr.tables.claims import StatedClaim
from kdlsr.tables.schema import Paper, Table
from kdlsr.tables.setting import Profile, Setting

Kind = Literal["baseline", "method", "control", "cell"]
TeacherSeeds = int | Literal["each"]
JobState = Literal["complete", "failed", "incomplete", "not started", "not run", "not needed"]


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
        teacher_seeds: how many teachers each student has one after the other, crossed with the
            seeds; `each`: a teacher of its own for each seed, nested in them.
    """

    profile: Profile
    seeds: tuple[int, ...]
    forms: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    controls: bool = True
    overrides: Overrides = NO_OVERRIDES
    teacher_seeds: TeacherSeeds = 1

    @property
    def taught(self) -> list[tuple[int, int]]:
        """The runs of a taught cell: the student's seed, and what is added to its teacher's."""
        if self.teacher_seeds == "each":
            return [(seed, seed) for seed in self.seeds]
        return [(seed, other) for seed in self.seeds for other in range(self.teacher_seeds)]

    @property
    def is_published_size(self) -> bool:
        """Whether the runs are the paper's: its own setting, nothing of it overridden."""
        is_unchanged = all(is_same_experiment(override.key) for override in self.overrides)
        return self.profile.overrides is None and is_unchanged


@dataclass(frozen=True, kw_only=True)
class PlacedCell:
    """What a cell is in its table, and what it is to other cells.

    Attributes:
        key: unique in the table, readable.
        group, row, column: its place in the table.
        name: `baseline`, a form (`as_released`, ...), or what a control is.
        kind: baseline, method, control, or `cell` of runs of no table.
        baseline_key: of the cell that it is compared with; None for a baseline.
        control_keys: of its controls.
        omitted: why there are no runs, where that was decided.
        note: what is to be known of it.
        stated: what is claimed by it, of a method's.
    """

    key: str
    row: str
    column: str
    name: str
    kind: Kind
    group: str | None = None
    baseline_key: str | None = None
    control_keys: tuple[str, ...] = ()
    omitted: str | None = None
    note: str | None = None
    stated: StatedClaim | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedCell(PlacedCell):
    """Runs that differ in their seeds only, and what they are in a table.

    Attributes:
        overrides: of `kdlsr.train`, without the seeds.
        runs: seed after seed, and of one seed teacher after teacher.
        paper: the paper's value, with its grade of evidence.
    """

    overrides: Overrides = NO_OVERRIDES
    runs: tuple[Run, ...] = ()
    paper: Paper | None = None


@dataclass(frozen=True)
class PlannedTable:
    """A table with the runs that each of its cells needs."""

    table: Table
    setting: Setting
    request: Request
    cells: tuple[PlannedCell, ...]

    def with_seeds(self, count: Mapping[str, int]) -> Self:
        """Returns the table with the first so many seeds of each cell.

        Args:
            count: by the cells' keys; of those that have runs.
        """
        wanted = {key: set(self.request.seeds[:n]) for key, n in count.items()}
        cells = (
            replace(c, runs=tuple(r for r in c.runs if r.config.seed in wanted[c.key]))
            if c.runs
            else c
            for c in self.cells
        )
        return replace(self, cells=tuple(cells))

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
        until: the epoch up to which it is needed, where no cell needs it whole.
        keep: the epochs at which it teaches.
        only_teaches: whether no cell of any table is made of it.
    """

    run: Run
    until: int | None
    keep: tuple[int, ...]
    only_teaches: bool

    @property
    def teacher(self) -> str | None:
        """The run_id that it waits for."""
        return self.run.teacher_run.run_id if self.run.teacher_run else None

    @property
    def layer(self) -> int:
        """How many jobs it needs one after the other; 0 where it needs none."""
        return _depth(self.run)

    @property
    def overrides(self) -> Overrides:
        """What selects the run, of `kdlsr.train`."""
        return self.run.command

    def state(self, *, whole: bool = False) -> JobState:
        """Returns how far the job is, as the store has it; `whole` as for `RunFolder.read`."""
        status = status_of(self.run, whole=whole)
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
    def job(self) -> Job:
        """What an executor starts.

        Its precision is stated, for `auto` may mean another one where the job runs.
        """
        until, missing = self.until, self._missing()
        if until is None and missing and _is_complete(self.run):
            until = max(missing)  # only to make an epoch again
        stated = self.overrides.set("precision", self.run.precision)
        return Job(stated, self.keep, until, self.only_teaches)


def _depth(run: Run) -> int:
    return 1 + _depth(run.teacher_run) if run.teacher_run else 0


def _is_complete(run: Run) -> bool:
    return status_of(run) == "complete"


@dataclass(frozen=True)
class Plan:
    """Tables and the jobs that their cells need, each once, in the order of dependency."""

    tables: tuple[PlannedTable, ...]
    layers: tuple[tuple[PlannedJob, ...], ...]

    @property
    def jobs(self) -> list[PlannedJob]:
        """All jobs, layer by layer."""
        return list(itertools.chain.from_iterable(self.layers))
