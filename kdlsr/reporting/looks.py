"""Looks at the cells of a table: which seeds are wanted next, and what the earlier ones decided.

Between a table's cells and the rule of `looking`. All is computed anew from the runs that are there
and nothing is kept beside them: a look is a function of its own seeds, so that a table that was
killed, or whose cells have later seeds for another table's sake, is decided alike.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from kdlsr.reporting.comparison import Comparison
from kdlsr.reporting.differences import Differences, Family, Pair
from kdlsr.reporting.looking import Looked, Rule, begin, look
from kdlsr.reporting.moderation import Moderated
from kdlsr.reporting.summary import Cell, RunSummary

Names = tuple[str, str]  # the keys of a cell and of what it is compared with


def first_seeds(cell: Cell, n: int) -> Cell:
    """Returns a cell with the runs of its first so many seeds."""
    seeds = list(dict.fromkeys(run.card.seed for run in cell.runs))[:n]
    return replace(cell, runs=tuple(run for run in cell.runs if run.card.seed in seeds))


def look_at(
    cells: Sequence[Cell], protocol: str, rule: Rule, is_settled: Callable[[RunSummary], bool]
) -> Looked[str]:
    """Returns a table's cells after all looks for which their runs are there.

    Args:
        cells: with the runs of all seeds there may be.
        protocol: by which differences are judged.
        rule: of the looks.
        is_settled: whether a run is complete, or will not be: a look waits for all others.
    """
    by_key = {cell.key: cell for cell in cells if cell.runs}
    families = {str(name): list(pairs.values()) for name, pairs in _families(by_key).items()}
    table = begin(list(by_key), families, rule)

    def held(seeds: Mapping[str, int]) -> dict[Names, Moderated]:
        return _differences(by_key, seeds, protocol, rule)

    while (wanted := table.wanted) is not None and all(map(is_settled, _runs(by_key, wanted))):
        table = look(table, held)
    return table


def _runs(cells: Mapping[str, Cell], seeds: Mapping[str, int]) -> Iterator[RunSummary]:
    for key, cell in cells.items():
        yield from first_seeds(cell, seeds[key]).runs


def _families(cells: Mapping[str, Cell]) -> dict[Family, dict[Pair, Names]]:
    """Returns the comparisons of each family, those of the same runs once."""
    families: dict[Family, dict[Pair, Names]] = {"claims": {}, "controls": {}}
    for cell in cells.values():
        if cell.kind != "method":
            continue
        others: list[tuple[Family, str | None]] = [("claims", cell.baseline_key)]
        others += [("controls", key) for key in cell.control_keys]
        for family, key in others:
            if key is not None and (pair := (_ids(cell), _ids(cells[key])))[0] != pair[1]:
                families[family].setdefault(pair, (cell.key, key))
    return families


def _ids(cell: Cell) -> frozenset[str]:
    return frozenset(run.run_id for run in cell.runs)


def _differences(
    cells: Mapping[str, Cell], seeds: Mapping[str, int], protocol: str, rule: Rule
) -> dict[Names, Moderated]:
    """Returns the differences of cells that are whole, where each has so many seeds."""
    cut = {key: first_seeds(cell, seeds[key]) for key, cell in cells.items()}
    whole = {key for key, cell in cut.items() if len(cell.complete) == len(cell.runs)}
    found = Differences(cut.values(), protocol, rule.margin)
    pairs = {names for pairs in _families(cut).values() for names in pairs.values()}
    held = ((names, found.held(*names)) for names in pairs if whole.issuperset(names))
    return {names: moderated for names, moderated in held if moderated is not None}


class LookedDifferences(Differences):
    """The differences of a table as its looks decided them, each with the seeds of its look."""

    def __init__(self, cells: Sequence[Cell], protocol: str, looked: Looked[str]) -> None:
        """Takes from the looks what was judged.

        Args:
            cells: with the runs of the looks so far.
            protocol: by which they were judged.
            looked: the table after those looks.
        """
        rule = looked.rule
        super().__init__(cells, protocol, rule.margin, rule.level_of_look)
        self.looked = looked
        self._names = _families({cell.key: cell for cell in cells if cell.runs})
        for family, pairs in self._names.items():
            seen = {pair: looked.seen(family, names) for pair, names in pairs.items()}
            self.families[family] = {p: each.moderated for p, each in seen.items() if each}
            self._decisions[family] = {p: each.decision for p, each in seen.items() if each}

    def compare(self, cell: Cell, other: str | None, family: Family) -> Comparison | None:
        """Returns a comparison as the look found it that decided it, or the last there was."""
        plain = super().compare(cell, other, family)
        if plain is None or other is None:
            return plain
        names = self._names[family].get((self._runs[cell.key], self._runs[other]))
        seen = self.looked.seen(family, names) if names else None
        if seen is None:
            return plain
        both = [first_seeds(self.cells[key], seen.seeds) for key in (cell.key, other)]
        alone = [replace(each, baseline_key=None, control_keys=()) for each in both]
        then = Differences(alone, self.protocol)
        return replace(
            plain,
            difference=then.difference(cell.key, other),
            moderated=seen.moderated,
            decision=seen.decision,
            look=seen.seeds,
        )
