"""Means, deviations and differences over seeds: pure functions of numbers.

What they decide is said in `deciding`. Nothing is read, printed or drawn. `ttest_ind` and
`ttest_rel` of scipy say the same to 1e-12, which the tests check; they take thirty times as long,
of which a report on thousands of cells has no end, and warn where nothing varies.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

LEVEL = 0.05
PAPER_RUNS = 3  # where a paper does not say; "mean±std over 3 runs" (Yuan et al. 2020)
LEAST_TOLERANCE = 0.4  # points of accuracy: the papers' own inconsistencies are of that size
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        values: one per run.
        mean: of them.
        deviation: with n - 1 in the denominator; None for one value.
        half_width: of the mean's 95 % interval (Student's t); None for one value.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float | None
    half_width: float | None

    @property
    def n(self) -> int:
        """How many runs."""
        return len(self.values)


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of a difference, its degrees of freedom and two-sided p value."""

    low: float
    high: float
    df: float
    p: float


@dataclass(frozen=True)
class Difference:
    """Ours minus another cell's.

    Attributes:
        mean: of ours minus the mean of the other.
        welch: for independent runs of unequal variance; None where a side has one run, or
            neither varies.
        paired: by seed, over the seeds that both have; None likewise.
    """

    mean: float
    welch: Interval | None
    paired: Interval | None

    @property
    def p(self) -> float | None:
        """Welch's p."""
        return self.welch.p if self.welch else None


@dataclass(frozen=True)
class Compatibility:
    """Whether our mean is compatible with a paper's.

    Attributes:
        difference: ours minus the paper's.
        tolerance: max(0.4, t sqrt(s^2 / n + s_paper^2 / m)), m the paper's runs (3 where not said).
        compatible: |difference| <= tolerance.
    """

    difference: float
    tolerance: float
    compatible: bool


def estimate(values: Sequence[float]) -> Estimate:
    """Returns mean, deviation (n - 1) and 95 % half-width; the last two need two values.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("an estimate needs at least one value")
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return Estimate(tuple(values), mean, None, None)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    return Estimate(tuple(values), mean, deviation, _t(n - 1) * deviation / math.sqrt(n))


def difference(ours: Mapping[Key, float], other: Mapping[Key, float]) -> Difference:
    """Compares two cells, each a value per seed, or whatever else pairs two runs.

    Args:
        ours: at least one value.
        other: likewise.
    """
    a, b = estimate(list(ours.values())), estimate(list(other.values()))
    pairs = [value - other[seed] for seed, value in ours.items() if seed in other]
    return Difference(a.mean - b.mean, _welch(a, b), _paired(pairs))


def _welch(a: Estimate, b: Estimate) -> Interval | None:
    if a.deviation is None or b.deviation is None:
        return None
    return interval_of(a.mean - b.mean, *_error_of(a.deviation, a.n, b.deviation, b.n))


def _error_of(s_a: float, n_a: int, s_b: float, n_b: int) -> tuple[float, float]:
    return standard_error(s_a**2 / n_a, n_a - 1, s_b**2 / n_b, n_b - 1)


def standard_error(a: float, df_a: float, b: float, df_b: float) -> tuple[float, float]:
    """Returns the standard error of a difference and Welch-Satterthwaite's degrees of freedom.

    Args:
        a, b: variances of the two means.
        df_a, df_b: of these variances, above 0.
    """
    if a + b == 0:
        return 0.0, df_a + df_b
    return math.sqrt(a + b), (a + b) ** 2 / (a**2 / df_a + b**2 / df_b)


def _paired(pairs: Sequence[float]) -> Interval | None:
    if len(pairs) < 2:
        return None
    found = estimate(pairs)
    assert found.deviation is not None
    return interval_of(found.mean, found.deviation / math.sqrt(found.n), float(found.n - 1))


def interval_of(mean: float, error: float, df: float) -> Interval | None:
    """Returns the 95 % interval of a mean; None where nothing varied, so nothing can be claimed.

    Args:
        mean: of whatever.
        error: its standard error, with `df` degrees of freedom.
    """
    if error <= 1e-12 * max(1.0, abs(mean)):
        return None
    from scipy import special

    half = _t(df) * error
    p = 2 * float(special.stdtr(df, -abs(mean) / error))
    return Interval(mean - half, mean + half, df, p)


def _t(df: float) -> float:
    """Returns Student's t of the level; the function that `scipy.stats.t` calls."""
    from scipy import special

    return float(special.stdtrit(df, 1 - LEVEL / 2))


def holm(family: Mapping[Key, float | None]) -> dict[Key, float | None]:
    """Returns Holm's step-down p values over all that have one; None for the others."""
    tested = sorted((p, i) for i, p in enumerate(family.values()) if p is not None)
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = highest
    return {key: adjusted.get(index) for index, key in enumerate(family)}


def compatibility(
    values: Sequence[float],
    paper: float,
    paper_deviation: float | None,
    paper_runs: int | None = None,
) -> Compatibility | None:
    """Holds our runs against a paper's mean; None for one run, of which nothing is claimed.

    Args:
        values: ours, at the protocol that the paper reports.
        paper: its mean.
        paper_deviation: its deviation over its runs; None: not printed, ours is taken.
        paper_runs: how many those are; None: it does not say, and `PAPER_RUNS` are taken.
    """
    ours = estimate(values)
    if ours.deviation is None:
        return None
    s_paper = ours.deviation if paper_deviation is None else paper_deviation
    error, df = _error_of(ours.deviation, ours.n, s_paper, paper_runs or PAPER_RUNS)
    tolerance = max(LEAST_TOLERANCE, _t(df) * error)
    gap = ours.mean - paper
    # A difference that rounding alone put beyond the tolerance is within it.
    return Compatibility(gap, tolerance, abs(gap) <= tolerance + 1e-9)
