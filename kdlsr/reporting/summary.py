"""What a report says, as values: every cell with all its figures. All renderings read this.

Computed from results in the store and nothing else, so that the same runs give the same bytes;
no times, no dates, no rendering in here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from kdlsr.reporting.comparison import Claim, Comparison
from kdlsr.reporting.deciding import MARGIN
from kdlsr.reporting.statistics import LEVEL, Compatibility, Estimate
from kdlsr.reporting.study import Study
from kdlsr.runs.card import RunCard
from kdlsr.runs.confidence import RunConfidence
from kdlsr.runs.folder import RunFolder
from kdlsr.runs.result import RunResult, TeacherFigures
from kdlsr.tables.plan import PlacedCell
from kdlsr.training.record import EpochRecord

# Beside top-1, at the protocol by which the differences are judged.
MEASURES = ("top5", "nll", "ece", "brier", "entropy", "confidence")
OF_SOME = ("f1",)  # only of data sets that are judged by it
TO_TEACHER = ("agreement", "kl")  # of the last epoch always
# Likewise, and shown only where a run has them: on the training samples and on the training views,
# which `train_metrics` asks for; the teacher's, on those views; and those of the run's logits,
# where they were read.
FURTHER = (
    "train_top1",
    "train_entropy",
    "train_confidence",
    "views_top1",
    "views_entropy",
    "views_confidence",
    "teacher_views_top1",
    "teacher_views_entropy",
    "teacher_views_confidence",
    "confidence_pearson",
    "confidence_spearman",
    "adaptive_ece",
    "aurc",
    "temperature",
    "scaled_entropy",
    "scaled_confidence",
    "scaled_nll",
    "scaled_brier",
    "scaled_ece",
    "scaled_adaptive_ece",
    "scaled_aurc",
)
RunState = Literal["complete", "failed", "incomplete", "not started", "not run"]
CellState = Literal["complete", "partial", "failed", "not run", "omitted"]


@dataclass(frozen=True)
class RunSummary:
    """One run of a cell.

    Attributes:
        card: what it is, started or not.
        state: how far it is.
        overrides: the command line of `kdlsr.train` that makes it.
        config: its resolved config (config.yaml), as text; empty where it never started.
        history: its epochs.
        result: of a run that ended.
        environment: hardware and versions of its sessions, a line each.
        fault: what of its folder cannot be believed; None where all can.
        folder: its files, for studies that read more of them.
        confidence: of its logits, where they were read.
    """

    card: RunCard
    state: RunState
    overrides: tuple[str, ...] = ()
    config: str = ""
    history: tuple[EpochRecord, ...] = ()
    result: RunResult | None = None
    environment: tuple[str, ...] = ()
    fault: str | None = None
    folder: RunFolder | None = None
    confidence: RunConfidence | None = None

    @property
    def run_id(self) -> str:
        """Its identity."""
        return self.card.run_id

    @property
    def is_complete(self) -> bool:
        """Whether its result counts."""
        return self.result is not None and self.result.status == "complete"

    @property
    def error(self) -> str | None:
        """Why it failed."""
        return self.result.error if self.result else None

    @property
    def taught(self) -> TeacherFigures | None:
        """Its teacher, and how close it came to it."""
        return self.result.teacher if self.result else None


@dataclass(frozen=True)
class Target:
    """The paper's value for a cell.

    Attributes:
        accuracy: top-1, percent.
        deviation: as printed; None where it is not.
        grade: of evidence: P primary, S secondary, V read off a figure, D derived.
        compatibility: of ours at its protocol with it; None where sizes differ (not the
            paper's profile) or nothing is complete.
        note: what else is to be known of it.
        runs: over how many runs it is; None where the paper does not say.
        protocol: which epoch's it is, `best_test` or `last`.
    """

    accuracy: float
    deviation: float | None
    grade: str
    compatibility: Compatibility | None = None
    note: str | None = None
    runs: int | None = None
    protocol: str = "best_test"


@dataclass(frozen=True, kw_only=True)
class Cell(PlacedCell):
    """Runs that differ in the seed only, and what they are to others.

    Attributes:
        runs: by seed.
        target: the paper's value.
        teacher_epoch: of a teacher that is taken at a numbered epoch, in its own schedule.
    """

    runs: tuple[RunSummary, ...]
    target: Target | None = None
    teacher_epoch: int | None = None

    @property
    def complete(self) -> list[RunSummary]:
        """The runs that count."""
        return [run for run in self.runs if run.is_complete]

    @property
    def compared_keys(self) -> list[str]:
        """The keys of its baseline and of its controls."""
        return [key for key in (self.baseline_key, *self.control_keys) if key is not None]


@dataclass(frozen=True, kw_only=True)
class CellSummary(Cell):
    """A cell with its figures.

    Attributes:
        state: `complete` where all its runs are, `partial` where some are.
        estimates: top-1 by protocol, over complete runs; None where there is none.
        measures: MEASURES, likewise; TO_TEACHER and FURTHER where there are such figures.
        baseline: against the cell's baseline.
        controls: against its controls.
        uncompared: what else it was to be compared with, and why it was not, a line each.
        claim: what became of the claim that it gains, where one is made.
    """

    state: CellState
    estimates: Mapping[str, Estimate | None]
    measures: Mapping[str, Estimate | None] = field(default_factory=dict)
    baseline: Comparison | None = None
    controls: tuple[Comparison, ...] = ()
    uncompared: tuple[str, ...] = ()
    claim: Claim | None = None


@dataclass(frozen=True)
class GridPoint:
    """One point of a tau x alpha search: its cell, and its mean at the choosing protocol."""

    tau: float
    alpha: float
    key: str
    value: float | None


@dataclass(frozen=True)
class Search:
    """A search over a grid, and its best point by a protocol that never saw the test set.

    Attributes:
        measure: what was maximised: top-1 on the validation split, at the epoch best on it.
        points: all of the grid.
        best: the key of the best point's cell; None while nothing is complete.
    """

    measure: str
    points: tuple[GridPoint, ...]
    best: str | None


@dataclass(frozen=True)
class Report:
    """A table's report.

    Attributes:
        name: where it goes below `outputs/reports/`.
        title: one line.
        first_line: which profile made it and what that is evidence of.
        source, shows: as in the table's file; None for a report on any runs.
        protocol: by which differences are judged.
        protocols: those that the runs have.
        data: the data set, its subset and schedule, in words.
        environment: hardware and versions of the runs, one line each, sorted.
        command: what makes this report again.
        made_from: `experiments/` and the table's name, or a user's own file relative to the
            output folder; "" for a report on any runs.
        cells: in the table's order.
        caveats: what the reader must know to read the figures right.
        notes: the table's own.
        figure: a figure to draw besides the intervals: `teacher_epoch`,
            `hand_made_distribution`, or `heat_map`.
        hand_made: classes, tau, correct_probability of that figure.
        search: the grid, in a report on a search.
        studies: what else the table asks for, a section each.
        margin: a difference that is smaller does not matter, points.
        level: below which a corrected p decides; with looks, each one's share of it.
        how_decided: how the verdicts came about; empty where nothing is tested.
    """

    name: str
    title: str
    first_line: str
    protocol: str
    protocols: tuple[str, ...]
    data: str
    environment: tuple[str, ...]
    command: str
    cells: tuple[CellSummary, ...]
    source: str | None = None
    shows: str | None = None
    caveats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    figure: str | None = None
    made_from: str = ""
    hand_made: Mapping[str, float] | None = None
    search: Search | None = None
    studies: tuple[Study, ...] = ()
    margin: float = MARGIN
    level: float = LEVEL
    how_decided: str = ""

    @property
    def claims(self) -> list[CellSummary]:
        """The cells of which something is claimed."""
        return [cell for cell in self.cells if cell.claim]

    @cached_property
    def by_key(self) -> Mapping[str, CellSummary]:
        """The cells, by their keys."""
        return {cell.key: cell for cell in self.cells}
