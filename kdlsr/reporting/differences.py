"""All differences of a report: which cells are compared, and which differences are judged together.

Two families: methods against their baselines, which are the claims, and methods against their
controls. Controls against baselines are described and not tested: nobody claims anything of them.
"""

import math
from collections.abc import Iterable, Mapping, Set
from typing import Literal

from kdlsr.reporting.comparison import Comparison
from kdlsr.reporting.crossing import crossed, difference_of_crossed
from kdlsr.reporting.deciding import MARGIN, judge
from kdlsr.reporting.measures import by_teacher, values_of
from kdlsr.reporting.moderation import (
    PRIOR_DF,
    Moderated,
    Prior,
    Spread,
    prior_of,
    spread,
    worth_at_most,
)
from kdlsr.reporting.statistics import LEVEL, Difference, Estimate, difference, estimate
from kdlsr.reporting.summary import Cell, CellState, RunState

Family = Literal["claims", "controls"]
Pair = tuple[frozenset[str], frozenset[str]]  # the run_ids of two cells


class Differences:
    """Each difference of a report once, however many cells have the same runs."""

    def __init__(
        self,
        cells: Iterable[Cell],
        protocol: str,
        margin: float = MARGIN,
        level: float = LEVEL,
        measure: str = "top1",
    ) -> None:
        """Compares each cell with its baseline and its controls.

        Args:
            cells: all that there are.
            protocol, measure: in what they are compared.
            margin, level: as for `judge`.
        """
        self.cells = {cell.key: cell for cell in cells}
        self.protocol = protocol
        self.margin = margin
        self._runs = {k: frozenset(r.run_id for r in c.runs) for k, c in self.cells.items()}
        self._values = {k: values_of(c, protocol, measure) for k, c in self.cells.items()}
        self._estimates = {k: estimate(list(v.values())) for k, v in self._values.items() if v}
        self._by_teacher = {k: by_teacher(c, protocol, measure) for k, c in self.cells.items()}
        self._crossed = {k: crossed(values) for k, values in self._by_teacher.items()}
        self.priors = self._priors()
        self._found: dict[Pair, tuple[Difference, Moderated]] = {}
        self.families: dict[Family, dict[Pair, Moderated]] = {"claims": {}, "controls": {}}
        for cell in self.cells.values():
            self._compare_all(cell)
        self._decisions = {
            family: judge(members, margin, level) for family, members in self.families.items()
        }

    def _priors(self) -> Mapping[str, Prior | None]:
        """Returns what all cells of a network say of one's variance, by their baseline's key.

        Those whose seeds are crossed with teachers have variances of another kind.
        """
        networks: dict[str, dict[frozenset[str], Estimate]] = {}
        for key, found in self._estimates.items():
            cells = networks.setdefault(self._network(key), {})
            if self._crossed[key] is None:
                cells[self._runs[key]] = found
        return {
            name: worth_at_most(prior_of(list(cells.values())), PRIOR_DF)
            for name, cells in networks.items()
        }

    def _network(self, key: str) -> str:
        return self.cells[key].baseline_key or key

    def _compare_all(self, cell: Cell) -> None:
        for other in cell.compared_keys:
            pair = self._runs[cell.key], self._runs[other]
            if not (self._values[cell.key] and self._values[other] and pair[0] != pair[1]):
                continue
            plain = self.difference(cell.key, other)
            held = self._moderated(plain.mean, cell.key, other)
            self._found[pair] = plain, held
            if cell.kind == "method" and other == cell.baseline_key:
                self.families["claims"][pair] = held
            if cell.kind == "method" and other in cell.control_keys:
                self.families["controls"][pair] = held

    def _moderated(self, mean: float, key: str, other: str) -> Moderated:
        prior = self.priors[self._network(key)]
        ours, theirs = (self._spread(each, prior) for each in (key, other))
        return Moderated(mean, ours, theirs, prior.pooled_df if prior else math.inf)

    def _spread(self, key: str, prior: Prior | None) -> Spread:
        found = self._crossed[key]
        return found.spread if found else spread(self._estimates[key], prior)

    def difference(self, key: str, other: str) -> Difference:
        """Returns one cell minus another, which both have a value."""
        if self._crossed[key] is None and self._crossed[other] is None:
            return difference(self._values[key], self._values[other])
        return difference_of_crossed(self._by_teacher[key], self._by_teacher[other])

    def is_crossed(self, key: str) -> bool:
        """Whether a cell's seeds are crossed with teachers."""
        return self._crossed[key] is not None

    def held(self, key: str, other: str) -> Moderated | None:
        """Returns one cell minus another as it is judged; None as for `get`."""
        found = self._found.get((self._runs[key], self._runs[other]))
        return found[1] if found else None

    def get(self, key: str, other: str | None) -> Difference | None:
        """Returns one cell minus another; None where either has no value, or both are the same."""
        found = self._found.get((self._runs[key], self._runs[other])) if other else None
        return found[0] if found else None

    def compare(self, cell: Cell, other: str | None, family: Family) -> Comparison | None:
        """Returns a cell's comparison with another one, as it was judged in a family."""
        if other is None:
            return None
        pair = self._runs[cell.key], self._runs[other]
        if pair not in self._found:
            return None
        decision = self._decisions[family].get(pair) if cell.kind == "method" else None
        return Comparison(other, self.cells[other].name, *self._found[pair], decision)

    def are_same(self, cell: Cell, other: str) -> bool:
        """Whether two cells have the very same runs."""
        return bool(self._runs[cell.key]) and self._runs[cell.key] == self._runs[other]

    def why_not(self, cell: Cell, other: str) -> str:
        """Returns why a cell has no difference to another one."""
        against = self.cells[other]
        if self._runs[cell.key] == self._runs[other]:
            return f"{against.name}: the very same runs"
        lacking = against if state_of(cell) == "complete" else cell
        if state_of(lacking) == "complete":
            return f"{against.name}: no figure at {self.protocol}"
        return f"{against.name}: {state_of(lacking)}"


def state_of(cell: Cell) -> CellState:
    """Returns what the states of its runs make of a cell."""
    if cell.omitted is not None:
        return "omitted"
    states: Set[RunState] = {run.state for run in cell.runs}
    if states == {"complete"}:
        return "complete"
    if "failed" in states:
        return "failed"
    return "partial" if "complete" in states else "not run"
