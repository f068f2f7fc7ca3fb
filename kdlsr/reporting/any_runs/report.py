"""Any runs of the store -> a report's values: cells, differences to a baseline, a search.

What a table's file gives a table's report (rows, names, baselines) is read off the runs' own
configs here. Nothing is trained or rendered; the search's choice is made in `grid_search`.
"""

import dataclasses
import functools
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml

from kdlsr.config import UserError, nearest
from kdlsr.config.overrides import Override
from kdlsr.config.schema import read_config
from kdlsr.reporting import formatting
from kdlsr.reporting.any_runs import grid_search
from kdlsr.reporting.any_runs.baselines import (
    Baselines,
    complete_values,
    differences,
    find_baselines,
)
from kdlsr.reporting.any_runs.chosen_point import describe_choice, plural
from kdlsr.reporting.any_runs.command_of_config import overrides_of
from kdlsr.reporting.any_runs.places import Place, natural_order, place_cells
from kdlsr.reporting.any_runs.stored import (
    StoredCell,
    StoredRun,
    gather_cells,
    known_key,
    of_a_cell,
    read_runs,
    select_runs,
    without_teachers,
)
from kdlsr.reporting.statistics import Difference, estimate
from kdlsr.reporting.summarise import (
    FAMILY,
    MIXED,
    ONE_SEED,
    ONE_TEACHER,
    OPTIMISTIC,
    available_protocols,
    describe_data,
    environments,
    measures,
    read_run,
    state_of_cell,
    top1,
)
from kdlsr.reporting.summary import (
    MEASURES,
    PROTOCOLS,
    CellSummary,
    Comparison,
    Report,
    RunSummary,
)

Patterns = str | tuple[str, ...]
Result = dict[str, Any]
_MEASURES = ("top1", *MEASURES, "agreement", "kl")
_FOLDER = re.compile(r"(?!\.)[A-Za-z0-9._-]+(/(?!\.)[A-Za-z0-9._-]+)*")


@dataclass(frozen=True)
class FolderName:
    """Names below `reports/`, and nowhere else."""

    def allows(self, value: Any) -> bool:
        return bool(_FOLDER.fullmatch(value))

    def __str__(self) -> str:
        return "a folder's name below reports/, of letters, digits and ._-"


@dataclass(frozen=True, kw_only=True)
class ReportChoices:
    """What `conf/report.yaml` composes to.

    Attributes:
        runs: globs over run_ids (any of them) and filters `key=value` (all of them; filters
            of the same key are alternatives).
        group_by: config keys that make the rows; empty: the network.
        value: `last`, `best_test` or `best_val`, and perhaps `.<measure>`; None: `best_val`
            where the runs have a validation split, else `last`.
        baseline: filters; empty: nothing is compared.
        search: whether the runs are a tau x alpha search; None: if that is all they differ in.
        teachers: whether runs that only teach others count.
        name: of the report's folder.
        output_dir: where runs and reports are.
    """

    runs: Patterns = "*"
    group_by: Patterns = ()
    value: str | None = None
    baseline: Patterns = ()
    search: bool | None = None
    teachers: bool = False
    name: Annotated[str, FolderName()] = "runs"
    output_dir: str = "outputs"


def listed(patterns: Patterns) -> tuple[str, ...]:
    """Returns one or several as several."""
    return (patterns,) if isinstance(patterns, str) else patterns


def report_runs(choices: ReportChoices, output_dir: Path, command: str) -> Report:
    """Returns the report on the runs that were chosen; only complete ones count.

    Args:
        choices: of the user's.
        output_dir: the folder that `choices.output_dir` names.
        command: what makes this report again.

    Raises:
        UserError: nothing matches, an unknown key or value, a search that has nothing to
            choose by.
    """
    read_value(choices.value)
    stored = read_runs(output_dir)
    group_by = tuple(_row_key(key, stored) for key in listed(choices.group_by))
    choices = dataclasses.replace(choices, group_by=group_by)
    chosen = select_runs(stored, listed(choices.runs))
    kept = chosen
    if not choices.teachers:
        kept = without_teachers(chosen, stored, listed(choices.runs))
    cells = gather_cells(kept)
    baselines = find_baselines(cells, stored, listed(choices.baseline), choices.teachers)
    by_id = {cell.cell_id: cell for cell in (*cells, *baselines.values())}
    sheet = _Sheet(choices, tuple(by_id.values()), baselines, len(chosen) - len(kept))
    return sheet.report(command)


def read_value(value: str | None) -> tuple[str | None, str]:
    """Splits `last.nll` into protocol and measure; None: to be chosen by the runs.

    Raises:
        UserError: no such protocol or measure.
    """
    if value is None:
        return None, "top1"
    protocol, dot, measure = value.partition(".")
    if protocol not in PROTOCOLS:
        raise UserError(
            f"value={value}: no such protocol{nearest(protocol, PROTOCOLS)}; a measure may follow "
            "it: last.nll"
        )
    if dot and measure not in _MEASURES:
        raise UserError(f"value={value}: no such measure{nearest(measure, _MEASURES)}")
    return protocol, measure or "top1"


