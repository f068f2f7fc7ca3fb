"""The methods and the points of their grids, found among a report's cells.

Between the cells and the statistic of `selecting`; nothing is written or drawn here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kdlsr.reporting.measures import value_of
from kdlsr.reporting.selecting import BySeed, Chosen, Grid, Ladder, climb
from kdlsr.reporting.summary import CellSummary, RunSummary
from kdlsr.reporting.tuning import mean_by_seed


@dataclass(frozen=True)
class OnNetworks:
    """A method on all its networks.

    Attributes:
        name: the group or the column of its cells, with its form where it has several.
        grids: by network, complete or not.
        baseline: its networks' baselines: themselves, for a baseline.
    """

    name: str
    grids: Mapping[str, Grid]
    baseline: Mapping[str, Grid]

    @cached_property
    def ladders(self) -> list[Ladder]:
        """On each network on which a seed has all points."""
        return [found for grid in self.grids.values() if (found := climb(grid))]

    @property
    def is_complete(self) -> bool:
        """Whether that is so on all of them."""
        return len(self.ladders) == len(self.grids)

    @property
    def points(self) -> int:
        """How many its grid has."""
        return max(map(len, self.grids.values()))

    def at(self, protocol: str) -> BySeed:
        """Test top-1 by seed, the mean over points and networks."""
        return mean_by_seed(
            [
                {seed: getattr(run, protocol) for seed, run in runs.items()}
                for grid in self.grids.values()
                for runs in grid.values()
            ]
        )

    def step(self, name: str) -> BySeed:
        """One step of the ladder, the mean over networks."""
        return mean_by_seed([getattr(ladder, name) for ladder in self.ladders])

    @property
    def of_means(self) -> float:
        """What choosing by the means of all seeds gives, the mean over networks."""
        return sum(ladder.of_means for ladder in self.ladders) / len(self.ladders)

    def gain(self, name: str) -> BySeed:
        """A step minus the baselines' own, by seed."""
        theirs = OnNetworks("", self.baseline, {}).step(name)
        return {seed: v - theirs[seed] for seed, v in self.step(name).items() if seed in theirs}


def methods_of(cells: Sequence[CellSummary]) -> Iterator[OnNetworks]:
    """Yields the baseline, then each method; cells of one group and row are a grid's points."""
    by_key = {cell.key: cell for cell in cells}
    forms: dict[str, set[str]] = {}
    ours = [cell for cell in cells if cell.kind == "method" and cell.state != "omitted"]
    for cell in ours:
        forms.setdefault(cell.group or cell.column, set()).add(cell.name)
    baselines = {c.row: {c.column: _runs(c)} for c in cells if c.kind == "baseline"}
    yield OnNetworks("Baseline", baselines, baselines)
    grids: dict[str, dict[str, dict[str, Mapping[Any, Chosen]]]] = {}
    for cell in ours:
        name = cell.group or cell.column
        if len(forms[name]) > 1:
            name = f"{name} {cell.name}"
        grids.setdefault(name, {}).setdefault(_network(cell, by_key), {})[cell.column] = _runs(cell)
    for name, networks in grids.items():
        yield OnNetworks(name, networks, {row: baselines[row] for row in networks})


def _network(cell: CellSummary, by_key: Mapping[str, CellSummary]) -> str:
    """Returns what its baseline is called, which is the network's name at this size."""
    return by_key[cell.baseline_key].row if cell.baseline_key else cell.row


def _runs(cell: CellSummary) -> dict[Any, Chosen]:
    """Returns what a cell's complete runs have by seed, the mean where teachers differ."""
    found: dict[Any, list[Chosen]] = {}
    for run in cell.complete:
        chosen = _chosen(run)
        if chosen is not None:
            found.setdefault(run.card.seeds, []).append(chosen)
    return {seeds: Chosen.mean(several) for seeds, several in found.items()}


def _chosen(run: RunSummary) -> Chosen | None:
    validation = [record.val.top1 for record in run.history if record.val]
    last, test, val = (value_of(run, name, "top1") for name in ("last", "best_test", "best_val"))
    if last is None or test is None or val is None or not validation:
        return None
    return Chosen(last, test, val, max(validation))
