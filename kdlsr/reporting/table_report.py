"""The report of a table: its planned cells, with what their runs gave."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import cast

from kdlsr.reporting.deciding import MARGIN
from kdlsr.reporting.looking import Looked
from kdlsr.reporting.reading import describe_data, numbered_epoch, read_run
from kdlsr.reporting.studies import Studied, study_all
from kdlsr.reporting.studies.teacher_share import teacher_share
from kdlsr.reporting.summarise import summarise
from kdlsr.reporting.summary import Cell, Report, RunState, Target
from kdlsr.runs.execute import store_of
from kdlsr.runs.plan import Run, card_of, resolved_config
from kdlsr.tables.plan import JobState, PlacedCell, PlannedCell, PlannedTable
from kdlsr.tables.schema import Paper


def report_table(
    planned: PlannedTable,
    states: Mapping[str, JobState],
    protocol: str | None,
    command: str,
    made_from: str = "",
    margin: float = MARGIN,
    looked: Looked[str] | None = None,
) -> Report:
    """Returns the report of a table.

    Args:
        planned: the table with its runs.
        states: of the runs, by run_id.
        protocol: by which differences are judged; None: as `summarise` chooses.
        command: what makes this report again.
        made_from: where the table is from.
        margin: a difference that is smaller does not matter, points.
        looked: where seeds are added until decided: the table after its looks.
    """
    cells = read_cells(planned, states)
    is_published_size = planned.request.is_published_size
    found = summarise(cells, protocol, margin, looked, is_published_size=is_published_size)
    table, profile = planned.table, planned.request.profile
    runs = [run for cell in planned.cells for run in cell.runs]
    data = describe_data(resolved_config(runs[0])) if runs else "no runs"
    studied = study_all(Studied(found.cells, found.protocol, table))
    return Report(
        **vars(found) | {"caveats": (*found.caveats, *_faults_of_teachers(runs))},
        name=planned.report_name,
        title=table.title,
        first_line=f"Profile {profile.name} ({data}; {_n(planned, cells)}): {profile.means}.",
        data=data,
        command=command,
        source=table.source,
        shows=table.shows,
        notes=(*table.notes, *planned.setting.notes),
        made_from=made_from,
        figure=table.figure,
        hand_made=vars(table.hand_made) if table.hand_made else None,
        studies=(*studied, *teacher_share(found.cells, found.protocol)),
    )


def read_cells(planned: PlannedTable, states: Mapping[str, JobState]) -> list[Cell]:
    """Returns a table's cells with what their runs gave.

    Args:
        planned: the table with its runs.
        states: of the runs, by run_id.
    """
    return [_cell(cell, states, planned.table.paper_runs) for cell in planned.cells]


def _n(planned: PlannedTable, cells: Iterable[Cell]) -> str:
    """Returns how many seeds the cells have, and how many teachers those that are taught."""
    have_runs = [cell for cell in cells if cell.runs]
    complete = [{r.card.seed for r in cell.runs if r.state == "complete"} for cell in have_runs]
    n = _from_to(map(len, complete))
    wanted = {r.card.run_id: r.state for cell in have_runs for r in cell.runs}
    if missing := sum(state != "complete" for state in wanted.values()):
        n += f", {missing} of {len(wanted)} runs missing"
    teachers = planned.request.teacher_seeds
    if teachers == "each":
        return f"n = {n}, each with a teacher of its own"
    return f"n = {n}" if teachers == 1 else f"n = {n} x {teachers} teachers"


def _from_to(counts: Iterable[int]) -> str:
    counts = set(counts)
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{high}" if low == high else f"{low} to {high}"


def _faults_of_teachers(runs: Iterable[Run]) -> list[str]:
    """Returns a line on each teacher whose files cannot be believed; one that teaches twice, once.

    A student that is complete counts all the same: what it learnt from was whole.
    """
    teachers = {t.run_id: t for run in runs for t in _teachers_of(run)}
    readings = (store_of(t.config).run(run_id).read() for run_id, t in teachers.items())
    return [f"Of a teacher: {reading.fault}" for reading in readings if reading.fault]


def _teachers_of(run: Run) -> Iterator[Run]:
    while run.teacher_run is not None:
        run = run.teacher_run
        yield run


def _cell(cell: PlannedCell, states: Mapping[str, JobState], paper_runs: int | None) -> Cell:
    cards = [card_of(run, "itself") for run in cell.runs]
    runs = []
    for card, run in zip(cards, cell.runs, strict=True):
        # What only teaches, and so may be not needed, is in no cell.
        state = cast(RunState, states[card.run_id])
        folder = store_of(run.config).run(card.run_id)
        runs.append(read_run(card, folder, state, run.command.texts()))
    return Cell(
        **{each.name: getattr(cell, each.name) for each in fields(PlacedCell)},
        runs=tuple(runs),
        target=_target(cell.paper, paper_runs) if cell.paper else None,
        teacher_epoch=numbered_epoch(cards[0]) if cards else None,
    )


def _target(paper: Paper, runs: int | None) -> Target:
    return Target(
        paper.accuracy,
        paper.deviation,
        str(paper.grade),
        note=paper.note,
        runs=paper.runs or runs,
        protocol=paper.protocol,
    )
