"""What stands in a file of `experiments/`, typed and read strictly.

A *setting* is a data set with a schedule and the networks trained on it, each pinned to the
recipe of its own baseline row. A *table* is a grid of cells on one setting, with the paper's
values. A *profile* says at which size tables are run. Nothing here composes or plans a run.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from kdlsr.config import Above, AtLeast, Between, UserError, build, nearest
from kdlsr.config.compose import relative_to_here, shipped_folder
from kdlsr.config.overrides import NO_OVERRIDES, Overrides

Grade = Literal["P", "S", "V", "D"]
Role = Literal["weak", "strong"]
Method = Literal["lsr", "kd", "re_kd", "de_kd", "tfkd_self", "tfkd_reg"]
Form = Literal["as_released", "as_written", "standard"]
Basis = Literal["released", "text", "stand-in"]
Figure = Literal["teacher_epoch", "hand_made_distribution"]
TAUGHT: tuple[Method, ...] = ("kd", "re_kd", "de_kd")  # by another network, which a cell names
SUFFIX = ".yaml"
SETTINGS = "settings"  # the folder of experiments/ that holds no tables


@dataclass(frozen=True, kw_only=True)
class Network:
    """One network of a setting and its own baseline row, to which teachers are pinned.

    Attributes:
        overrides: what selects it: `model=<name>` first, then that model's options.
        role: what stands in for it in profiles that map networks by role.
        batch_size: of its baseline row.
        baseline_overrides: what else its baseline row has and its distilled rows do not.
        macs: multiply-accumulates of one image's forward pass; for estimates of time alone.
        note: where the released configs leave something open, what is used and why.
    """

    overrides: Overrides
    role: Role
    batch_size: Annotated[int, AtLeast(2)]
    baseline_overrides: Overrides = NO_OVERRIDES
    macs: Annotated[float, Above(0)] | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.overrides.get("model") is None:
            raise ValueError("overrides must begin with model=<name>")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A data set and schedule with the networks trained on them.

    Attributes:
        source: where its facts come from.
        overrides: data set and schedule, as on the command line of `kdlsr.train`.
        classes: K.
        train_images: per epoch; for estimates of time alone.
        epochs: of the full schedule.
        networks: by name.
        notes: what the source leaves open and what is used instead.
    """

    name: str
    source: str
    overrides: Overrides
    classes: Annotated[int, AtLeast(2)]
    train_images: Annotated[int, AtLeast(1)]
    epochs: Annotated[int, AtLeast(1)]
    networks: dict[str, Network] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A value that a paper prints.

    Attributes:
        accuracy: top-1, percent.
        deviation: over the paper's runs, where it prints one.
        grade: of evidence; null: the table's.
        note: what else the source says of it.
    """

    accuracy: Annotated[float, Between(0, 100)]
    deviation: Annotated[float, AtLeast(0)] | None = None
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
        method: how it is trained.
        network: the student, a network of the setting.
        role: the student's role in mapped profiles; null: by the method (a student of `kd`
            and `de_kd` is weak, one of `re_kd` strong), else the network's own.
        teacher: the teacher, a network of the setting, for `kd`, `re_kd` and `de_kd`.
        poor_teacher: the epochs of De-KD's teacher.
        tau, alpha: the row's; `lsr` has no tau.
        multiplier: the released code's, at `weight_classes` classes.
        weight_classes: K at which the row's weights were published; elsewhere as_released
            keeps the row's weights by the multiplier m K / weight_classes.
        correct_probability: a, of `tfkd_reg`.
        batch_size: of this cell; null: of its network's baseline row.
        overrides: what else the row has.
        paper: the paper's value.
        basis: where the hyper-parameters come from: the released configs, the paper's text,
            or a stand-in that `note` explains.
        note: why, for a stand-in; and what else is to be known of the row.
        omitted: why the cell cannot be run here at all.
    """

    row: str
    column: str
    method: Method
    network: str
    group: str | None = None
    role: Role | None = None
    teacher: str | None = None
    poor_teacher: PoorTeacher | None = None
    tau: Annotated[float, Above(0)] | None = None
    alpha: Annotated[float, Between(0, 1)] = 0.1
    multiplier: Annotated[float, Above(0)] = 1.0
    weight_classes: Annotated[int, AtLeast(2)] = 100
    correct_probability: Annotated[float, Between(0.9, 1, open_high=True)] = 0.99
    batch_size: Annotated[int, AtLeast(2)] | None = None
    overrides: Overrides = NO_OVERRIDES
    paper: Paper | None = None
    basis: Basis = "released"
    note: str | None = None
    omitted: str | None = None

    def __post_init__(self) -> None:
        if self.omitted is None and (self.method in TAUGHT) != (self.teacher is not None):
            needs = "needs a" if self.method in TAUGHT else "has no"
            raise ValueError(f"method {self.method} {needs} teacher")
        if (self.method == "de_kd") != (self.poor_teacher is not None):
            raise ValueError("poor_teacher belongs to de_kd, and de_kd needs it")
        if self.omitted is None and (self.method == "lsr") != (self.tau is None):
            raise ValueError(f"method {self.method} {'has no' if self.tau else 'needs'} tau")
        if self.basis == "stand-in" and not self.note:
            raise ValueError("a stand-in needs a note that says what it stands in for, and why")

    @property
    def student_role(self) -> Role | None:
        """The student's role where the cell or the method fixes it."""
        if self.role is not None:
            return self.role
        return {"kd": "weak", "de_kd": "weak", "re_kd": "strong"}.get(self.method)  # type: ignore[return-value]

    @property
    def teacher_role(self) -> Role:
        """The teacher's role: Re-KD's is weak, every other's strong."""
        return "weak" if self.method == "re_kd" else "strong"


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
        name: its path below experiments/, without suffix.
        title, source, shows: what it is, where it is printed, what it is to show; one line each.
        setting: the data set, schedule and networks of its cells.
        grade: of evidence, of the paper's values unless one says otherwise.
        paper_runs: over how many runs the paper's values are; null: not stated.
        baselines: networks trained by plain cross-entropy and the paper's values for them.
        cells: all others.
        cells_from: another table, whose baselines and cells are this one's too.
        figure: a figure that is drawn of it besides the intervals.
        hand_made: what `hand_made_distribution` draws.
        profile: the profile it is run at unless another is chosen.
        run_at: profiles at which it has been run with this code, and on what.
        notes: what a reader has to know of its values and rows.
    """

    name: str
    title: str
    source: str
    shows: str
    setting: str
    grade: Grade
    paper_runs: Annotated[int, AtLeast(1)] | None = None
    baselines: dict[str, Paper | None] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()
    cells_from: str | None = None
    figure: Figure | None = None
    hand_made: HandMade | None = None
    profile: str = "paper"
    run_at: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Profile:
    """At which size tables are run.

    Attributes:
        name: as it is chosen.
        means: what a table made at it is evidence of: the first line of every report.
        overrides: data set and schedule; null: each table's own setting.
        weak, strong: the networks that stand in by role; null: the published ones.
        batch_size: of all runs; null: each row's own.
        seeds: how many, or which.
    """

    name: str
    means: str
    overrides: Overrides | None = None
    weak: Overrides | None = None
    strong: Overrides | None = None
    batch_size: Annotated[int, AtLeast(2)] | None = None
    seeds: Annotated[int, AtLeast(1)] | tuple[int, ...] = 3

    def __post_init__(self) -> None:
        if (self.weak is None) != (self.strong is None):
            raise ValueError("weak and strong go together")


def read_profile(values: Mapping[str, Any]) -> Profile:
    """Checks the composed config group `profile`."""
    return build(Profile, values, "profile")


def table_names() -> list[str]:
    """Returns the name of every table file, sorted as a reader counts."""
    root = shipped_folder("experiments")
    files = (file.relative_to(root) for file in root.rglob("*.yaml"))
    names = [str(f.with_suffix("")) for f in files if f.parts[0] not in (SETTINGS, "results")]
    return sorted(names, key=_counting)


def _counting(name: str) -> list[tuple[str, int]]:
    """Sorts table10 after table9, and table4_tiny_imagenet beside table4."""
    return [(words, int(digits or 0)) for words, digits in re.findall(r"(\D*)(\d*)", name)]


def find_tables(chosen: str | Sequence[str]) -> list[Table]:
    """Reads the tables that a user names: files, folders of files, or a user's own `*.yaml`.

    Raises:
        UserError: there is no such table, or its file is wrong.
    """
    known = table_names()
    found: dict[str, None] = {}
    for name in [chosen] if isinstance(chosen, str) else chosen:
        below = [k for k in known if k == name or k.startswith(f"{name.rstrip('/')}/")]
        if name.endswith(SUFFIX):
            below = [name]
        if not below:
            raise UserError(f"table={name}: no such table{nearest(name, known)}")
        found |= dict.fromkeys(below)
    return [read_table(name) for name in found]


def read_table(name: str) -> Table:
    """Reads one file of experiments/, or a user's own, strictly.

    Args:
        name: below experiments/ without suffix, or the path of a `*.yaml`.

    Raises:
        UserError: an unknown key, a wrong value, a network that the setting does not have.
    """
    shown = name if name.endswith(SUFFIX) else f"experiments/{name}"
    table = build(Table, _with_name(name), shown)
    if table.cells_from is not None:
        other = read_table(table.cells_from)
        table = dataclasses.replace(
            table,
            baselines=other.baselines | table.baselines,
            cells=(*other.cells, *table.cells),
            paper_runs=other.paper_runs,
        )
    networks = read_setting(table.setting).networks
    for place, used in _networks_used(table):
        if used not in networks:
            where = f"{shown}.{place}"
            raise UserError(
                f"{where}: {used} is no network of setting {table.setting}{nearest(used, networks)}"
            )
    return table


def _networks_used(table: Table) -> list[tuple[str, str]]:
    used = [("baselines", name) for name in table.baselines]
    for index, cell in enumerate(table.cells):
        if cell.omitted is None:
            used.append((f"cells[{index}].network", cell.network))
            used += [(f"cells[{index}].teacher", cell.teacher)] if cell.teacher else []
    return used


def read_setting(name: str) -> Setting:
    """Reads one file of experiments/settings/, or a user's own, strictly."""
    file = name if name.endswith(SUFFIX) else f"{SETTINGS}/{name}"
    shown = name if name.endswith(SUFFIX) else f"experiments/{file}"
    return build(Setting, _with_name(file) | {"name": Path(name).stem}, shown)


def _with_name(name: str) -> dict[str, Any]:
    if name.endswith(SUFFIX):
        path = relative_to_here(name)
        return {"name": path.stem} | _read_yaml(path)
    return {"name": name} | _read_yaml(shipped_folder("experiments") / f"{name}{SUFFIX}")


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path.name}: no such file in {path.parent}")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping")
    return values
