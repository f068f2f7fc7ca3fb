"""The points of tuned methods, found among a report's cells, and what tuning elsewhere costs.

Between the cells and the statistic of `tuning`; nothing is written or drawn here.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kdlsr.reporting.statistics import Difference, difference
from kdlsr.reporting.summary import CellSummary, RunSummary
from kdlsr.reporting.tuning import (
    BySeed,
    Grid,
    Loss,
    Tried,
    loss_of_tuning_elsewhere,
    mean_by_seed,
)

PROTOCOL = "best_val"


@dataclass(frozen=True)
class Pair:
    """A method tuned on one network and applied to another.

    Attributes:
        method: its name in the table, with its form where it has several.
        tuned_on, applied_to: the networks.
        loss: what that costs; None where the grid is not complete.
        baseline: test top-1 by seed of plain cross-entropy on the network it is applied to.
    """

    method: str
    tuned_on: str
    applied_to: str
    loss: Loss | None
    baseline: BySeed


@dataclass(frozen=True)
class MethodLoss:
    """A method over all its pairs of networks.

    Attributes:
        method: as in `Pair`.
        pairs: those that are complete.
    """

    method: str
    pairs: Sequence[Pair]

    @cached_property
    def own(self) -> dict[Any, float]:
        """Test top-1 by seed, tuned on the network itself: the mean over pairs."""
        return mean_by_seed([pair.loss.own for pair in self.pairs if pair.loss])

    @cached_property
    def elsewhere(self) -> dict[Any, float]:
        """Likewise, tuned elsewhere."""
        return mean_by_seed([pair.loss.elsewhere for pair in self.pairs if pair.loss])

    @property
    def difference(self) -> Difference:
        """Its loss: own minus elsewhere, paired by seed."""
        return difference(self.own, self.elsewhere)

    @property
    def by_seed(self) -> dict[Any, float]:
        """Its loss for each seed."""
        return {seed: value - self.elsewhere[seed] for seed, value in self.own.items()}

    @property
    def gain(self) -> Difference | None:
        """What it gains over cross-entropy when tuned elsewhere; None without that baseline."""
        baseline = mean_by_seed([pair.baseline for pair in self.pairs])
        return difference(self.elsewhere, baseline) if baseline else None

    @property
    def agreeing(self) -> str:
        """In how many choices, of all pairs and seeds, both are the same point."""
        found = [pair.loss for pair in self.pairs if pair.loss]
        return f"{sum(loss.agreeing for loss in found)} of {sum(len(loss.own) for loss in found)}"


def pairs_of(cells: Sequence[CellSummary], methods: Collection[str]) -> Iterator[Pair]:
    """Yields every method on every ordered pair of networks that are two here.

    Args:
        cells: of a report.
        methods: the names of those that are tuned: the groups of their cells.
    """
    by_key = {cell.key: cell for cell in cells}
    grids = _grids(cells, methods)
    for method, networks in grids.items():
        for applied_to, tuned_on in itertools.permutations(networks, 2):
            own, other = networks[applied_to], networks[tuned_on]
            if _runs(own) == _runs(other):
                continue  # this profile has one network for both
            baseline = by_key.get(own[0].baseline_key or "")
            yield Pair(
                method,
                tuned_on,
                applied_to,
                loss_of_tuning_elsewhere(_grid(own), _grid(other)),
                _test(baseline.complete) if baseline else {},
            )


def _grids(
    cells: Sequence[CellSummary], methods: Collection[str]
) -> dict[str, dict[str, list[CellSummary]]]:
    """Returns the points of each method, in each of its forms, on each network."""
    ours = [cell for cell in cells if cell.kind == "method" and cell.group in methods]
    forms: dict[str, set[str]] = {}
    for cell in ours:
        forms.setdefault(str(cell.group), set()).add(cell.name)
    found: dict[str, dict[str, list[CellSummary]]] = {}
    for cell in ours:
        group = str(cell.group)
        method = f"{group} {cell.name}" if len(forms[group]) > 1 else group
        found.setdefault(method, {}).setdefault(cell.row, []).append(cell)
    return found


def _runs(cells: Sequence[CellSummary]) -> set[str]:
    return {run.run_id for cell in cells for run in cell.runs}


def _grid(cells: Sequence[CellSummary]) -> Grid:
    return {
        cell.column.removeprefix(f"{cell.group} "): Tried(
            {run.card.seeds: _validation(run) for run in cell.complete}, _test(cell.complete)
        )
        for cell in cells
    }


def _validation(run: RunSummary) -> float:
    return max(record.val.top1 for record in run.history if record.val)


def _test(runs: Sequence[RunSummary]) -> dict[Any, float]:
    found = ((run, run.result.at(PROTOCOL)) for run in runs if run.result)
    return {run.card.seeds: at.test.top1 for run, at in found if at}
