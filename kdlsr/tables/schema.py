"""What stands in a file of `experiments/`, typed.

A *table* is a grid of cells on one setting, with the paper's values; a cell's hyper-parameters are
for its loss to check. Settings and profiles are in `setting`. Nothing here composes or plans a run.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from kdlsr.config import Above, AtLeast, Between, FolderName, UserError, nearest
from kdlsr.config.overrides import NO_OVERRIDES, Overrides
from kdlsr.tables.methods import Role, find_method
from kdlsr.tables.tuned import Tuned

Grade = Literal["P", "S", "V", "D"]
Basis = Literal["released", "text", "stand-in"]
Figure = Literal["teacher_epoch", "hand_made_distribution"]
Study = Literal["confidence", "tuned_elsewhere", "ls_teachers", "selection"]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A value that a paper prints.

    Attributes:
        accuracy: top-1, percent.
        deviation: over the paper's runs, where it prints one.
        protocol: which epoch's, as the source says: the best on the test set, or the last.
        runs: over how many runs; null: the table's.
        grade: of evidence; null: the table's.
        note: what else the source says of it.
    """

    accuracy: Annotated[float, Between(0, 100)]
    deviation: Annotated[float, AtLeast(0)] | None = None
    protocol: Literal["last", "best_test"] = "best_test"
    runs: Annotated[int, AtLeast(1)] | None = None
    grade: Grade | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class PoorTeacher:
    """The completed epochs after which De-KD's teacher teaches, as published (of all epochs)."""

    as_released: Annotated[int, AtLeast(1)]
    as_written: Annotated[int, AtLeast(1)]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the paper's grid: a network trained by a method.

    Attributes:
        row: the heading of its row.
        column: the heading of its column.
        group: the part of the table it is printed in.
        method: how it is trained: a loss's name, or one of `experiments/methods.yaml`.
        network: the student, a network of the setting.
        role: the student's role in mapped profiles; null: by the method, else the network's
            own.
        teacher: the teacher, a network of the setting, of methods with another network's.
        teacher_overrides: what else its teacher's training has (`loss=lsr`), at any profile.
        teacher_epoch: which of its teacher's epochs teaches, in whatever form; null: in
            `as_released` its best on the test set, else its last.
        poor_teacher: the epochs of De-KD's teacher.
        weight_classes: K at which the row's weights were published; elsewhere the loss keeps
            them.
        batch_size: of this cell; null: of its network's baseline row.
        overrides: what else the row has.
        options: the hyper-parameters of its loss, as published; in a file they stand beside
            the other keys.
        paper: the paper's value.
        basis: where the hyper-parameters come from: the released configs, the paper's text,
            or a stand-in that `note` explains.
        note: why, for a stand-in; and what else is to be known of the row.
        omitted: why the cell cannot be run here at all.
        forms: of its loss, in which it is run; null: in all.
        claim: what the paper claims by it, in one sentence; null: that it gains over its
            baseline, in a table that studies nothing else.
        claimed_gain: over its baseline, points of top-1, where no accuracies are known.
    """

    row: str
    column: str
    method: str
    network: str
    group: str | None = None
    role: Role | None = None
    teacher: str | None = None
    teacher_overrides: Overrides = NO_OVERRIDES
    teacher_epoch: Literal["last", "best_test"] | None = None
    poor_teacher: PoorTeacher | None = None
    weight_classes: Annotated[int, AtLeast(2)] = 100
    batch_size: Annotated[int, AtLeast(2)] | None = None
    overrides: Overrides = NO_OVERRIDES
    options: Mapping[str, Any] = field(default_factory=dict)
    paper: Paper | None = None
    basis: Basis = "released"
    note: str | None = None
    omitted: str | None = None
    forms: tuple[str, ...] | None = None
    claim: str | None = None
    claimed_gain: float | None = None

    def __post_init__(self) -> None:
        if self.paper is not None and self.claimed_gain is not None:
            raise ValueError("claimed_gain is for a row without paper, which has its accuracy")
        if self.basis == "stand-in" and not self.note:
            raise ValueError("a stand-in needs a note that says what it stands in for, and why")

    def check(self, where: str) -> None:
        """Refuses what its method refuses, or the loss of it in one of its forms.

        Args:
            where: the dotted path at which the cell stands.

        Raises:
            UserError: an unknown method, a hyper-parameter that the loss does not have, that is
                not possible or that is missing, a teacher too many or too few.
        """
        method = find_method(self.method, f"{where}.method")
        known = method.row_keys
        for key in self.options:
            if key not in known:
                own = {f.name for f in dataclasses.fields(Cell)}
                raise UserError(f"unknown key {where}.{key}{nearest(key, known | own)}")
        for form in self.forms or ():
            if form not in method.loss_class.forms:
                near = nearest(form, method.loss_class.forms)
                raise UserError(f"{where}.forms={form!r} is not possible{near}")
        for form in method.loss_class.forms:
            method.published(self.options, form, self.weight_classes, where)
        if method.poor_teacher != (self.poor_teacher is not None):
            needs = "needs a" if method.poor_teacher else "has no"
            raise UserError(f"{where}: method {self.method} {needs} poor_teacher")
        if self.omitted is not None:
            return
        missing = sorted(method.loss_class.stated - set(self.options))
        if missing:
            raise UserError(f"{where}: method {self.method} needs {missing[0]}")
        if self.teacher_overrides and method.taught_by in ("none", "past"):
            raise UserError(f"{where}: method {self.method} has no teacher to override")
        if self.teacher_epoch and (self.poor_teacher or method.taught_by in ("none", "past")):
            raise UserError(f"{where}: method {self.method} has no teacher_epoch")
        if (method.taught_by == "other") != (self.teacher is not None):
            needs = "has no" if self.teacher else "needs a"
            raise UserError(f"{where}: method {self.method} {needs} teacher")

    @property
    def student_role(self) -> Role | None:
        """The student's role where the cell or the method fixes it."""
        return self.role or find_method(self.method).student

    @property
    def teacher_role(self) -> Role:
        """The role of a teacher that is another network, by the method."""
        teacher = find_method(self.method).teacher
        assert teacher != "self"
        assert teacher != "past"
        return teacher


