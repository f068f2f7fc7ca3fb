"""Statistics against scipy's own tests, hand-made cases and an independent correction."""

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from kdlsr.reporting.statistics import (
    compatibility,
    difference,
    estimate,
    holm,
)

# Accuracies as they come: two decimals, few seeds, unequal spread.
OURS = {0: 71.05, 1: 71.32, 2: 70.88}
OTHER = {0: 68.38, 1: 68.91, 2: 67.75, 3: 68.40, 4: 68.52}
# t at 97.5 % for 2, 3, 4 degrees of freedom, from a printed table.
T_2, T_3, T_4 = 4.303, 3.182, 2.776


def test_an_estimate_is_the_mean_with_n_minus_1_deviation_and_students_interval() -> None:
    found = estimate([97.0, 98.0, 99.5])
    assert found.mean == pytest.approx(98.1666667)
    assert found.deviation == pytest.approx(statistics.stdev([97.0, 98.0, 99.5]))
    assert found.deviation is not None
    assert found.half_width == pytest.approx(T_2 * found.deviation / math.sqrt(3), rel=1e-3)
    reference = stats.ttest_1samp([97.0, 98.0, 99.5], 0).confidence_interval(0.95)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (reference.low, reference.high)
    )


def test_one_value_has_a_mean_and_no_spread() -> None:
    found = estimate([97.5])
    assert (found.mean, found.n, found.deviation, found.half_width) == (97.5, 1, None, None)


def test_no_value_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        estimate([])


@pytest.mark.parametrize("swapped", [False, True])
def test_welch_is_scipys_test_of_unequal_variance(swapped: bool) -> None:
    ours, other = (OTHER, OURS) if swapped else (OURS, OTHER)
    reference = stats.ttest_ind(list(ours.values()), list(other.values()), equal_var=False)
    low, high = reference.confidence_interval(0.95)
    found = difference(ours, other)
    assert found.welch is not None
    assert found.welch.low == pytest.approx(low, rel=1e-12)
    assert found.welch.high == pytest.approx(high, rel=1e-12)
    assert found.welch.p == pytest.approx(reference.pvalue, rel=1e-12)
    assert found.welch.df == pytest.approx(reference.df, rel=1e-12)
    assert found.mean == pytest.approx(np.mean(list(ours.values())) - np.mean(list(other.values())))


def test_welch_holds_where_one_side_alone_varies() -> None:
    found = difference(OURS, {0: 70.9, 1: 70.9})
    deviation = statistics.stdev(OURS.values())
    assert found.welch is not None
    assert found.welch.df == pytest.approx(2.0)
    half = (found.welch.high - found.welch.low) / 2
    assert half == pytest.approx(T_2 * deviation / math.sqrt(3), rel=1e-3)


def test_the_paired_interval_is_scipys_over_the_seeds_that_both_have() -> None:
    shuffled = {2: OURS[2], 7: 40.0, 0: OURS[0], 1: OURS[1]}
    found = difference(shuffled, OTHER)
    reference = stats.ttest_rel([OURS[s] for s in range(3)], [OTHER[s] for s in range(3)])
    low, high = reference.confidence_interval(0.95)
    assert found.paired is not None
    assert (found.paired.low, found.paired.high) == pytest.approx((low, high), rel=1e-12)
    assert found.paired.p == pytest.approx(reference.pvalue, rel=1e-12)
    assert found.paired.df == reference.df


def test_seeds_that_are_not_shared_are_never_paired() -> None:
    found = difference({0: 97.0, 1: 98.0}, {1: 96.0, 2: 95.0})
    assert found.paired is None
    assert found.welch is not None


@pytest.mark.parametrize(
    ("ours", "other"),
    [({0: 99.0}, {0: 50.0}), ({0: 99.0}, {0: 50.0, 1: 51.0}), ({0: 99.0, 1: 98.0}, {0: 50.0})],
)
def test_with_one_run_on_a_side_nothing_is_claimed(
    ours: dict[int, float], other: dict[int, float]
) -> None:
    found = difference(ours, other)
    assert found.welch is None
    assert found.p is None
    assert found.mean > 40


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.7, 20.0])
def test_runs_that_do_not_vary_claim_nothing(gap: float) -> None:
    """Not even through the rounding of binary fractions: 97.4 three times has no spread."""
    ours = dict.fromkeys(range(3), 97.4 + gap)
    found = difference(ours, dict.fromkeys(range(3), 97.4))
    assert (found.welch, found.paired) == (None, None)


