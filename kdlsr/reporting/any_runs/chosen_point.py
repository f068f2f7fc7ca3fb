"""What a search chose, in words, and the command that trains it at full length.

The choice itself is made in `grid_search`.
"""

from collections.abc import Sequence
from typing import cast

from kdlsr.config import UserError
from kdlsr.reporting.any_runs import grid_search
from kdlsr.reporting.any_runs.command_of_config import full_schedule, overrides_of
from kdlsr.reporting.any_runs.stored import StoredCell
from kdlsr.reporting.formatting import command_line
from kdlsr.reporting.summary import Search


def describe_choice(
    found: Search, cells: Sequence[StoredCell], into: Sequence[str]
) -> tuple[str, ...]:
    """Returns the best point, its command for the full schedule, and what could not be chosen.

    Args:
        found: the search.
        cells: of its grid.
        into: overrides of where the command stores its runs.
    """
    seeds = grid_search.seeds_of_grid(cells)
    if found.best is None:
        return ("No point of the search is complete for all seeds: none is chosen.",)
    point = next(point for point in found.points if point.key == found.best)
    best = next(cell for cell in cells if cell.cell_id == found.best)
    said = (
        f"Best point: tau={point.tau:g}, alpha={point.alpha:g} ({found.measure}: "
        f"{point.value:.2f}, n = {len(seeds)}). Ties go to the smaller alpha, then to the smaller "
        "tau. The test set plays no part in the choice."
    )
    return (said, _full_command(best, into), *_not_chosen(found, cells))


def _full_command(cell: StoredCell, into: Sequence[str]) -> str:
    """Says the command that trains a point for the full schedule, on all training images."""
    config = dict(cell.complete[0].config)
    schedule = full_schedule(config)
    pinned = cast(list[str], config["teacher.overrides"])
    config["dataset.val_fraction"] = 0.0
    # A teacher inherits the full schedule from its student.
    config["teacher.overrides"] = [o for o in pinned if o != f"schedule={schedule}"]
    try:
        overrides = [o for o in overrides_of(config, schedule) if not o.startswith("seed=")]
    except UserError as error:
        return f"No command is known that trains it at full length: {error}."
    # What was chosen is said, be it the default or not.
    chosen = [f"{key}={config[key]}" for key in (grid_search.TAU, grid_search.ALPHA)]
    overrides += [o for o in chosen if o not in overrides]
    seeds = sorted({int(run.config["seed"]) for run in cell.complete})
    many = ["-m"] if len(seeds) > 1 else []
    command = command_line([*many, *overrides, f"seed={','.join(map(str, seeds))}", *into])
    if schedule is None:
        length = "With the search's own schedule (schedule= sets the full one)"
    else:
        length = f"For the full schedule ({schedule})"
    return f"{length}, on all training images: {command}"


def _not_chosen(found: Search, cells: Sequence[StoredCell]) -> tuple[str, ...]:
    """Names the points that could not be chosen, and counts those that were never begun."""
    seeds = grid_search.seeds_of_grid(cells)
    short = {cell.cell_id for cell in cells if not grid_search.is_whole(cell, seeds)}
    named = [f"tau={p.tau:g} alpha={p.alpha:g}" for p in found.points if p.key in short]
    taus, alphas = {p.tau for p in found.points}, {p.alpha for p in found.points}
    absent = len(taus) * len(alphas) - len(found.points)
    said = []
    if named:
        said.append(f"Not complete for all seeds, so not to be chosen: {', '.join(named)}.")
    if absent > 0:
        said.append(f"No runs yet: {plural(absent, 'point')} of the grid of these values.")
    return tuple(said)


def plural(count: int, word: str) -> str:
    """Returns `1 run`, `2 runs`."""
    return f"{count} {word}{'' if count == 1 else 's'}"