@dataclass(frozen=True, kw_only=True)
class HandMade:
    """The hand-made distribution of a figure: its classes, temperature and belief."""

    classes: Annotated[int, AtLeast(2)]
    tau: Annotated[float, Above(0)]
    correct_probability: Annotated[float, Between(0.9, 1, open_high=True)]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table or a figure of a paper, or one of ours.

    Attributes:
        name: its path below experiments/, without suffix, and its report's below reports/.
        file: a user's own; None: of experiments/.
        title, source, shows: what it is, where it is printed, what it is to show; one line each.
        setting: the data set, schedule and networks of its cells.
        grade: of evidence, of the paper's values unless one says otherwise.
        paper_runs: over how many runs the paper's values are; null: not stated.
        baselines: networks trained by plain cross-entropy and the paper's values for them.
        cells: all others.
        cells_from: another table, whose baselines and cells are this one's too.
        figure: a figure that is drawn of it besides the intervals.
        hand_made: what `hand_made_distribution` draws.
        studies: what else its report asks of the runs, a section each.
        overrides: what all of its runs have, at whatever profile.
        controls: whether its rows' controls are run.
        projected: three classes, which `ls_teachers` draws.
        tuned: grids of which each network's best point is applied to the others; their rows
            follow `cells`.
        profile: the profile it is run at unless another is chosen.
        run_at: profiles at which it has been run with this code, and on what.
        notes: what a reader has to know of its values and rows.
    """

    name: Annotated[str, FolderName()]
    title: str
    source: str
    shows: str
    setting: str
    grade: Grade
    file: str | None = None
    paper_runs: Annotated[int, AtLeast(1)] | None = None
    baselines: dict[str, Paper | None] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    cells_from: str | None = None
    figure: Figure | None = None
    hand_made: HandMade | None = None
    studies: tuple[Study, ...] = ()
    overrides: Overrides = NO_OVERRIDES
    controls: bool = True
    projected: tuple[Annotated[int, AtLeast(0)], ...] = (0, 1, 2)
    tuned: Tuned | None = None
    profile: str = "paper"
    run_at: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if ("tuned_elsewhere" in self.studies) != (self.tuned is not None):
            raise ValueError("the study tuned_elsewhere and tuned go together")
        if len(set(self.projected)) != 3:
            raise ValueError(f"projected={list(self.projected)}: expected three different classes")
        chooses = "tuned" if self.tuned is not None else "the study selection"
        needs_split = self.tuned is not None or "selection" in self.studies
        if needs_split and not self.overrides.get("dataset.val_fraction"):
            raise ValueError(
                f"{chooses} needs a validation split to choose by, which the test set is not: "
                "expected dataset.val_fraction among overrides"
            )

        if "confidence" in self.studies:
            for key in ("dataset.val_fraction", "train_metrics"):
                if not self.overrides.get(key):
                    raise ValueError(f"the study confidence needs {key} among overrides")

    @property
    def origin(self) -> str:
        """What no other table has: its file, or its name in experiments/."""
        return self.file or f"experiments/{self.name}"