def test_equal_gains_at_every_seed_give_no_paired_interval() -> None:
    other = {0: 97.2, 1: 97.6, 2: 98.1}
    found = difference({seed: value + 0.3 for seed, value in other.items()}, other)
    assert found.paired is None
    assert found.welch is not None


def test_holms_correction_of_a_case_worked_by_hand() -> None:
    """Holm 1979: the smallest of m times m, the next m - 1, ..., never less than one before."""
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert list(found) == ["a", "b", "c", "d"]


def test_holms_correction_is_a_shortcut_for_closed_testing_with_bonferroni() -> None:
    """A hypothesis' p is the largest Bonferroni p over all subsets of the family it is in."""
    random = np.random.Generator(np.random.Philox(7))
    for _ in range(20):
        ps = random.beta(0.4, 2.0, size=5).tolist()
        subsets = [s for n in range(1, 6) for s in itertools.combinations(range(5), n)]
        expected = [
            max(min(1.0, len(s) * min(ps[j] for j in s)) for s in subsets if i in s)
            for i in range(5)
        ]
        assert list(holm(dict(enumerate(ps))).values()) == pytest.approx(expected)


def test_what_cannot_be_tested_is_no_part_of_the_family() -> None:
    found = holm({"untested": None, "a": 0.03, "b": 0.02})
    assert found == {"untested": None, "a": pytest.approx(0.04), "b": pytest.approx(0.04)}


def test_no_p_value_exceeds_1_and_an_empty_family_is_empty() -> None:
    assert holm({1: 0.9, 2: 0.6}) == {1: 1.0, 2: 1.0}
    assert holm({}) == {}


def test_welchs_interval_agrees_with_its_p_value() -> None:
    random = np.random.Generator(np.random.Philox(3))
    for gain in np.linspace(-2, 2, 41):
        ours = dict(enumerate(98 + gain + 0.4 * random.standard_normal(3)))
        found = difference(ours, dict(enumerate(98 + 0.4 * random.standard_normal(3))))
        assert found.welch is not None
        excludes_zero = found.welch.low > 0 or found.welch.high < 0
        assert excludes_zero == (found.welch.p < 0.05)


def test_compatibility_of_a_case_worked_by_hand() -> None:
    """s = 1, n = 3, the paper's 2: error sqrt(1/3 + 4/3), df (5/3)^2 / (1/18 + 16/18) = 2.94."""
    found = compatibility([70.0, 71.0, 72.0], 75.0, 2.0)
    assert found is not None
    assert found.difference == pytest.approx(-4.0)
    t = stats.t.ppf(0.975, (25 / 9) / (17 / 18))
    assert T_3 < t < T_2
    assert found.tolerance == pytest.approx(t * math.sqrt(5 / 3))
    assert found.compatible
    assert not compatibility([70.0, 71.0, 72.0], 75.3, 2.0).compatible  # type: ignore[union-attr]


def test_an_unprinted_deviation_is_taken_as_ours() -> None:
    """s = 1 both: error sqrt(2/3), df 4, and so 2.776 x 0.8165."""
    found = compatibility([70.0, 71.0, 72.0], 71.0, None)
    assert found is not None
    assert found.tolerance == pytest.approx(T_4 * math.sqrt(2 / 3), rel=1e-3)
    assert found == compatibility([70.0, 71.0, 72.0], 71.0, 1.0)
    # The paper's runs are three, however many ours are: sqrt(s^2 / 2 + s^2 / 3), df 2.88.
    assert found == compatibility([70.0, 71.0, 72.0], 71.0, None, 3)  # taken where none are stated
    five = compatibility([70.0, 71.0, 72.0], 71.0, 1.0, 5)
    assert five is not None
    assert found is not None
    assert five.tolerance < found.tolerance
    two = compatibility([70.0, 71.0], 70.5, None)
    assert two is not None
    df = (5 / 6) ** 2 / (1 / 4 + 1 / 18)
    assert two.tolerance == pytest.approx(stats.t.ppf(0.975, df) * math.sqrt(0.5 * 5 / 6))


@pytest.mark.parametrize(("paper", "compatible"), [(71.4, True), (70.6, True), (71.41, False)])
def test_the_tolerance_is_never_below_0_4(paper: float, compatible: bool) -> None:
    found = compatibility([71.0, 71.0, 71.0], paper, None)
    assert found is not None
    assert (found.tolerance, found.compatible) == (0.4, compatible)


def test_one_run_is_not_held_against_a_paper() -> None:
    assert compatibility([71.0], 71.0, 0.1) is None
