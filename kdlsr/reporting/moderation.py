"""Deviations over few seeds, shrunk towards those of a network's other cells: pure functions.

Three seeds say little about a cell's variance, the twenty other cells of its network say much
(Smyth 2004, Statistical Applications in Genetics and Molecular Biology 3(1), article 3; limma's
`fitFDist`, `squeezeVar` and `eBayes`). Nothing is decided in here, read or drawn.

A prior that is estimated from a dozen cells of three runs each claims more than it knows: where
the cells' variances spread as a prior of 4 degrees of freedom has them, 9 to 12 % of tables without
any difference had a false claim in one of their two families (6 to 15 cells a network). So it is
worth `PRIOR_DF` at most: then 3 to 5 % have, and differences of a point or more are shown nearly as
often (`tests/benchmarks/deciding.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kdlsr.reporting.statistics import Estimate, Interval, interval_of, standard_error

LEAST_CELLS = 4  # of a network, that its prior is estimated from; fewer: no moderation
OFFSET = 1e-5  # of the median variance: what limma puts in the place of a variance of 0
PRIOR_DF = 4.0  # that a prior is trusted with at most
VARIES = 1e-12  # of the mean: a deviation below it is the rounding of binary fractions


@dataclass(frozen=True)
class Prior:
    """What all cells of a network say of the variance of one.

    Attributes:
        variance: s0^2, points squared.
        df: d0, in degrees of freedom of a cell; inf where the cells differ no more in their
            variances than chance has them differ.
        cells: how many it is estimated from.
        pooled_df: the degrees of freedom that they have together, which no test can exceed.
    """

    variance: float
    df: float
    cells: int
    pooled_df: float


@dataclass(frozen=True)
class Spread:
    """A cell's variance as it is judged.

    Attributes:
        variance: of one run; the posterior's where there is a prior; None where it is not known.
        df: what it is worth.
        n: over how many runs the cell's mean is.
        is_crossed: whether that is over seeds crossed with teachers, and n counts the seeds: more
            of them alone make its error no smaller in proportion.
    """

    variance: float | None
    df: float
    n: int
    is_crossed: bool = False


@dataclass(frozen=True)
class Moderated:
    """A difference of two cells' means, with what is known of its error.

    Attributes:
        mean: ours minus the other's, points.
        ours, other: their spreads.
        pooled_df: at most so many degrees of freedom; inf without a prior.
    """

    mean: float
    ours: Spread
    other: Spread
    pooled_df: float = math.inf

    @property
    def is_tested(self) -> bool:
        """Whether both variances are known: a cell without any variance is not a proof."""
        return self.ours.variance is not None and self.other.variance is not None

    @property
    def error(self) -> float:
        """The standard error of the difference.

        Raises:
            ValueError: it is not tested.
        """
        return self._error_and_df[0]

    @property
    def df(self) -> float:
        """The degrees of freedom of that error, likewise.

        Without a prior Welch-Satterthwaite's. With one, the fewer of the two cells': unlike a
        gene's in limma, a cell has a variance of its own, so that a difference has the error of
        two, each known up to its own posterior (Behrens and Fisher's problem). There the sum's
        distribution is close to Student's t with the fewer degrees of freedom, and has heavier
        tails than Satterthwaite's, which would make of 5 % of false claims up to 10 % (by
        simulation: 9 and 21 cells of a network, n = 3, variances spread by d0 = 2). Where d0 is
        infinite, both variances are s0^2 and the test is that of equal variances, with all the
        degrees of freedom that the cells have.
        """
        return self._error_and_df[1]

    @property
    def _error_and_df(self) -> tuple[float, float]:
        a, b = self.ours, self.other
        if a.variance is None or b.variance is None:
            raise ValueError("a difference with a cell of unknown variance has no error")
        error, df = standard_error(a.variance / a.n, a.df, b.variance / b.n, b.df)
        return error, df if math.isinf(self.pooled_df) else min(a.df, b.df, self.pooled_df)

    @property
    def interval(self) -> Interval | None:
        """Its 95 % interval, and p of no difference, two-sided; None where it is not tested."""
        return interval_of(self.mean, self.error, self.df) if self.is_tested else None

    def with_seeds(self, n: int) -> "Moderated":
        """Returns what it would be with n runs a cell, of the same mean and variances."""
        more = (n - self.ours.n, n - self.other.n)
        ours, other = (
            replace(spread, df=spread.df + extra, n=n)
            for spread, extra in zip((self.ours, self.other), more, strict=True)
        )
        return Moderated(self.mean, ours, other, self.pooled_df + sum(more))


def moderated(ours: Estimate, other: Estimate, prior: Prior | None) -> Moderated:
    """Returns a difference of two cells of one network.

    Args:
        ours, other: of the cells, over runs.
        prior: of the network; None: each cell's variance stands for itself, which is Welch's test.
    """
    pooled_df = prior.pooled_df if prior else math.inf
    return Moderated(ours.mean - other.mean, spread(ours, prior), spread(other, prior), pooled_df)


def spread(cell: Estimate, prior: Prior | None) -> Spread:
    """Returns a cell's variance as it is judged.

    With d degrees of freedom of its own it is (d0 s0^2 + d s^2) / (d0 + d), with d0 + d (Smyth
    2004, section 3; at most those of all cells together, as in limma's `eBayes`). A cell of one
    run has the prior alone, as limma has it for d = 0; so has a cell that did not vary at all,
    whose variance of 0 would else be taken for knowledge.
    """
    d, variance = cell.n - 1, (cell.deviation or 0.0) ** 2
    if not varies(cell):
        d, variance = 0, 0.0
    if prior is None:
        return Spread(variance if d else None, d, cell.n)
    if math.isinf(prior.df):
        return Spread(prior.variance, prior.pooled_df, cell.n)
    df = prior.df + d
    posterior = (prior.df * prior.variance + d * variance) / df
    return Spread(posterior, min(df, prior.pooled_df), cell.n)


def varies(cell: Estimate) -> bool:
    """Whether a cell's runs differ by more than rounding."""
    return cell.deviation is not None and cell.deviation > VARIES * max(1.0, abs(cell.mean))


def prior_of(cells: Sequence[Estimate]) -> Prior | None:
    """Returns the prior of a network's cells; None where they are too few, or most do not vary.

    Args:
        cells: each once; those of one run do not count.
    """
    known = [cell for cell in cells if cell.deviation is not None]
    if len(known) < LEAST_CELLS or 2 * sum(map(varies, known)) <= len(known):
        return None
    variances = [(cell.deviation or 0.0) ** 2 if varies(cell) else 0.0 for cell in known]
    return fit_prior(variances, [cell.n - 1 for cell in known])


def worth_at_most(prior: Prior | None, df: float) -> Prior | None:
    """Returns a prior that is trusted no further than so many degrees of freedom.

    Args:
        prior: estimated from a dozen cells of a few runs, it cannot tell some from infinitely many.
        df: of it.
    """
    return prior and replace(prior, df=min(prior.df, df))


def fit_prior(variances: Sequence[float], dfs: Sequence[float]) -> Prior:
    """Fits a scaled F distribution to variances by the moments of their logarithms.

    Smyth 2004, section 6.2, and limma's `fitFDist` 3.54 to the rounding: variances of 0 are set
    to 1e-5 of the median. Where their logarithms vary no more than chance has them vary, d0 is
    infinite and s0^2 their mean. `pooled_df` is what the plain mean of the variances is worth,
    k^2 / sum(1 / d): the sum of all d, as in limma, where they are equal, and less elsewhere.

    Args:
        variances: two or more, at least 0; over half of them above 0.
        dfs: of each, above 0.
    """
    from scipy import special

    count = len(variances)
    least = OFFSET * _median(variances)
    kept = [max(v, least) for v in variances]
    logs = [
        math.log(v) - float(special.digamma(d / 2)) + math.log(d / 2)
        for v, d in zip(kept, dfs, strict=True)
    ]
    mean = math.fsum(logs) / count
    by_chance = math.fsum(float(special.zeta(2, d / 2)) for d in dfs) / count  # trigamma
    more = math.fsum((log - mean) ** 2 for log in logs) / (count - 1) - by_chance
    pooled_df = count**2 / math.fsum(1 / d for d in dfs)
    if more <= 0:
        return Prior(math.fsum(kept) / count, math.inf, count, pooled_df)
    half = trigamma_inverse(more)
    variance = math.exp(mean + float(special.digamma(half)) - math.log(half))
    return Prior(variance, 2 * half, count, pooled_df)


def trigamma_inverse(value: float) -> float:
    """Solves trigamma(y) = value, above 0, by Newton's method on 1 / trigamma (Smyth 2004, 9)."""
    from scipy import special

    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma, tetragamma = float(special.zeta(2, y)), -2 * float(special.zeta(3, y))
        step = trigamma * (1 - trigamma / value) / tetragamma
        y += step
        if -step / y < 1e-8:
            break
    return y


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
