"""A cell held against another one, and the claim that rests on that: values, nothing else."""

from dataclasses import dataclass
from typing import Literal

from kdlsr.reporting.deciding import ClaimVerdict, Decision, Verdict
from kdlsr.reporting.moderation import Moderated
from kdlsr.reporting.statistics import Difference, Interval


@dataclass(frozen=True)
class Comparison:
    """A cell minus another one, at the protocol by which differences are judged.

    Attributes:
        key, name: of the other one.
        difference: its mean, with Welch's interval and the paired one.
        moderated: the same mean with the error by which it is judged.
        decision: in its family; None where it is described and not tested.
        look: with how many seeds a cell it was decided, or looked at last; None where all seeds
            were judged at once.
    """

    key: str
    name: str
    difference: Difference
    moderated: Moderated
    decision: Decision | None
    look: int | None = None

    @property
    def verdict(self) -> Verdict | Literal["described"]:
        """What is said of it."""
        return self.decision.verdict if self.decision else "described"

    @property
    def interval(self) -> Interval | None:
        """The moderated 95 % interval, not corrected for its family."""
        return self.moderated.interval


@dataclass(frozen=True)
class Claim:
    """What became of the claim that a method gains.

    Attributes:
        sentence: what is claimed.
        gain, grade: the paper's, points, and its grade of evidence; None where it has none.
        verdict: what is said of it.
        why: on what that rests, in words.
        seeds_needed: with how many seeds a cell it would be decided, where it is undecided: as
            for a `Decision`.
    """

    sentence: str
    gain: float | None
    grade: str | None
    verdict: ClaimVerdict
    why: str
    seeds_needed: float | None = None
