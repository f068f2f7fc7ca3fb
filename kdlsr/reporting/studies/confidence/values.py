"""What the study of confidence says, as values; all renderings and figures read these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kdlsr.metrics import Reliability
from kdlsr.reporting.statistics import LEVEL, Estimate, Interval

Direction = Literal["raises", "lowers", "unchanged", "undecided"]
# `at_equal_loss`: held against the reference where it had the same loss on its training views.
Moved = Literal["entropy", "at_equal_loss", "scaled_entropy"]
MOVED: tuple[Moved, ...] = ("entropy", "at_equal_loss", "scaled_entropy")
# Of the last epoch, in the order of the study's tables.
RAW = ("top1", "f1", "entropy", "confidence", "ece", "adaptive_ece", "nll", "brier", "aurc")
SCALED = (
    "temperature",
    "scaled_entropy",
    "scaled_confidence",
    "scaled_ece",
    "scaled_adaptive_ece",
    "scaled_nll",
    "scaled_brier",
    "scaled_aurc",
)
ON_VIEWS = (
    "views_entropy",
    "teacher_views_entropy",
    "views_confidence",
    "teacher_views_confidence",
)
FIGURES = (*RAW, *SCALED, *ON_VIEWS)


@dataclass(frozen=True)
class Move:
    """By how much a regime moves an entropy away from its reference's.

    Attributes:
        mean: the regime's mean minus the reference's, nats.
        factor: the regime's mean over the reference's; None where that is 0.
        margin: a difference that is too small to matter, nats.
        interval: of the mean, 95 %; None with one run, or where nothing varies.
        n: how many runs of the regime are compared.
        is_paired: whether that is over the seeds that both share; otherwise it is Welch's.
        p_holm: its p after Holm's correction over the network's differences of this entropy.
    """

    mean: float
    factor: float | None
    margin: float
    interval: Interval | None
    n: int
    is_paired: bool
    p_holm: float | None = None

    @property
    def verdict(self) -> Direction:
        """`unchanged` where the whole interval is within the margin.

        Otherwise `raises` or `lowers` where it is on one side of 0 and significant after Holm;
        `undecided` where neither is shown, or there is no interval.
        """
        found = self.interval
        if found is None:
            return "undecided"
        if -self.margin <= found.low and found.high <= self.margin:
            return "unchanged"
        p = found.p if self.p_holm is None else self.p_holm
        if p < LEVEL and found.low > 0:
            return "raises"
        return "lowers" if p < LEVEL and found.high < 0 else "undecided"


@dataclass(frozen=True)
class AtEpoch:
    """An entropy after an epoch: mean, lowest and highest over runs."""

    epoch: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Followed:
    """How a network's confidence correlates with its teacher's over the test samples.

    Attributes:
        pearson, spearman: over runs; None where nothing is known.
    """

    pearson: Estimate | None = None
    spearman: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Regime:
    """One way of training one network: a cell of the table.

    Attributes:
        key: the cell's.
        student: which network, in words: the row of its reference.
        name: of the regime; the reference's own for plain training.
        is_reference: whether others are held against it.
        figures: FIGURES, over complete runs.
        moves: away from the reference; empty for it.
        teacher: who teaches it.
        follows: its own correlation with its teacher.
        reference_follows: of the reference's runs, which nobody taught, with that same teacher:
            so much comes of the samples being easy or hard for all networks.
        predicted: the teacher's entropy on the training views minus the reference's there,
            nats: the direction in which the rule has the student moved.
        epochs: test entropy after each epoch.
        bins, scaled_bins: of the reliability diagram, all runs together.
        on_train: per run, the teacher's confidence on the training views and its own.
        tau, alpha: of its loss, where it has them.
    """

    key: str
    student: str
    name: str
    is_reference: bool
    figures: Mapping[str, Estimate]
    moves: Mapping[Moved, Move] = field(default_factory=dict)
    teacher: str | None = None
    follows: Followed = Followed()
    reference_follows: Followed = Followed()
    predicted: float | None = None
    epochs: tuple[AtEpoch, ...] = ()
    bins: Reliability | None = None
    scaled_bins: Reliability | None = None
    on_train: tuple[tuple[float, float], ...] = ()
    tau: float | None = None
    alpha: float | None = None

    @property
    def expected(self) -> Direction | None:
        """What the rule says the regime does; None where it says nothing."""
        if not self.predicted:
            return None
        return "raises" if self.predicted > 0 else "lowers"


@dataclass(frozen=True)
class Count:
    """In how many of the comparisons at one epoch the rule held."""

    epoch: int
    held: int
    of: int


@dataclass(frozen=True)
class RuleTest:
    """The rule sign(H_student - H_ref) = sign(H_teacher,train - H_ref,train), counted.

    A comparison is one run, its reference of the same seeds, and one epoch. They are not
    independent: runs share teachers, and an epoch follows the one before.

    Attributes:
        compared: at which moments of the two runs: `epochs` or `training loss`.
        split: where the students' entropies are: `test`, or `train` for the training views.
        by_epoch: counted after each epoch of the student's.
        constant: how many of all a rule would get right that always says the same, the better
            one of the two.
        left_out: comparisons that could not be made: the reference never had that loss.
    """

    compared: Literal["epochs", "training loss"]
    split: Literal["test", "train"]
    by_epoch: tuple[Count, ...]
    constant: int
    left_out: int = 0

    @property
    def held(self) -> int:
        """In how many of all comparisons the rule held."""
        return sum(count.held for count in self.by_epoch)

    @property
    def of(self) -> int:
        """How many there are."""
        return sum(count.of for count in self.by_epoch)


@dataclass(frozen=True)
class AcrossTeachers:
    """Whether students of one network have the entropies of their teachers.

    Attributes:
        student: the network.
        teachers: how many different ones.
        pearson, spearman: over them, of the teacher's mean entropy on the training views with
            its students' mean entropy on the test samples; None where either does not vary.
    """

    student: str
    teachers: int
    pearson: float | None
    spearman: float | None


@dataclass(frozen=True, kw_only=True)
class ConfidenceStudy:
    """In which direction does each regime move confidence, and does it follow the teacher's?

    Attributes:
        reference: what plain training is called.
        margin: the share of the reference's entropy that a difference must exceed to matter.
        regimes: each network's reference first.
        rules: the rule of inheritance, counted; empty where nothing is known to count.
        across: one for each network with three different teachers at least.
        notes: what is not available, and why.
    """

    reference: str
    margin: float
    regimes: tuple[Regime, ...]
    rules: tuple[RuleTest, ...] = ()
    across: tuple[AcrossTeachers, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def students(self) -> dict[str, list[Regime]]:
        """The regimes of each network."""
        found: dict[str, list[Regime]] = {}
        for regime in self.regimes:
            found.setdefault(regime.student, []).append(regime)
        return found
