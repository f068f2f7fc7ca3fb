"""Which cell of any runs is held against which. Nothing is computed or rendered here."""

from collections.abc import Mapping, Sequence

from kdlsr.config import UserError
from kdlsr.reporting.any_runs.choose import (
    RunsOfCell,
    differing_keys,
    filter_runs,
    gather_cells,
    without_teachers,
)
from kdlsr.runs.store import StoredRun

Baselines = Mapping[str, RunsOfCell]  # by the cell_id of what is held against it


def find_baselines(
    cells: Sequence[RunsOfCell],
    every: Sequence[StoredRun],
    filters: Sequence[str],
    teachers: bool,
) -> Baselines:
    """Returns the baseline of each cell that has one; of a baseline, itself.

    A baseline has its cell's network and data set. It is looked for among the cells, then in
    all of the store; where several match, those of the cell's own schedule come first.

    Args:
        cells: to be held against something.
        every: all runs.
        filters: that a baseline passes; none: nothing is compared.
        teachers: whether runs that only teach others count.

    Raises:
        UserError: nothing passes the filters, or several cells are left.
    """
    if not filters:
        return {}
    if any("=" not in text for text in filters):
        raise UserError(f"baseline={filters[0]} is not possible; expected filters, as [loss=ce]")
    passing = filter_runs(every, filters, "baseline")
    kept = passing if teachers else without_teachers(passing, filters)
    chosen = {cell.cell_id: cell for cell in cells}
    candidates: dict[str, list[RunsOfCell]] = {}
    for cell in gather_cells(kept):
        candidates.setdefault(_sections(cell, "model", "dataset"), []).append(
            chosen.get(cell.cell_id, cell)
        )
    found = {}
    for cell in cells:
        alike = candidates.get(_sections(cell, "model", "dataset"), [])
        if alike:
            found[cell.cell_id] = _baseline(cell, alike)
    return found | {baseline.cell_id: baseline for baseline in found.values()}


def _baseline(cell: RunsOfCell, alike: Sequence[RunsOfCell]) -> RunsOfCell:
    own = [c for c in alike if c.cell_id == cell.cell_id]
    schedule = _sections(cell, "schedule", "precision")
    closer = own or [c for c in alike if _sections(c, "schedule", "precision") == schedule] or alike
    if len(closer) > 1:
        keys = ", ".join(differing_keys(closer)[:4]) or "the version of the code"
        raise UserError(
            f"baseline: {len(closer)} cells of the same network and data set match "
            f"({', '.join(c.cell_id for c in closer[:3])}); they differ in {keys}: add one of these"
        )
    return closer[0]


def _sections(cell: RunsOfCell, *names: str) -> str:
    """Returns sections of a cell's config as one text."""
    return repr(sorted((k, v) for k, v in cell.config.items() if k.partition(".")[0] in names))
