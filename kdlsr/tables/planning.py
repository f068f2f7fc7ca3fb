"""From tables to the smallest set of runs, each run once, in layers.

A plan composes one config per distinct base and changes plain values after that, so that
thousands of runs are planned in seconds. It starts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kdlsr.config import UserError
from kdlsr.config.fields import nearest
from kdlsr.config.overrides import Overrides
from kdlsr.runs.plan import Run
from kdlsr.tables.choices import SET_BY_TABLE
from kdlsr.tables.expansion import Expansion
from kdlsr.tables.plan import Plan, PlannedJob, PlannedTable, Request
from kdlsr.tables.schema import Table

OF_A_COMMAND = ("output_dir",)  # and of no table's file


def plan_tables(tables: Sequence[Table], request: Request) -> Plan:
    """Plans the runs of some tables, shared between their cells and between the tables.

    Raises:
        UserError: a run is impossible; the message names the cell.
    """
    _check_overrides(request.overrides)
    for table in tables:
        _check_overrides(table.overrides, f"{table.origin}: overrides: ")
        for index, cell in enumerate(table.cells):
            _check_overrides(cell.overrides, f"{table.origin}: cells[{index}].overrides: ")
    _check_methods(tables, request)
    planned = tuple(Expansion(table, request).planned() for table in tables)
    _check_names(planned)
    if request.forms is not None and not any(c.kind == "method" for t in planned for c in t.cells):
        raise UserError(f"forms={','.join(request.forms)}: no row has such a form")
    return plan_of(planned)


def _check_methods(tables: Sequence[Table], request: Request) -> None:
    """Refuses to choose the rows of a method that has none."""
    known = {cell.method for table in tables for cell in table.cells}
    for method in request.methods or ():
        if method not in known:
            names = ", ".join(table.name for table in tables)
            raise UserError(f"methods: {names} has no row of {method}{nearest(method, known)}")


def plan_of(tables: Sequence[PlannedTable]) -> Plan:
    """Returns the plan of tables whose cells are planned."""
    return Plan(tuple(tables), _layers(tables))


def _check_names(tables: Sequence[PlannedTable]) -> None:
    """Refuses two tables whose reports would stand in one place."""
    origins: dict[str, str] = {}
    for table in tables:
        name, origin = table.report_name, table.table.origin
        if origins.setdefault(name, origin) != origin:
            raise UserError(
                f"{origins[name]} and {origin} are both called {name}, and so would their reports "
                "be: rename one, or give it a name: of its own"
            )


def _check_overrides(overrides: Overrides, where: str = "") -> None:
    """Refuses what is not to be set for all runs: by a command, or (`where`) by a file."""
    for override in overrides:
        if override.section in SET_BY_TABLE:
            raise UserError(f"{where}{override}: {override.key} is set by the table, cell by cell")
        if where and override.key in OF_A_COMMAND:
            raise UserError(f"{where}{override}: {override.key} is a command's to give")
        if override.key == "schedule.batch_size":
            whose = "a cell is its batch_size" if where else "all runs is profile.batch_size"
            raise UserError(f"{where}{override}: the batch size of {whose}")


@dataclass
class _Need:
    """What is wanted of one run: the whole of it, and the epochs at which it teaches."""

    run: Run
    whole: bool = False
    only_teaches: bool = True
    keep: set[int] = field(default_factory=set)


def _layers(tables: Sequence[PlannedTable]) -> tuple[tuple[PlannedJob, ...], ...]:
    needs: dict[str, _Need] = {}
    for table in tables:
        for cell in table.cells:
            for run in cell.runs:
                _demand(needs, run, "last")
                needs[run.run_id].only_teaches = False
    jobs = [
        PlannedJob(
            need.run,
            until=None if need.whole else max(need.keep),
            keep=tuple(sorted(need.keep)),
            only_teaches=need.only_teaches,
        )
        for need in needs.values()
    ]
    depth = max((job.layer for job in jobs), default=-1) + 1
    return tuple(tuple(job for job in jobs if job.layer == layer) for layer in range(depth))


def _demand(needs: dict[str, _Need], run: Run, epoch: int | str) -> None:
    """Notes that a run is needed, whole or up to an epoch, and all that it needs itself."""
    if run.teacher is not None and run.teacher_run is not None:
        _demand(needs, run.teacher_run, run.teacher.epoch)
    need = needs.setdefault(run.run_id, _Need(run))
    if isinstance(epoch, int):
        need.keep.add(epoch)
    else:
        need.whole = True
