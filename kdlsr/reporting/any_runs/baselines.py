"""Which cell of any runs is held against which, and by how much they differ.

The arithmetic is that of `statistics`; nothing is rendered here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kdlsr.config import UserError
from kdlsr.reporting.any_runs.stored import (
    StoredCell,
    StoredRun,
    differing_keys,
    filter_runs,
    gather_cells,
    without_teachers,
)
from kdlsr.reporting.statistics import Difference, corrected, difference

Baselines = Mapping[str, StoredCell]  # by the cell_id of what is held against it


def find_baselines(
    cells: Sequence[StoredCell],
    stored: Sequence[StoredRun],
    filters: Sequence[str],
    teachers: bool,
) -> Baselines:
    """Returns the baseline of each cell that has one; of a baseline, itself.

    A baseline has its cell's network and data set. It is looked for among the cells, then in
    all of the store; where several match, those of the cell's own schedule come first.

    Args:
        cells: to be held against something.
        stored: all runs.
        filters: that a baseline passes; none: nothing is compared.
        teachers: whether runs that only teach others count.

    Raises:
        UserError: nothing passes the filters, or several cells are left.
    """
    if not filters:
        return {}
    if any("=" not in text for text in filters):
        raise UserError(f"baseline={filters[0]} is not possible; expected filters, as [loss=ce]")
    passing = filter_runs(stored, filters, "baseline")
    kept = passing if teachers else without_teachers(passing, stored, filters)
    chosen = {cell.cell_id: cell for cell in cells}
    candidates = [chosen.get(cell.cell_id, cell) for cell in gather_cells(kept)]
    found = {cell.cell_id: b for cell in cells if (b := _baseline(cell, candidates)) is not None}
    return found | {baseline.cell_id: baseline for baseline in found.values()}


def _baseline(cell: StoredCell, candidates: Sequence[StoredCell]) -> StoredCell | None:
    found = [c for c in candidates if c.config and _alike(c, cell, "model", "dataset")]
    own = [c for c in found if c.cell_id == cell.cell_id]
    closer = own or [c for c in found if _alike(c, cell, "schedule", "precision")] or found
    if len(closer) > 1:
        keys = ", ".join(differing_keys(closer)[:4]) or "the version of the code"
        raise UserError(
            f"baseline: {len(closer)} cells of the same network and data set match "
            f"({', '.join(c.cell_id for c in closer[:3])}); they differ in {keys}: add one of these"
        )
    return closer[0] if closer else None


def _alike(first: StoredCell, second: StoredCell, *sections: str) -> bool:
    return _section(first, *sections) == _section(second, *sections)


def _section(cell: StoredCell, *sections: str) -> dict[str, Any]:
    return {k: v for k, v in cell.config.items() if k.partition(".")[0] in sections}


def differences(
    cells: Sequence[StoredCell], baselines: Baselines, protocol: str, measure: str
) -> dict[str, Difference]:
    """Returns each cell's difference to its baseline, by cell_id, with Holm over all of them."""
    found = {}
    for cell in cells:
        baseline = baselines.get(cell.cell_id)
        if baseline is None or baseline.cell_id == cell.cell_id:
            continue
        ours, other = _numbered(cell, baseline, protocol, measure)
        if ours and other:
            found[cell.cell_id] = difference(ours, other)
    return corrected(found)


def _numbered(
    ours: StoredCell, other: StoredCell, protocol: str, measure: str
) -> tuple[dict[int, float], dict[int, float]]:
    """Returns both cells' values under numbers that are equal where both seeds are.

    Runs of one cell may share their seeds, where their teachers' differ: those are not paired.
    """
    numbers: dict[Any, int] = {}
    sides = []
    for cell in (ours, other):
        seeds = [run.seeds for run in cell.complete]
        keys = {r.run_id: r.seeds if seeds.count(r.seeds) == 1 else r.run_id for r in cell.complete}
        values = complete_values(cell, protocol, measure)
        sides.append({numbers.setdefault(keys[i], len(numbers)): v for i, v in values.items()})
    return sides[0], sides[1]


def complete_values(cell: StoredCell, protocol: str, measure: str) -> dict[str, float]:
    """Returns a measure of the cell's complete runs that have it, by run_id.

    Args:
        cell: of runs.
        protocol: last, best_test or best_val; agreement and kl are of the last epoch always.
        measure: top1, one of `summary.MEASURES`, agreement or kl.
    """
    found = {run.run_id: _value(run, protocol, measure) for run in cell.complete}
    return {run_id: value for run_id, value in found.items() if value is not None}


def _value(run: StoredRun, protocol: str, measure: str) -> float | None:
    assert run.result is not None
    if measure in ("agreement", "kl"):
        found = (run.result["teacher"] or {}).get(measure)
    else:
        found = (run.result["protocols"][protocol] or {"test": {}})["test"].get(measure)
    return None if found is None else float(found)
