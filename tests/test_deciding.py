"""Verdicts: hand-made cases, closed forms, a simulation of power, and what must not change them."""

import itertools
import math
from typing import get_args

import numpy as np
import pytest
from scipy import stats

from kdlsr.reporting.deciding import (
    MOST_SEEDS,
    ClaimVerdict,
    Verdict,
    claim_verdict,
    decide,
    judge,
    p_difference,
    p_equivalence,
    power_of_difference,
    power_of_equivalence,
    seeds_needed,
    undecided,
)
from kdlsr.reporting.moderation import Moderated, Spread, moderated
from kdlsr.reporting.statistics import estimate

UNTESTED = moderated(estimate([70.0]), estimate([68.0, 69.0]), None)


def found(mean: float, error: float = 0.2, df: float = 20, n: int = 3) -> Moderated:
    """A difference of two cells of n seeds with a standard error and degrees of freedom."""
    side = Spread(error**2 * n / 2, df, n)
    return Moderated(mean, side, side, df)


@pytest.mark.parametrize(
    ("mean", "error", "verdict"),
    [
        (3.0, 0.2, "better"),
        (-3.0, 0.2, "worse"),
        (0.1, 0.1, "equivalent"),
        (0.3, 0.05, "equivalent"),  # shown to be there, and to be too small to matter
        (0.1, 0.5, "undecided"),
        (0.7, 0.5, "undecided"),
    ],
)
def test_each_verdict_of_one_difference(mean: float, error: float, verdict: Verdict) -> None:
    assert decide({0: found(mean, error)}) == {0: verdict}


def test_equivalence_is_two_one_sided_tests() -> None:
    for mean in (-0.7, -0.3, 0.0, 0.1, 0.45):
        each = found(mean)
        below = stats.t.cdf((mean - 0.5) / each.error, each.df)
        above = stats.t.sf((mean + 0.5) / each.error, each.df)
        assert p_equivalence(each, 0.5) == pytest.approx(max(below, above), rel=1e-10)
        low, high = stats.t.interval(0.9, each.df, mean, each.error)
        assert (decide({0: each}) == {0: "equivalent"}) == (low > -0.5 and high < 0.5)


def test_with_a_margin_of_0_nothing_is_equivalent() -> None:
    assert decide({0: found(0.0, 1e-6)}, margin=0) == {0: "undecided"}


def test_holms_correction_is_of_each_question_for_itself() -> None:
    family = {i: found(m) for i, m in enumerate((0.5, 0.6, -0.7, 0.0, 0.05, 9.0))}
    judged = judge(family)
    for question in (p_difference, lambda each: p_equivalence(each, 0.5)):
        raw = [question(each) for each in family.values()]
        order = sorted(range(6), key=lambda i: raw[i])
        highest, expected = 0.0, {}
        for rank, i in enumerate(order):
            highest = max(highest, min(1, (6 - rank) * raw[i]))
            expected[i] = highest
        name = "p_difference" if question is p_difference else "p_equivalence"
        assert {i: getattr(j, name) for i, j in judged.items()} == pytest.approx(expected)


def test_a_larger_family_decides_no_more_of_the_same_differences() -> None:
    random = np.random.Generator(np.random.Philox(5))
    for _ in range(30):
        family = {i: found(m) for i, m in enumerate(random.normal(0, 0.6, 8))}
        few = decide(dict(itertools.islice(family.items(), 3)))
        many = decide(family)
        for key, verdict in few.items():
            assert many[key] in (verdict, "undecided") or verdict == "equivalent"
        assert set(undecided([family])) >= {k for k, v in few.items() if v == "undecided"}


def test_the_order_of_a_family_does_not_matter_and_its_signs_only_turn_verdicts() -> None:
    means = (0.5, -3.0, 0.02, 0.9, -0.4)
    family = {i: found(m) for i, m in enumerate(means)}
    turned = decide({i: found(-m) for i, m in enumerate(means)})
    other: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
    assert decide(dict(reversed(family.items()))) == decide(family)
    assert {k: other.get(v, v) for k, v in turned.items()} == decide(family)


def test_what_cannot_be_tested_is_undecided_and_takes_no_part_in_the_correction() -> None:
    alone, beside = judge({0: found(0.5)}), judge({0: found(0.5), "one run": UNTESTED})
    assert beside[0] == alone[0]
    assert beside["one run"].verdict == "undecided"
    assert beside["one run"].p_difference is None
    assert beside["one run"].seeds_needed is None
    assert judge({}) == {}


def test_undecided_lists_each_difference_of_any_family_once() -> None:
    open_one, shut = found(0.3), found(5.0)
    claims, controls = {"a": open_one, "b": shut}, {"a": open_one, "c": open_one}
    assert undecided([claims, controls]) == ["a", "c"]
    assert undecided([claims], level=1e-30) == ["a", "b"]


