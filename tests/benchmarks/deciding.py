"""What `seeds=auto` claims falsely, what it finds, and how many runs it saves: made tables.

    python tests/benchmarks/deciding.py [--tables 1000] [--seed 0]

A table has two networks, each with a baseline, two controls and six methods, of which each is held
against the baseline and against a control: 12 claims and 12 comparisons with controls. A cell's
variance is 0.3 ** 2 over a chi-square's share of its mean (4 degrees of freedom), its runs are
normal. In a *null* table all cells are equal, at the *margin* every method is half a point above
baseline and controls (so that every "equivalent" is false), in a *mixed* one differences to the
baseline are drawn from 0, 0.2, 0.5, 1 and 2 points, of either sign. Half of the tables are mixed.
A table is decided by looks at 3, 5, 8 and 12 seeds, and at once with 12 and with 3, by the same
rule. Better where
nothing is better, worse likewise, equivalent at the margin or beyond it: a claim that is false. The
last line is one JSON object, each figure a percentage:

    false_auto, false_12, false_3   tables with any false claim
    false_null, false_margin, false_mixed   likewise by looks, of each kind
    power_auto, power_12, power_3   differences of one or two points that are shown (mixed tables)
    equal_auto, equal_12, equal_3   differences of 0 that are shown to be within half a point (null)
    runs_saved                      by looks, against 12 seeds for every cell
    runs_saved_null, runs_saved_margin, runs_saved_mixed   likewise
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdlsr.reporting.looking import LOOKS, Looked, Pair, Rule, begin, look
from kdlsr.reporting.moderation import PRIOR_DF, Moderated, moderated, prior_of, worth_at_most
from kdlsr.reporting.statistics import estimate

NETWORKS, CONTROLS, METHODS = 2, 2, 6
DEVIATION, SPREAD_DF = 0.3, 4
MARGIN = 0.5
EFFECTS = (0.0, 0.2, -0.2, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0)
KINDS = ("null", "margin", "mixed", "mixed")
Cell = str


@dataclass(frozen=True)
class Made:
    """A table: true means, all runs there could be, and what is compared."""

    kind: str
    means: Mapping[Cell, float]
    runs: Mapping[Cell, NDArray[np.float64]]
    families: Mapping[str, list[Pair[Cell]]]

    def held(self, seeds: Mapping[Cell, int]) -> dict[Pair[Cell], Moderated]:
        """The differences, with so many seeds a cell; a prior for each network."""
        found = {cell: estimate(self.runs[cell][:n].tolist()) for cell, n in seeds.items()}
        priors = {
            network: worth_at_most(
                prior_of([e for cell, e in found.items() if cell[0] == network]), PRIOR_DF
            )
            for network in {cell[0] for cell in found}
        }
        pairs = {pair for pairs in self.families.values() for pair in pairs}
        return {(a, b): moderated(found[a], found[b], priors[a[0]]) for a, b in pairs}

    def is_false(self, pair: Pair[Cell], verdict: str) -> bool:
        """Whether a verdict claims what is not so."""
        true = self.means[pair[0]] - self.means[pair[1]]
        small = 1e-9
        return {
            "better": true <= small,
            "worse": true >= -small,
            "equivalent": abs(true) >= MARGIN - small,
        }.get(verdict, False)


def make(kind: str, rng: np.random.Generator) -> Made:
    """Draws a table of one kind."""
    means: dict[Cell, float] = {}
    families: dict[str, list[Pair[Cell]]] = {"claims": [], "controls": []}
    for network in map(str, range(NETWORKS)):
        baseline = f"{network} baseline"
        controls = [f"{network} control {i}" for i in range(CONTROLS)]
        methods = [f"{network} method {i}" for i in range(METHODS)]
        gain = {"null": lambda: 0.0, "margin": lambda: MARGIN}.get(
            kind, lambda: float(rng.choice(EFFECTS))
        )
        of_controls = {"mixed": gain}.get(kind, lambda: 0.0)
        means |= {baseline: 0.0} | {c: of_controls() for c in controls}
        means |= {method: gain() for method in methods}
        families["claims"] += [(method, baseline) for method in methods]
        families["controls"] += [(m, controls[i % CONTROLS]) for i, m in enumerate(methods)]
    deviations = DEVIATION * np.sqrt(SPREAD_DF / rng.chisquare(SPREAD_DF, len(means)))
    draws = rng.normal(0, 1, (len(means), LOOKS[-1]))
    runs = {
        cell: 70 + means[cell] + deviation * row
        for cell, deviation, row in zip(means, deviations, draws, strict=True)
    }
    return Made(kind, means, runs, families)


def decided(made: Made, looks: tuple[int, ...]) -> Looked[Cell]:
    """Looks at a table until nothing is wanted."""
    table = begin(list(made.means), made.families, Rule(looks, MARGIN))
    while table.wanted is not None:
        table = look(table, made.held)
    return table


@dataclass(frozen=True)
class Outcome:
    """What a way of deciding made of one table."""

    kind: str
    is_false: bool
    shown: tuple[int, int]  # of how many differences of a point or more
    equal: tuple[int, int]  # of how many differences of 0
    runs: int


def outcome(made: Made, table: Looked[Cell]) -> Outcome:
    verdicts = {
        (family, pair): seen.decision.verdict
        for family, pairs in table.families.items()
        for pair, seen in pairs.items()
        if seen
    }
    true = {key: made.means[key[1][0]] - made.means[key[1][1]] for key in verdicts}
    large = [verdicts[key] in ("better", "worse") for key, d in true.items() if abs(d) >= 0.99]
    equal = [verdicts[key] == "equivalent" for key, d in true.items() if d == 0]
    return Outcome(
        made.kind,
        any(made.is_false(key[1], verdict) for key, verdict in verdicts.items()),
        (sum(large), len(large)),
        (sum(equal), len(equal)),
        sum(table.seeds.values()),
    )


WAYS = {"auto": LOOKS, "12": LOOKS[-1:], "3": LOOKS[:1]}


def simulate(tables: int, seed: int) -> dict[str, list[Outcome]]:
    """Returns what each way of deciding made of so many tables."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[Outcome]] = {way: [] for way in WAYS}
    for number in range(tables):
        made = make(KINDS[number % len(KINDS)], rng)
        for way, looks in WAYS.items():
            found[way].append(outcome(made, decided(made, looks)))
    return found


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1)