def _row_key(key: str, stored: Sequence[StoredRun]) -> str:
    full = known_key(key, stored, "group_by")
    if not of_a_cell({full: None}):
        raise UserError(f"group_by={key}: runs of one cell may differ in it; expected another key")
    return full


@dataclass(frozen=True)
class _Sheet:
    """All that a report is made from.

    Attributes:
        choices: with keys in full.
        cells: the chosen ones, and baselines that were brought in.
        baselines: by cell_id.
        left_out: how many runs only teach others.
    """

    choices: ReportChoices
    cells: Sequence[StoredCell]
    baselines: Baselines
    left_out: int

    @functools.cached_property
    def complete(self) -> list[StoredRun]:
        """The runs that count."""
        return [run for cell in self.cells for run in cell.complete]

    @functools.cached_property
    def results(self) -> list[Result]:
        """Those of the runs that count."""
        return [run.result for run in self.complete if run.result is not None]

    @functools.cached_property
    def protocol(self) -> str:
        """By which differences are judged."""
        there = available_protocols(self.results)
        chosen, _ = read_value(self.choices.value)
        if chosen is not None and self.results and chosen not in there:
            raise UserError(f"value={chosen}: none of these runs has a validation split")
        return chosen or ("best_val" if "best_val" in there else "last")

    @functools.cached_property
    def places(self) -> dict[str, Place]:
        """Each cell's, by cell_id."""
        return place_cells(self.cells, listed(self.choices.group_by))

    @functools.cached_property
    def differences(self) -> dict[str, Difference]:
        """In top-1 to each cell's baseline, by cell_id."""
        return differences(self.cells, self.baselines, self.protocol, "top1")

    @functools.cached_property
    def headline(self) -> dict[str, str]:
        """What `value` asks for beside top-1, in words, by cell_id."""
        _, measure = read_value(self.choices.value)
        return {} if measure == "top1" else _headline(self, measure)

    @functools.cached_property
    def grid(self) -> list[StoredCell]:
        """The cells of a tau x alpha search, if this is one: all but the baselines."""
        cells = [c for c in self.cells if c.config and self.kind(c) != "baseline"]
        if self.choices.search:
            grid_search.check_grid(cells)
            return cells
        return cells if self.choices.search is None and grid_search.is_grid(cells) else []

    def kind(self, cell: StoredCell) -> Literal["baseline", "method", "cell"]:
        """What a cell is to others."""
        baseline = self.baselines.get(cell.cell_id)
        if baseline is None:
            return "cell"
        return "baseline" if baseline.cell_id == cell.cell_id else "method"

    def report(self, command: str) -> Report:
        """Puts it together."""
        cells = sorted(map(self._cell, self.cells), key=_order)
        searched = self.grid if grid_search.has_validation(self.grid) else []
        histories = {run.run_id: run.history for cell in cells for run in cell.runs}
        found = grid_search.search(searched, histories) if searched else None
        data = _data(self.cells)
        return Report(
            name=self.choices.name,
            title=f"Runs {' '.join(listed(self.choices.runs))}",
            first_line=f"Of no paper's table: {_count(self.cells)}; {data}.",
            protocol=self.protocol,
            protocols=available_protocols(self.results),
            data=data,
            environment=environments(run.folder for run in self.complete),
            command=command,
            cells=tuple(cells),
            caveats=tuple(_caveats(self)),
            notes=describe_choice(found, searched, self._into) if found else (),
            figure="heat_map" if found else None,
            search=found,
        )

    def _cell(self, cell: StoredCell) -> CellSummary:
        results = [run.result for run in cell.complete if run.result]
        place = self.places[cell.cell_id]
        runs, note = self._runs(cell)
        return CellSummary(
            key=cell.cell_id,
            group=place.group,
            row=place.row,
            column=place.column,
            name=place.name,
            kind=self.kind(cell),
            state=state_of_cell({run.state for run in cell.runs}),
            runs=runs,
            estimates={
                protocol: top1(results, protocol) if results else None
                for protocol in available_protocols(self.results)
            },
            measures=measures(results, self.protocol) if results else {},
            baseline=self._comparison(cell),
            teacher_epoch=_numbered_epoch(cell),
            note=" ".join(filter(None, (self.headline.get(cell.cell_id), note))) or None,
        )

    def _comparison(self, cell: StoredCell) -> Comparison | None:
        found = self.differences.get(cell.cell_id)
        if found is None:
            return None
        key = self.baselines[cell.cell_id].cell_id
        return Comparison(key, self.places[key].name, found)

    def _runs(self, cell: StoredCell) -> tuple[tuple[RunSummary, ...], str | None]:
        """Returns what is shown of a cell's runs, and why no command is known, if none is."""
        note = None if cell.config else "It ended before its config was written."
        commands: list[tuple[str, ...]] = [() for _ in cell.runs]
        try:
            commands = [(*overrides_of(r.config), *self._into) for r in cell.runs if r.config]
            commands += [()] * (len(cell.runs) - len(commands))
        except UserError as error:
            note = f"No command is known that makes it: {error}."
        runs = sorted(cell.runs, key=lambda run: not run.config)
        summaries = [
            read_run(run.folder, run.run_id, run.config.get("seed", 0), run.state, command)
            for run, command in zip(runs, commands, strict=True)
        ]
        return tuple(summaries), note

    @property
    def _into(self) -> tuple[str, ...]:
        """Where a command of a report stores its run: where this report's runs are."""
        folder = self.choices.output_dir
        return () if folder == "outputs" else (str(Override("output_dir", folder)),)