def test_powers_are_those_of_a_simulation() -> None:
    """An independent one: means and chi-square variances are drawn, and tested in NumPy."""
    random = np.random.Generator(np.random.Philox(11))
    draws, df = 200_000, 9
    for mean, error in ((0.9, 0.3), (0.1, 0.15), (2.0, 0.5)):
        means = mean + error * random.standard_normal(draws)
        errors = error * np.sqrt(random.chisquare(df, draws) / df)
        shown = np.mean(means / errors > stats.t.isf(0.01, df))
        small = np.mean(np.abs(means) + stats.t.isf(0.02, df) * errors < 0.5)
        each = found(mean, error, df)
        assert power_of_difference(each, 0.02) == pytest.approx(shown, abs=0.005)
        bound = power_of_equivalence(each, 0.5, 0.02)
        assert bound < small + 0.005
        assert bound > small - 0.05


def test_a_power_of_a_huge_difference_is_1_and_continues_where_scipy_ends() -> None:
    assert power_of_difference(found(1e9), 1e-9) == 1
    near = [power_of_difference(found(m * 0.2, df=2), 0.001) for m in (36.9, 37.1)]
    assert near[0] < near[1] < near[0] + 0.01
    assert power_of_equivalence(found(7.0), 0.5, 0.05) == 0


def test_the_seeds_that_are_needed_give_80_percent_and_one_less_does_not() -> None:
    for mean in (0.0, 0.2, 0.45, 0.8, 1.5, -2.0):
        each = found(mean, 0.5, 12)
        needed = seeds_needed(each, 0.5, 0.05, 0.05)
        assert needed is not None
        assert each.ours.n < needed < MOST_SEEDS
        for n, enough in ((int(needed), True), (int(needed) - 1, False)):
            more = each.with_seeds(n)
            powers = power_of_difference(more, 0.05), power_of_equivalence(more, 0.5, 0.05)
            assert (max(powers) >= 0.8) == enough or n == each.ours.n


def test_more_seeds_are_needed_for_more_spread_a_stricter_level_and_a_smaller_difference() -> None:
    plain = seeds_needed(found(1.0, 0.7), 0.5, 0.05, 0.05)
    assert plain is not None
    for harder in (
        seeds_needed(found(1.0, 1.0), 0.5, 0.05, 0.05),
        seeds_needed(found(1.0, 0.7), 0.5, 0.005, 0.005),
        seeds_needed(found(0.8, 0.7), 0.5, 0.05, 0.05),
    ):
        assert harder is not None
        assert harder > plain
    assert seeds_needed(found(0.5, 9.0), 0.5, 0.05, 0.05) == math.inf
    assert seeds_needed(UNTESTED, 0.5, 0.05, 0.05) is None


def test_only_what_is_undecided_needs_seeds() -> None:
    judged = judge({i: found(m) for i, m in enumerate((5.0, -5.0, 0.0, 0.45))})
    assert [j.verdict for j in judged.values()] == ["better", "worse", "equivalent", "undecided"]
    assert [j.seeds_needed is None for j in judged.values()] == [True, True, True, False]


@pytest.mark.parametrize(
    ("baseline", "controls", "said"),
    [
        ("worse", ["better"], "no gain"),
        ("equivalent", [], "no gain"),
        ("undecided", ["equivalent"], "undecided"),
        ("better", [], "gain shown, without a control"),
        ("better", ["better"], "gain shown and survives its control"),
        ("better", ["better", "better"], "gain shown and survives its control"),
        ("better", ["better", "equivalent"], "gain shown and explained by its control"),
        ("better", ["undecided", "worse"], "gain shown and explained by its control"),
        ("better", ["better", "undecided"], "undecided"),
    ],
)
def test_what_is_said_of_a_claim(
    baseline: Verdict, controls: list[Verdict], said: ClaimVerdict
) -> None:
    assert claim_verdict(baseline, controls) == said


def test_a_claim_survives_no_worse_a_control() -> None:
    """Turning any verdict on a control for the worse never makes a claim better."""
    order: list[ClaimVerdict] = [
        "gain shown and explained by its control",
        "undecided",
        "gain shown and survives its control",
    ]
    ranks: dict[Verdict, int] = {"worse": 0, "equivalent": 0, "undecided": 1, "better": 2}
    assert set(ranks) == set(get_args(Verdict))
    for pair in itertools.product(ranks, repeat=2):
        for lower, rank in ranks.items():
            if rank <= ranks[pair[1]]:
                turned = claim_verdict("better", [pair[0], lower])
                assert order.index(turned) <= order.index(claim_verdict("better", pair))
