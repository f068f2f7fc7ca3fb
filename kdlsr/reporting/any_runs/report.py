"""The report on any runs: the cells that the user's choices make of the store, and a search.

Nothing is trained or rendered; the search's choice is made in `search`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdlsr.config import UserError
from kdlsr.config.command_line import shell_command
from kdlsr.config.overrides import Override
from kdlsr.reporting import formatting
from kdlsr.reporting.any_runs import search
from kdlsr.reporting.any_runs.choices import ReportChoices, read_value, several
from kdlsr.reporting.any_runs.choose import (
    RunsOfCell,
    find_baselines,
    gather_cells,
    is_of_cell,
    known_key,
    moving,
    select_runs,
    without_teachers,
)
from kdlsr.reporting.any_runs.positions import natural_order, position_cells
from kdlsr.reporting.differences import Differences
from kdlsr.reporting.formatting import plural
from kdlsr.reporting.measures import values_of
from kdlsr.reporting.reading import describe_data, numbered_epoch, read_run, with_confidence
from kdlsr.reporting.statistics import estimate
from kdlsr.reporting.summarise import Summary, summarise
from kdlsr.reporting.summary import Cell, Report
from kdlsr.runs.store import Store, StoredRun
from kdlsr.tables.plan import Kind

NO_SPLIT = (
    "These runs differ in tau and alpha only, and have no validation split: no point is chosen, "
    "since the test set may not choose (dataset.val_fraction makes a split)."
)


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
    chosen = _Chosen(choices, output_dir)
    found = chosen.summary()
    grid = chosen.grid()
    searched = search.Grid(grid) if grid and search.has_validation(grid) else None
    best = searched.search() if searched else None
    caveats = [*found.caveats, *chosen.caveats(), *([NO_SPLIT] if grid and not searched else [])]
    data = chosen.data()
    return Report(
        **vars(found) | {"caveats": tuple(dict.fromkeys(caveats))},
        name=choices.name,
        title=f"Runs {' '.join(several(choices.runs))}",
        first_line=f"Of no paper's table: {chosen.count()}; {data}.",
        data=data,
        command=command,
        notes=searched.describe_choice(best, chosen.into) if searched and best else (),
        figure="heat_map" if best else None,
        search=best,
    )


class _Chosen:
    """What a report is on: the chosen cells, and baselines that were brought in."""

    def __init__(self, choices: ReportChoices, output_dir: Path) -> None:
        self.choices = choices
        # Where a command of the report stores its run: where this report's runs are.
        folder = choices.output_dir
        self.into = () if folder == "outputs" else (str(Override("output_dir", folder)),)
        contents = Store(output_dir).contents()
        self.faults, every = contents.faults, contents.runs
        if not every:
            faults = "".join(f"; {fault}" for fault in self.faults[:3])
            raise UserError(
                f"{output_dir / 'runs'}: no runs there{faults}; output_dir= says where they are"
            )
        group_by = tuple(_row_key(key, every) for key in several(choices.group_by))
        kept = selected = select_runs(every, several(choices.runs))
        if not choices.teachers:
            kept = without_teachers(selected, several(choices.runs))
        self.left_out = len(selected) - len(kept)
        cells = gather_cells(kept)
        filters = several(choices.baseline)
        self.baselines = find_baselines(cells, every, filters, choices.teachers)
        everyone = {cell.cell_id: cell for cell in (*cells, *self.baselines.values())}
        self.cells = tuple(everyone.values())
        self.positions = position_cells(self.cells, group_by)

    def kind(self, cell: RunsOfCell) -> Kind:
        """Returns what a cell is to others."""
        baseline = self.baselines.get(cell.cell_id)
        if baseline is None:
            return "cell"
        return "baseline" if baseline.cell_id == cell.cell_id else "method"

    def cell(self, cell: RunsOfCell) -> Cell:
        """Returns a cell of the report."""
        kind = self.kind(cell)
        return Cell(
            key=cell.cell_id,
            **vars(self.positions[cell.cell_id]),
            kind=kind,
            runs=tuple(
                with_confidence(
                    read_run(
                        run.card, run.folder, run.status, (*moving(run.card).texts(), *self.into)
                    ),
                    run.folder,
                )
                for run in cell.runs
            ),
            baseline_key=self.baselines[cell.cell_id].cell_id if kind == "method" else None,
            teacher_epoch=numbered_epoch(cell.runs[0].card),
        )

    def summary(self) -> Summary:
        """Returns the cells' figures, with what `value` asks for beside top-1 in their notes."""
        protocol, measure = read_value(self.choices.value)
        cells = sorted(map(self.cell, self.cells), key=_order)
        found = summarise(cells, protocol, self.choices.margin)
        if any(cell.complete for cell in cells) and found.protocol not in found.protocols:
            raise UserError(f"value={protocol}: none of these runs has a validation split")
        if measure == "top1":
            return found
        name = f"{formatting.measure_name(measure)} at {found.protocol}"
        asked = (
            f"{name}, which was asked for, stands with the notes on the cells; columns and "
            "differences are of top-1."
        )
        against = Differences(cells, found.protocol, measure=measure)
        noted = (replace(c, note=_note(c, against, measure, name)) for c in found.cells)
        return replace(found, cells=tuple(noted), caveats=(*found.caveats, asked))

    def grid(self) -> list[RunsOfCell]:
        """Returns the cells of a tau x alpha search, if this is one: all but the baselines."""
        wanted = self.choices.search
        cells = [cell for cell in self.cells if self.kind(cell) != "baseline"]
        if wanted:
            search.check_grid(cells)
            return cells
        return cells if wanted is None and search.is_grid(cells) else []

    def count(self) -> str:
        """Returns how many runs and cells these are, and which do not count."""
        states = [run.status for cell in self.cells for run in cell.runs]
        bad = [f"{n} {state}" for state in ("failed", "incomplete") if (n := states.count(state))]
        noted = f" ({', '.join(bad)}: not counted)" if bad else ""
        return f"{plural(len(states), 'run')}{noted} in {plural(len(self.cells), 'cell')}"

    def data(self) -> str:
        """Returns in words what was trained on."""
        found = list(dict.fromkeys(describe_data(c.runs[0].card.config) for c in self.cells))
        return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")

    def caveats(self) -> Iterator[str]:
        """Yields what was left out, and what in the store could not be believed."""
        if self.left_out:
            yield f"Left out: {plural(self.left_out, 'run')} of teachers only (teachers=true)."
        for fault in self.faults:
            yield f"{fault[0].upper()}{fault[1:]}"


def _row_key(key: str, runs: Sequence[StoredRun]) -> str:
    full = known_key(key, runs, "group_by")
    if not is_of_cell(full):
        raise UserError(f"group_by={key}: runs of one cell may differ in it; expected another key")
    return full


def _order(cell: Cell) -> tuple[Any, ...]:
    place = (cell.group or "", cell.row, cell.column)
    return *map(natural_order, place), cell.kind != "baseline", natural_order(cell.name)


def _note(cell: Cell, against: Differences, measure: str, name: str) -> str | None:
    """Returns `NLL at last: 0.51 ± 0.01 (3)`, and the difference to the baseline."""
    values = list(values_of(cell, against.protocol, measure).values())
    if not values:
        return None
    note = f"{name}: {formatting.measure(measure, estimate(values))}"
    if found := against.get(cell.key, cell.baseline_key):
        bounds = found.welch
        interval = f" [{bounds.low:+.4f}, {bounds.high:+.4f}]" if bounds else ""
        note += f"; minus the baseline's {found.mean:+.4f}{interval}"
    return f"{note}."


def command_of(overrides: Sequence[str]) -> str:
    """Returns the `kdlsr.report` command, quoted for a shell."""
    return shell_command("report", overrides)