def _headline(sheet: _Sheet, measure: str) -> dict[str, str]:
    """Returns `NLL at last: 0.5123 ± 0.0100 (3)` and its difference to the baseline."""
    found = differences(sheet.cells, sheet.baselines, sheet.protocol, measure)
    said = {}
    for cell in sheet.cells:
        values = list(complete_values(cell, sheet.protocol, measure).values())
        if not values:
            continue
        said[cell.cell_id] = (
            f"{_named(measure, sheet)}: {formatting.measure(measure, estimate(values))}"
        )
        against = found.get(cell.cell_id)
        if against is not None:
            bounds = against.welch
            interval = f" [{bounds.low:+.4f}, {bounds.high:+.4f}]" if bounds else ""
            said[cell.cell_id] += f"; minus the baseline's {against.mean:+.4f}{interval}"
        said[cell.cell_id] += "."
    return said


def _named(measure: str, sheet: _Sheet) -> str:
    return f"{formatting.MEASURE_NAMES[measure]} at {sheet.protocol}"


def _count(cells: Sequence[StoredCell]) -> str:
    states = [run.state for cell in cells for run in cell.runs]
    bad = [f"{n} {state}" for state in ("failed", "incomplete") if (n := states.count(state))]
    noted = f" ({', '.join(bad)}: not counted)" if bad else ""
    return f"{plural(len(states), 'run')}{noted} in {plural(len(cells), 'cell')}"


def _data(cells: Sequence[StoredCell]) -> str:
    runs = {
        tuple(cell.config.get(key) for key in _DATA): cell.runs for cell in cells if cell.config
    }
    described = [_described(next(run for run in r if run.config)) for r in runs.values()]
    more = f"; and {len(described) - 3} more" if len(described) > 3 else ""
    return ("; ".join(described[:3]) or "no data") + more


_DATA = ("dataset.name", "dataset.subset", "dataset.val_fraction", "schedule.epochs")


def _described(run: StoredRun) -> str:
    try:
        return describe_data(read_config(_plain_config(run)))
    except UserError as error:
        raise UserError(f"{run.run_id}: its config.yaml is of another version: {error}") from error


def _plain_config(run: StoredRun) -> dict[str, Any]:
    text = (run.folder.path / "config.yaml").read_text()
    return cast(dict[str, Any], yaml.safe_load(text))


def _numbered_epoch(cell: StoredCell) -> int | None:
    epoch = cell.config.get("teacher.epoch")
    taught = cell.config.get("teacher.name", "none") != "none"
    return epoch if taught and isinstance(epoch, int) else None


def _order(cell: CellSummary) -> tuple[Any, ...]:
    place = (cell.group or "", cell.row, cell.column)
    return *map(natural_order, place), cell.kind != "baseline", natural_order(cell.name)


def _caveats(sheet: _Sheet) -> Iterator[str]:
    if sheet.complete:
        yield OPTIMISTIC.format(protocol=sheet.protocol)
    if sheet.complete and all(len(cell.complete) < 2 for cell in sheet.cells):
        yield ONE_SEED
    elif sheet.differences:
        tested = sum(found.p is not None for found in sheet.differences.values())
        yield FAMILY.format(count=tested)
    teachers = [{run.taught_by for run in cell.complete} - {None} for cell in sheet.cells]
    if any(len(found) == 1 for found in teachers):
        yield ONE_TEACHER
    if any(result["environment"] == "mixed" for result in sheet.results):
        yield MIXED
    if sheet.headline:
        _, measure = read_value(sheet.choices.value)
        yield (
            f"{_named(measure, sheet)}, which was asked for, stands with the notes on the cells; "
            "columns and differences are of top-1."
        )
    if sheet.left_out:
        yield f"Left out: {plural(sheet.left_out, 'run')} of teachers only (teachers=true)."
    if sheet.grid and not grid_search.has_validation(sheet.grid):
        yield NO_SPLIT


NO_SPLIT = (
    "These runs differ in tau and alpha only, and have no validation split: no point is chosen, "
    "since the test set may not choose (dataset.val_fraction makes a split)."
)


def command_of(overrides: Sequence[str]) -> str:
    """Returns the `kdlsr.report` command, quoted for a shell."""
    return " ".join(["python -m kdlsr.report", *map(shlex.quote, overrides)])
