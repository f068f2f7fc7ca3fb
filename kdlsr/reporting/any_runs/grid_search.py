"""The search protocol: the best tau and alpha by validation figures, which alone are read here.

No test figure may enter: the choice must be the same whatever the test set says.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdlsr.config import UserError
from kdlsr.reporting.any_runs.stored import StoredCell, StoredRun, differing_keys
from kdlsr.reporting.summary import GridPoint, Search

TAU, ALPHA = "loss.tau", "loss.alpha"
MEASURE = "mean validation top-1 % at the best_val epoch"
Seeds = tuple[Any, Any]
History = Sequence[Mapping[str, Any]]


def is_grid(cells: Sequence[StoredCell]) -> bool:
    """Whether tau and alpha, both, are all that cells differ in."""
    return set(differing_keys(cells)) == {TAU, ALPHA}


def check_grid(cells: Sequence[StoredCell]) -> None:
    """Refuses cells among which nothing can be chosen.

    Raises:
        UserError: a loss without tau and alpha, cells that differ in more than these, or no
            validation split.
    """
    other = [key for key in differing_keys(cells) if key not in (TAU, ALPHA)]
    if other:
        raise UserError(
            f"search=true: these runs differ in {', '.join(other[:4])} too; choose by runs= what "
            f"differs in {TAU} and {ALPHA} only"
        )
    if any(key not in cell.config for cell in cells for key in (TAU, ALPHA)):
        raise UserError(f"search=true needs runs whose loss has {TAU} and {ALPHA}: loss=kd, say")
    if not has_validation(cells):
        raise UserError(
            "search=true: these runs have no validation split, and the test set may not choose; "
            "train them with dataset.val_fraction=0.1, say"
        )


def has_validation(cells: Sequence[StoredCell]) -> bool:
    """Whether all cells held images out of training to choose by."""
    return all(cell.config.get("dataset.val_fraction") for cell in cells)


def search(cells: Sequence[StoredCell], histories: Mapping[str, History]) -> Search:
    """Returns the grid with its best point.

    A point's value is the mean, over its complete runs, of top-1 on the validation split at
    the epoch that is best on it. Only a point that is complete for all seeds of the grid can be
    best; a seed is the grid's if more than half of the points have begun it. Ties go to the
    smaller alpha, then to the smaller tau.

    Args:
        cells: that differ in tau and alpha only.
        histories: the lines of metrics.jsonl, by run_id.
    """
    seeds = seeds_of_grid(cells)
    points = [_point(cell, seeds, histories) for cell in cells]
    points.sort(key=lambda point: (point.alpha, point.tau))
    whole = {cell.cell_id for cell in cells if is_whole(cell, seeds)}
    candidates = [point for point in points if point.key in whole]
    # max returns the first of equals, and the points are in the order of the ties.
    best = max(candidates, key=lambda point: point.value or 0.0, default=None)
    return Search(MEASURE, tuple(points), best.key if best else None)


def seeds_of_grid(cells: Sequence[StoredCell]) -> set[Seeds]:
    """Returns the seeds that more than half of the points have begun."""
    begun = [{run.seeds for run in cell.runs} for cell in cells]
    every = set[Seeds]().union(*begun)
    return {seeds for seeds in every if 2 * sum(seeds in own for own in begun) > len(begun)}


def is_whole(cell: StoredCell, seeds: set[Seeds]) -> bool:
    """Whether a point is complete for all seeds of the grid."""
    return bool(seeds) and seeds <= {run.seeds for run in cell.complete}


def _point(cell: StoredCell, seeds: set[Seeds], histories: Mapping[str, History]) -> GridPoint:
    counted = [run for run in cell.complete if run.seeds in seeds]
    values = [_best_validation(run, histories) for run in counted]
    mean = math.fsum(values) / len(values) if values else None
    return GridPoint(float(cell.config[TAU]), float(cell.config[ALPHA]), cell.cell_id, mean)


def _best_validation(run: StoredRun, histories: Mapping[str, History]) -> float:
    return max(float(record["val"]["top1"]) for record in histories[run.run_id])