def figures(found: Mapping[str, list[Outcome]]) -> dict[str, float]:
    """Returns the figures of the last line."""
    result: dict[str, float] = {}
    for way, outcomes in found.items():
        result[f"false_{way}"] = _percent(sum(o.is_false for o in outcomes), len(outcomes))
        mixed = [o.shown for o in outcomes if o.kind == "mixed"]
        null = [o.equal for o in outcomes if o.kind == "null"]
        result[f"power_{way}"] = _percent(sum(a for a, _ in mixed), sum(n for _, n in mixed))
        result[f"equal_{way}"] = _percent(sum(a for a, _ in null), sum(n for _, n in null))
    fixed = NETWORKS * (1 + CONTROLS + METHODS) * LOOKS[-1]
    auto = found["auto"]
    result["runs_saved"] = _percent(sum(fixed - o.runs for o in auto), fixed * len(auto))
    for kind in dict.fromkeys(KINDS):
        of_kind = [o for o in auto if o.kind == kind]
        result[f"false_{kind}"] = _percent(sum(o.is_false for o in of_kind), len(of_kind))
        saved = sum(fixed - o.runs for o in of_kind)
        result[f"runs_saved_{kind}"] = _percent(saved, fixed * len(of_kind))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    found = figures(simulate(chosen.tables, chosen.seed))
    for name, value in found.items():
        print(f"{name:24s} {value:6.1f} %")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
