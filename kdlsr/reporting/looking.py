"""Seeds until decided: looks at a table, each with more seeds, and what they decide.

A look judges every comparison that is not decided, with exactly so many seeds a cell, the first
ones; what it decides stays, and only the cells of what it leaves undecided get more. Peeking is
paid for by Bonferroni's correction over the looks: each judges at level / looks. The p of a
comparison at a look is then part of a p value (looks times the least of them) that holds however
looks depend on each other, wherever a table is left, and whoever else's seeds a cell has; Holm's
correction at a look is over the whole family, with what was decided before as it was.

Pure functions. Why not an always-valid sequence: it allows any number of looks and pays for them at
each; here four are planned. `tests/benchmarks/deciding.py` says what this rule does on made tables.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from kdlsr.reporting.deciding import MARGIN, Decision, judge
from kdlsr.reporting.moderation import Moderated
from kdlsr.reporting.statistics import LEVEL

LOOKS = (3, 5, 8, 12)
Name = TypeVar("Name", bound=Hashable)  # of a cell


@dataclass(frozen=True)
class Rule:
    """How a table is looked at.

    Attributes:
        looks: seeds a cell at each, rising.
        margin: as for `judge`.
        level: over all looks together.
    """

    looks: tuple[int, ...] = LOOKS
    margin: float = MARGIN
    level: float = LEVEL

    @property
    def level_of_look(self) -> float:
        """At which each look judges."""
        return self.level / len(self.looks)


@dataclass(frozen=True)
class Seen:
    """A comparison as the last look at it found it.

    Attributes:
        look: its number, from 1: the one that decided it, or the last there was.
        seeds: of each of the two cells.
        moderated: the difference at that look.
        decision: on it, at the level of one look.
    """

    look: int
    seeds: int
    moderated: Moderated
    decision: Decision

    @property
    def is_decided(self) -> bool:
        """Whether no more seeds are wanted."""
        return self.decision.verdict != "undecided"


Pair = tuple[Name, Name]
Families = Mapping[str, Mapping[Pair[Name], Seen | None]]
Held = Callable[[Mapping[Name, int]], Mapping[Pair[Name], Moderated]]


@dataclass(frozen=True)
class Looked(Generic[Name]):
    """A table after some looks.

    Attributes:
        rule: by which it is looked at.
        families: each comparison, by family; None before the first look at it, and for one that
            could not be made then.
        seeds: with how many each cell was looked at; a cell of no comparison with the first look's.
        looks: how many there were.
        open: what the next look judges: all that is neither decided nor impossible.
    """

    rule: Rule
    families: Families[Name]
    seeds: Mapping[Name, int]
    looks: int = 0
    open: frozenset[Pair[Name]] = field(default_factory=frozenset)

    @property
    def wanted(self) -> Mapping[Name, int] | None:
        """How many seeds each cell has at the next look; None where there is none."""
        if self.looks == 0:
            return dict.fromkeys(self.seeds, self.rule.looks[0])
        if self.looks == len(self.rule.looks) or not self.open:
            return None
        more = {name for pair in self.open for name in pair}
        n = self.rule.looks[self.looks]
        return {name: n if name in more else had for name, had in self.seeds.items()}

    @property
    def unmade(self) -> int:
        """How many comparisons no look could make: runs failed, or have no such figure."""
        return sum(seen is None for pairs in self.families.values() for seen in pairs.values())

    def seen(self, family: str, pair: Pair[Name]) -> Seen | None:
        """Returns a comparison as the last look at it found it."""
        return self.families[family].get(pair)


def begin(names: list[Name], families: Mapping[str, list[Pair[Name]]], rule: Rule) -> Looked[Name]:
    """Returns a table before its first look.

    Args:
        names: of all cells.
        families: the comparisons of each.
        rule: by which it is looked at.
    """
    unseen = {family: dict.fromkeys(pairs) for family, pairs in families.items()}
    every = frozenset(pair for pairs in families.values() for pair in pairs)
    return Looked(rule, unseen, dict.fromkeys(names, 0), open=every)


def look(table: Looked[Name], held: Held[Name]) -> Looked[Name]:
    """Returns a table after its next look.

    Args:
        table: that wants one.
        held: gives the differences, where cells have so many seeds, the first ones; a difference
            that it does not give, since runs failed, is judged at no later look either.
    """
    assert table.wanted is not None
    number, seeds = table.looks + 1, table.wanted
    found = held(seeds)
    families = {
        family: _judged(pairs, found, table, number) for family, pairs in table.families.items()
    }
    undecided = {
        pair
        for pairs in families.values()
        for pair, seen in pairs.items()
        if pair in table.open and pair in found and not (seen and seen.is_decided)
    }
    return Looked(table.rule, families, seeds, number, frozenset(undecided))


def _judged(
    pairs: Mapping[Pair[Name], Seen | None],
    found: Mapping[Pair[Name], Moderated],
    table: Looked[Name],
    number: int,
) -> dict[Pair[Name], Seen | None]:
    """Judges one family: what was decided takes part in the correction, and stays."""
    rule = table.rule
    new = {p for p, seen in pairs.items() if p in table.open and not (seen and seen.is_decided)}
    figures = {p: found[p] for p in new if p in found}
    figures |= {p: seen.moderated for p, seen in pairs.items() if seen and p not in figures}
    decisions = judge(
        {p: figures[p] for p in pairs if p in figures}, rule.margin, rule.level_of_look
    )
    return {
        pair: Seen(number, rule.looks[number - 1], found[pair], decisions[pair])
        if pair in new and pair in found
        else seen
        for pair, seen in pairs.items()
    }
