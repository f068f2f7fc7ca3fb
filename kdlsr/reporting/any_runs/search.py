"""The search protocol: the best tau and alpha by validation figures, which alone are read here.

No test figure may enter: the choice must be the same whatever the test set says.
"""

import math
from collections.abc import Iterator, Sequence

from kdlsr.config import UserError
from kdlsr.config.compose import config_folders
from kdlsr.config.overrides import Override, Overrides
from kdlsr.config.yaml_file import read_yaml
from kdlsr.reporting.any_runs.choose import RunsOfCell, differing_keys, moving
from kdlsr.reporting.formatting import command_line, plural
from kdlsr.reporting.summary import GridPoint, Search
from kdlsr.runs.store import StoredRun

TAU, ALPHA = "loss.tau", "loss.alpha"
MEASURE = "mean validation top-1 % at the best_val epoch"
Seeds = tuple[int, int]


def is_grid(cells: Sequence[RunsOfCell]) -> bool:
    """Whether tau and alpha, both, are all that cells differ in."""
    return set(differing_keys(cells)) == {TAU, ALPHA}


def check_grid(cells: Sequence[RunsOfCell]) -> None:
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
        raise UserError(f"search=true needs runs whose loss has {TAU} and {ALPHA}, as loss=kd")
    if not has_validation(cells):
        raise UserError(
            "search=true: these runs have no validation split, and the test set may not choose; "
            "train them with dataset.val_fraction=0.1, say"
        )


def has_validation(cells: Sequence[RunsOfCell]) -> bool:
    """Whether all cells held images out of training to choose by."""
    return all(cell.config["dataset.val_fraction"] for cell in cells)


class Grid:
    """The cells of a search, which differ in tau and alpha only.

    A seed is the grid's if more than half of the points have begun it.
    """

    def __init__(self, cells: Sequence[RunsOfCell]) -> None:
        self.cells = {cell.cell_id: cell for cell in cells}
        begun = [{run.card.seeds for run in cell.runs} for cell in cells]
        every = set[Seeds]().union(*begun)
        self.seeds = {seeds for seeds in every if 2 * sum(seeds in b for b in begun) > len(begun)}

    def is_whole(self, cell_id: str) -> bool:
        """Whether a point is complete for all seeds of the grid."""
        complete = {run.card.seeds for run in self.cells[cell_id].complete}
        return bool(self.seeds) and self.seeds <= complete

    def search(self) -> Search:
        """Returns the grid with its best point.

        A point's value is the mean, over its complete runs, of top-1 on the validation split at
        the epoch that is best on it. Only a point that is complete for all seeds of the grid can
        be best. Ties go to the smaller alpha, then to the smaller tau.
        """
        points = sorted(map(self._point, self.cells.values()), key=lambda p: (p.alpha, p.tau))
        candidates = [point for point in points if self.is_whole(point.key)]
        # max returns the first of equals, and the points are in the order of the ties.
        best = max(candidates, key=lambda point: point.value or 0.0, default=None)
        return Search(MEASURE, tuple(points), best.key if best else None)

    def _point(self, cell: RunsOfCell) -> GridPoint:
        values = [_best_validation(r) for r in cell.complete if r.card.seeds in self.seeds]
        mean = math.fsum(values) / len(values) if values else None
        return GridPoint(float(cell.config[TAU]), float(cell.config[ALPHA]), cell.cell_id, mean)

    def describe_choice(self, found: Search, into: Sequence[str]) -> tuple[str, ...]:
        """Returns the best point, its command for the full schedule, and what was not chosen.

        Args:
            found: the search.
            into: overrides of where the command stores its runs.
        """
        point = next((point for point in found.points if point.key == found.best), None)
        if point is None:
            return ("No point of the search is complete for all seeds: none is chosen.",)
        choice = (
            f"Best point: tau={point.tau:g}, alpha={point.alpha:g} ({found.measure}: "
            f"{point.value:.2f}, n = {len(self.seeds)}). Ties go to the smaller alpha, then to the "
            "smaller tau. The test set plays no part in the choice."
        )
        command = _full_command(self.cells[point.key], into)
        return (choice, command, *self._not_chosen(found.points))

    def _not_chosen(self, points: Sequence[GridPoint]) -> Iterator[str]:
        """Names the points that could not be chosen, and counts those that were never begun."""
        named = [f"tau={p.tau:g} alpha={p.alpha:g}" for p in points if not self.is_whole(p.key)]
        absent = len({p.tau for p in points}) * len({p.alpha for p in points}) - len(points)
        if named:
            yield f"Not complete for all seeds, so not to be chosen: {', '.join(named)}."
        if absent > 0:
            yield f"No runs yet: {plural(absent, 'point')} of the grid of these values."


def _best_validation(run: StoredRun) -> float:
    return max(record.val.top1 for record in run.folder.history() if record.val)


def _full_command(cell: RunsOfCell, into: Sequence[str]) -> str:
    """Returns the command that trains a point for the full schedule, on all training images."""
    pinned = Overrides.from_plain(cell.config["teacher.overrides"], "teacher.overrides")
    command = moving(cell.complete[0].card).without("seed")
    schedule = _full_schedule(command, pinned)
    own: dict[str, object] = {}
    if schedule is not None:
        own = {"schedule": schedule}
        if pinned.get("schedule") == schedule:  # a teacher inherits it from its student
            own["teacher.overrides"] = pinned.without("schedule").texts()
        command = command.without("schedule")
    # What was chosen is stated, be it the default or not.
    own |= {"dataset.val_fraction": 0.0, TAU: cell.config[TAU], ALPHA: cell.config[ALPHA]}
    command = Overrides([*command, *(Override(key, value) for key, value in own.items())])
    seeds = sorted({run.card.seed for run in cell.complete})
    many = ["-m"] if len(seeds) > 1 else []
    seed = f"seed={','.join(map(str, seeds))}"
    shown = command_line([*many, *command.texts(), seed, *into])
    if schedule is None:
        length = "With the search's own schedule (schedule= sets the full one)"
    else:
        length = f"For the full schedule ({schedule})"
    return f"{length}, on all training samples: {shown}"


def _full_schedule(command: Overrides, pinned: Overrides) -> str | None:
    """Returns the schedule of which a search's is a shorter form; None where none is known.

    It is what the searched schedule's file is made from (search70: cifar200), else the schedule
    to which the search pinned its teacher.
    """
    for folder in config_folders():
        file = folder / "schedule" / f"{command.get('schedule')}.yaml"
        if file.exists():
            parents = read_yaml(file).get("defaults")
            listed = parents if isinstance(parents, list) else []
            named = [str(parent) for parent in listed if parent != "_self_"]
            if named:
                return named[0]
    full = pinned.get("schedule")
    return None if full is None else str(full)
