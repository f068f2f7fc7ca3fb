"""Looks at a table: what they decide stays, what it costs, and how often it is false."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from kdlsr.reporting.deciding import judge
from kdlsr.reporting.looking import Looked, Pair, Rule, begin, look
from kdlsr.reporting.moderation import Moderated, moderated
from kdlsr.reporting.statistics import estimate

RULE = Rule((3, 5, 8), margin=0.5)
FAMILIES = {
    "claims": [("large", "base"), ("none", "base"), ("small", "base")],
    "controls": [("large", "control")],
}
MEANS = {"base": 70.0, "control": 70.0, "large": 75.0, "small": 70.45, "none": 70.0}
DEVIATIONS = {"small": 0.6}  # of the others: 0.05


def _runs(seed: int = 0) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    return {k: rng.normal(m, DEVIATIONS.get(k, 0.05), 8).tolist() for k, m in MEANS.items()}


class Store:
    """Runs by cell, and with how many seeds of which they were looked at."""

    def __init__(self, runs: Mapping[str, list[float]], failed: tuple[str, ...] = ()) -> None:
        self.runs, self.failed = runs, failed
        self.asked: list[Mapping[str, int]] = []

    def held(self, seeds: Mapping[str, int]) -> dict[Pair[str], Moderated]:
        self.asked.append(dict(seeds))
        found = {cell: estimate(self.runs[cell][:n]) for cell, n in seeds.items()}
        pairs = {pair for pairs in FAMILIES.values() for pair in pairs}
        whole = [pair for pair in pairs if not set(pair) & set(self.failed)]
        return {(a, b): moderated(found[a], found[b], None) for a, b in whole}


def _to_the_end(store: Store) -> Looked[str]:
    table = begin(list(MEANS), FAMILIES, RULE)
    while table.wanted is not None:
        table = look(table, store.held)
    return table


def test_only_the_cells_of_what_is_undecided_get_more_seeds() -> None:
    table = _to_the_end(store := Store(_runs()))
    assert store.asked[0] == dict.fromkeys(MEANS, 3)
    verdicts = {pair: seen for pairs in table.families.values() for pair, seen in pairs.items()}
    large, none, small = (verdicts[name, "base"] for name in ("large", "none", "small"))
    assert large
    assert none
    assert small
    assert (large.decision.verdict, large.look, large.seeds) == ("better", 1, 3)
    assert (none.decision.verdict, none.look) == ("equivalent", 1)
    assert (small.decision.verdict, small.look, small.seeds) == ("undecided", 3, 8)
    assert store.asked[1] == {"base": 5, "control": 3, "large": 3, "small": 5, "none": 3}
    assert table.seeds == {"base": 8, "control": 3, "large": 3, "small": 8, "none": 3}


def test_a_decision_stays_whatever_later_seeds_say() -> None:
    runs = _runs()
    once = _to_the_end(Store(runs))
    changed = {
        k: [*v[:3], *(x - 40 for x in v[3:])] if k == "large" else v for k, v in runs.items()
    }
    assert _to_the_end(Store(changed)) == once


def test_each_look_judges_at_its_share_of_the_level_over_the_whole_family() -> None:
    table = begin(list(MEANS), FAMILIES, RULE)
    store = Store(_runs())
    table = look(table, store.held)
    seeds = dict.fromkeys(MEANS, 3)
    claims = {pair: store.held(seeds)[pair] for pair in FAMILIES["claims"]}
    first = judge(claims, 0.5, 0.05 / 3)
    for pair, decision in first.items():
        seen = table.seen("claims", pair)
        assert seen
        assert seen.decision == decision
    table = look(table, store.held)
    later = {pair: store.held({**seeds, "small": 5, "base": 5})[pair] for pair in claims}
    mixed = claims | {("small", "base"): later["small", "base"]}
    seen = table.seen("claims", ("small", "base"))
    assert seen
    assert seen.decision == judge(mixed, 0.5, 0.05 / 3)["small", "base"]


def test_a_comparison_whose_runs_failed_is_left_and_holds_up_no_other() -> None:
    table = _to_the_end(store := Store(_runs(), failed=("none",)))
    assert table.seen("claims", ("none", "base")) is None
    assert store.asked[-1]["none"] == 3
    assert table.looks == 3


def test_where_all_is_decided_there_is_no_further_look() -> None:
    runs = _runs() | {"small": [70.0 + 0.01 * i for i in range(8)]}
    table = _to_the_end(store := Store(runs))
    assert len(store.asked) == 1
    assert table.wanted is None
    assert set(table.seeds.values()) == {3}


@pytest.fixture(scope="module")
def benchmark() -> Any:
    path = Path(__file__).parent / "benchmarks" / "deciding.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_deciding", path)
    assert spec
    assert spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_few_tables_have_a_false_claim_and_most_large_differences_are_shown(
    benchmark: Any,
) -> None:
    """`tests/benchmarks/deciding.py` does the same with a thousand tables."""
    found = benchmark.figures(benchmark.simulate(40, seed=1))
    assert found["false_auto"] <= 5
    assert found["power_auto"] > 90
    assert found["power_auto"] > found["power_3"] + 10
    assert 5 < found["runs_saved"] < 50
