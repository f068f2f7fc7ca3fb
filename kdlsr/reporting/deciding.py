"""What a family of differences shows: better, worse, equivalent, or what would decide it.

Pure functions of moderated differences. Nothing is called no difference for want of power.

Two questions are asked of each difference: is it other than 0 (two-sided, with its direction), and
is it smaller than the margin (two one-sided tests, p is the larger of theirs)? Holm's correction,
which is closed testing by Bonferroni's test, is applied in a family to each question for itself:
`level` bounds the probability of any false `better` or `worse`, and that of any false `equivalent`.
A single difference needs no more than `level` for both. Below the margin no `equivalent` is false.
At the margin or beyond, an estimate that has the wrong sign is one that the one-sided test against
the margin rejects too, so that all false verdicts are within that test's level.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from kdlsr.reporting.moderation import Moderated
from kdlsr.reporting.statistics import LEVEL, holm

MARGIN = 0.5  # points of accuracy
POWER = 0.8  # of what `seeds_needed` promises
MOST_SEEDS = 100  # of which it speaks
Verdict = Literal["better", "worse", "equivalent", "undecided"]
ClaimVerdict = Literal[
    "gain shown and survives its control",
    "gain shown and explained by its control",
    "gain shown, without a control",
    "no gain",
    "undecided",
]
Key = TypeVar("Key", bound=Hashable)
_HIGHEST_NC = 37.0  # beyond it scipy's noncentral t has no figure


@dataclass(frozen=True)
class Decision:
    """What is said of a difference.

    Attributes:
        verdict: `equivalent` comes first: a difference that is shown to be there and to be
            smaller than the margin is too small to matter.
        p_difference: of no difference, two-sided, after Holm; None where nothing is tested.
        p_equivalence: of a difference of the margin or more, likewise.
        seeds_needed: with how many seeds a cell it would be decided, for an undecided one; None
            where that is not known, inf for more than `MOST_SEEDS`.
    """

    verdict: Verdict
    p_difference: float | None
    p_equivalence: float | None
    seeds_needed: float | None = None


def decide(
    differences: Mapping[Key, Moderated], margin: float = MARGIN, level: float = LEVEL
) -> dict[Key, Verdict]:
    """Returns the verdict on each difference of one family; as `judge`."""
    return {key: found.verdict for key, found in judge(differences, margin, level).items()}


def undecided(
    families: Iterable[Mapping[Key, Moderated]], margin: float = MARGIN, level: float = LEVEL
) -> list[Key]:
    """Returns what is undecided in any of some families, each corrected for itself.

    Args:
        families: of differences.
        margin, level: as for `judge`.
    """
    verdicts = (item for family in families for item in decide(family, margin, level).items())
    return list(dict.fromkeys(key for key, verdict in verdicts if verdict == "undecided"))


def judge(
    differences: Mapping[Key, Moderated], margin: float = MARGIN, level: float = LEVEL
) -> dict[Key, Decision]:
    """Decides on all differences of one family.

    Args:
        differences: those that cannot be tested are undecided, and no part of the correction.
        margin: a difference that is smaller does not matter, points; at 0 nothing is equivalent.
        level: the probability of any false `better` or `worse`, and of any false `equivalent`.
    """
    other = holm({key: p_difference(found) for key, found in differences.items()})
    small = holm({key: p_equivalence(found, margin) for key, found in differences.items()})
    open_levels = _next_level(other.values(), level), _next_level(small.values(), level)
    found = {}
    for key, difference in differences.items():
        verdict = _verdict(difference.mean, other[key], small[key], level)
        needed = seeds_needed(difference, margin, *open_levels) if verdict == "undecided" else None
        found[key] = Decision(verdict, other[key], small[key], needed)
    return found


def _verdict(mean: float, other: float | None, small: float | None, level: float) -> Verdict:
    if small is not None and small < level:
        return "equivalent"
    if other is not None and other < level:
        return "better" if mean > 0 else "worse"
    return "undecided"


def _next_level(adjusted: Iterable[float | None], level: float) -> float:
    """Returns the level of the next one that Holm would reject: over all that are left."""
    return level / max(1, sum(1 for p in adjusted if p is not None and p >= level))


def p_difference(found: Moderated) -> float | None:
    """Returns p of no difference, two-sided; None where it cannot be tested."""
    return found.interval.p if found.interval else None


def p_equivalence(found: Moderated, margin: float) -> float | None:
    """Returns p of a difference of at least the margin: the larger of two one-sided ones."""
    if found.interval is None:
        return None
    from scipy import special

    return float(special.stdtr(found.df, (abs(found.mean) - margin) / found.error))


def seeds_needed(
    found: Moderated, margin: float, level: float, level_of_equivalence: float
) -> float | None:
    """Returns the fewest seeds a cell with which a difference would be decided.

    With a power of `POWER`, were its mean and its moderated deviations the truth, whichever of the
    two, a difference or an equivalence, is shown with fewer; inf for more than `MOST_SEEDS`; None
    where the deviations are not known, or a cell's seeds are crossed with teachers.

    Args:
        found: so far.
        margin: as for `judge`.
        level: of the two-sided test of a difference, after correction.
        level_of_equivalence: of each one-sided test of equivalence, likewise.
    """
    if found.interval is None or found.ours.is_crossed or found.other.is_crossed:
        return None

    def is_enough(n: int) -> bool:
        more = found.with_seeds(n)
        power = max(
            power_of_difference(more, level),
            power_of_equivalence(more, margin, level_of_equivalence),
        )
        return power >= POWER

    low, high = max(found.ours.n, found.other.n), MOST_SEEDS
    if low >= high or not is_enough(high):
        return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def power_of_difference(found: Moderated, level: float) -> float:
    """Returns how likely a test shows a difference of this mean, in its direction."""
    return _exceeds(abs(found.mean) / found.error, found.df, level / 2)


def power_of_equivalence(found: Moderated, margin: float, level: float) -> float:
    """Returns how likely both one-sided tests show a difference of this mean to be within a margin.

    A lower bound (Bonferroni's inequality), which is close where the power is high.
    """
    sides = ((margin + side * found.mean) / found.error for side in (-1, 1))
    return max(0.0, sum(_exceeds(nc, found.df, level) for nc in sides) - 1)


def _exceeds(nc: float, df: float, level: float) -> float:
    """Returns how likely a noncentral t exceeds the one-sided critical value of a level."""
    from scipy import special

    if nc <= 0:
        return 0.0 if nc < 0 else level
    critical = float(special.stdtrit(df, 1 - level))
    if nc > _HIGHEST_NC:  # what varies is the denominator
        return float(special.chdtr(df, df * (nc / critical) ** 2))
    return 1 - float(special.nctdtr(df, nc, critical))


def claim_verdict(baseline: Verdict, controls: Sequence[Verdict]) -> ClaimVerdict:
    """Returns what is said of a claim: that a method gains, by what it claims to gain by.

    Args:
        baseline: the method against its baseline. Equivalent or worse is no gain.
        controls: against each of its controls. A gain survives if it is better than all of them,
            and is explained if it is equivalent to, or worse than, any one.
    """
    if baseline in ("equivalent", "worse"):
        return "no gain"
    if baseline == "undecided":
        return "undecided"
    if not controls:
        return "gain shown, without a control"
    if any(found in ("equivalent", "worse") for found in controls):
        return "gain shown and explained by its control"
    if all(found == "better" for found in controls):
        return "gain shown and survives its control"
    return "undecided"
