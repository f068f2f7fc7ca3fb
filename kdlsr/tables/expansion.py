"""From one table to its cells: each row in its forms, with controls, and the runs of each."""

import functools
import itertools
from dataclasses import replace
from typing import Any

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.inheritance import RECIPE
from kdlsr.config.overrides import Override, Overrides
from kdlsr.config.schema import read_config
from kdlsr.data.prepare import facts_of
from kdlsr.losses.base import rounded
from kdlsr.runs.plan import Run, plan_run, with_seed
from kdlsr.tables.claims import stated_claim
from kdlsr.tables.forms import Variant, forms_of
from kdlsr.tables.methods import Role, TeacherKind, find_method
from kdlsr.tables.plan import PlannedCell, PlannedTable, Request
from kdlsr.tables.reading import read_setting
from kdlsr.tables.schema import Cell, Paper, Table
from kdlsr.tables.setting import SizedSetting


class Expansion:
    """One table's cells, made one after the other: a cell's baseline is a cell too."""

    def __init__(self, table: Table, request: Request) -> None:
        self.table = table
        self.request = request
        self.setting = read_setting(table.setting)
        self.sized = SizedSetting(self.setting, request.profile)
        self.base = self.sized.overrides + table.overrides + request.overrides
        self.cells: dict[str, PlannedCell] = {}

    def planned(self) -> PlannedTable:
        """Returns the table with all cells that the request asks for."""
        chosen = self.request.methods
        for name, paper in self.table.baselines.items():
            if self.sized.runs_rows_of(name):
                self._baseline(name, None, paper)
        for cell in self.table.cells:
            is_chosen = chosen is None or cell.method in chosen
            if is_chosen and (cell.omitted or self.sized.runs_rows_of(cell.network)):
                self._row(cell)
        return PlannedTable(self.table, self.setting, self.request, tuple(self.cells.values()))

    @functools.cached_property
    def _config(self) -> dict[str, Any]:
        return compose_config(self.base.texts())

    @functools.cached_property
    def _classes(self) -> int:
        return facts_of(read_config(self._config).dataset).num_classes

    def _recipe(self, name: str) -> Overrides:
        """Returns the recipe of a network's own baseline row."""
        return _batch_size(self.sized.batch_size(name)) + self.sized.baseline_overrides(name)

    def _baseline(self, name: str, role: Role | None, paper: Paper | None = None) -> str:
        """Adds the baseline row of a network, once; returns its key."""
        label = self.sized.label(name, role)
        key = f"baseline {label}"
        if key not in self.cells:
            loss = Overrides.of("loss", "ce", {})
            overrides = self.base + self.sized.network(name, role) + self._recipe(name) + loss
            is_published = self.sized.is_published
            self.cells[key] = PlannedCell(
                key=key,
                row=label,
                column="Baseline",
                name="baseline",
                kind="baseline",
                overrides=overrides,
                runs=self._runs(overrides, key),
                paper=self._graded(paper) if is_published else None,
                note=self.setting.networks[name].note if is_published else None,
            )
        return key

    def _graded(self, paper: Paper | None) -> Paper | None:
        """Returns a paper's value with its grade, the table's where it has none of its own."""
        return paper and replace(paper, grade=paper.grade or self.table.grade)

    def _row(self, cell: Cell) -> None:
        """Adds a row in each of its forms; where it is omitted, one cell that has no runs."""
        place = f"{cell.row} {cell.column}"
        row = PlannedCell(
            key=self._free_key(place),
            group=cell.group,
            row=cell.row,
            column=cell.column,
            name=cell.method,
            kind="method",
            paper=self._graded(cell.paper),
            note=cell.note,
            omitted=cell.omitted,
            stated=stated_claim(cell, self.table, self.setting),
        )
        if cell.omitted is not None:
            self.cells[row.key] = row
            return
        cell = self._on_this_schedule(cell)
        baseline = self._baseline(cell.network, cell.student_role)
        for variant in forms_of(cell, self._classes, self.request.forms):
            has_controls = self.request.controls and self.table.controls
            wanted = variant.controls if has_controls else ()
            controls = [self._control(cell, control, baseline) for control in wanted]
            key = self._free_key(f"{place} {variant.name}")
            overrides = self._student(cell, variant)
            self.cells[key] = replace(
                row,
                key=key,
                name=variant.name,
                overrides=overrides,
                runs=self._runs(overrides, key),
                baseline_key=baseline,
                control_keys=tuple(dict.fromkeys(controls)),
            )

    def _control(self, cell: Cell, variant: Variant, baseline: str) -> str:
        """Adds a control cell unless it is there already, or is the baseline; returns its key."""
        overrides = self._student(cell, variant)
        runs = self._runs(overrides, f"{cell.row}: {variant.name}")
        ids = {run.run_id for run in runs}
        for key, known in self.cells.items():
            if known.runs and {run.run_id for run in known.runs} == ids:
                return key
        label = self.sized.label(cell.network, cell.student_role)
        name = variant.name + self._own_batch(cell)
        key = self._free_key(f"control {label} {name}")
        self.cells[key] = PlannedCell(
            key=key,
            row=label,
            column="Control",
            name=name,
            kind="control",
            overrides=overrides,
            runs=runs,
            baseline_key=baseline,
        )
        return key

    def _own_batch(self, cell: Cell) -> str:
        """Names the batch size of a row where it is not that of its network's baseline."""
        usual = self.sized.batch_size(cell.network)
        batch_size = self.sized.batch_size(cell.network, cell.batch_size)
        return "" if batch_size == usual else f", batch {batch_size}"

    def _free_key(self, wanted: str) -> str:
        taken = (f"{wanted} ({number})" for number in itertools.count(2))
        return wanted if wanted not in self.cells else next(k for k in taken if k not in self.cells)

    def _student(self, cell: Cell, variant: Variant) -> Overrides:
        """Returns the overrides of one variant of a row, without the seed."""
        start = [Override("start", "teacher")] if variant.start_from_teacher else []
        return (
            self.base
            + self.sized.network(cell.network, cell.student_role)
            + _batch_size(self.sized.batch_size(cell.network, cell.batch_size))
            + (cell.overrides if self.sized.is_published else Overrides())
            + self._teacher(cell, variant)
            + Overrides.of("loss", variant.loss, variant.options)
            + start
        )

    def _teacher(self, cell: Cell, variant: Variant) -> Overrides:
        """Returns the teacher of a variant, pinned to its own baseline row."""
        if variant.teacher == "none":
            return Overrides()
        if variant.teacher == "past":
            ago = list(find_method(cell.method).epochs_ago)
            return Overrides.of("teacher", "past", {"epochs_ago": ago})
        name, pinned = self._teacher_network(cell, variant.teacher)
        pinned = pinned + cell.teacher_overrides
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
        network = self.sized.network(cell.teacher, cell.teacher_role)
        name, recipe = str(network.get("model")), self._recipe(cell.teacher) + asked
        if name == "timm":  # as a teacher's name, timm means pretrained weights
            return "self", network + recipe
        return name, Overrides(o for o in network if o.key != "model") + recipe

    def _on_this_schedule(self, cell: Cell) -> Cell:
        """Returns a row with what its loss counts in epochs as long a share of this schedule."""
        in_epochs = find_method(cell.method).loss_class.in_epochs
        ours = {key: rounded(self._share(cell.options[key])) for key in in_epochs & {*cell.options}}
        return replace(cell, options={**cell.options, **ours}) if ours else cell

    def _epoch(self, published: int | str) -> int | str:
        """Returns a teacher's epoch on this schedule: the same share of it, 1 at least."""
        if isinstance(published, str) or published == 1:
            return published
        return max(1, round(self._share(published)))

    def _share(self, published: float) -> float:
        """Returns epochs of this schedule, as large a share of it as of the published one."""
        return published * int(self._config["schedule"]["epochs"]) / self.setting.epochs

    def _runs(self, overrides: Overrides, where: str) -> tuple[Run, ...]:
        try:
            planned = self._planned(overrides)
            if planned.teacher_run is None:
                return tuple(with_seed(planned, seed) for seed in self.request.seeds)
            first = planned.config.teacher.seed
            by_teacher = {
                other: self._planned(overrides.set("teacher.seed", first + other))
                for other in {other for _, other in self.request.taught} - {0}
            } | {0: planned}
        except UserError as error:
            raise UserError(f"{self.table.name}: {where}: {error}") from error
        return tuple(with_seed(by_teacher[other], seed) for seed, other in self.request.taught)

    def _planned(self, overrides: Overrides) -> Run:
        """Plans a run as composing all of it would, but without Hydra."""
        return plan_run(read_config(overrides.apply_to(self._config)), overrides)


def _batch_size(size: int) -> Overrides:
    return Overrides([Override("schedule.batch_size", size)])
