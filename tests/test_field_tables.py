"""The tables of `experiments/field/`: targets, controls, teachers, and what a size leaves out."""

import functools

import pytest

from kdlsr.config import UserError, build
from kdlsr.tables.claims import stated_claim
from kdlsr.tables.index import profile_named
from kdlsr.tables.plan import PlannedCell, PlannedTable, Request
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.reading import read_setting, read_table
from kdlsr.tables.schema import Cell
from kdlsr.tables.setting import Setting, SizedSetting

# Reported on CIFAR-100, by the repositories' READMEs: accuracies of the method, and deviations.
PAIRS = ("ResNet8x4", "WRN-16-2", "ShuffleNetV2", "MobileNetV2 x0.5")
REPORTED: dict[str, tuple[float | tuple[float, float], ...]] = {
    "KD": (73.33, 74.92, 74.45, 67.35),
    "DKD": (76.32, 76.24, 77.07, 70.35),
    "DIST": ((76.31, 0.19), 75.51, (77.35, 0.25), (68.66, 0.23)),
    "WTTM": (76.06, 76.37, 76.55, 69.59),
    "LSKD": (76.62, 76.11, 75.56, 69.02),
}
ALONE = {"ResNet8x4": 72.50, "WRN-16-2": 73.26, "ShuffleNetV2": 71.82, "MobileNetV2 x0.5": 64.60}
TEACHERS = {"ResNet32x4": 79.42, "WRN-40-2": 75.61, "ResNet50": 79.34}


@functools.cache
def planned(name: str, profile: str) -> PlannedTable:
    request = Request(profile_named(profile), seeds=(0,))
    (table,) = plan_tables([read_table(f"field/{name}")], request).tables
    return table


def rows(table: PlannedTable) -> list[PlannedCell]:
    return [cell for cell in table.cells if cell.kind == "method"]


@pytest.mark.parametrize("column", REPORTED)
def test_targets_with_a_teacher_are_those_of_the_repositories(column: str) -> None:
    found = {}
    for cell in read_table("field/with_teacher").cells:
        if cell.column == column and cell.network in PAIRS and cell.paper is not None:
            value = cell.paper.accuracy, cell.paper.deviation
            found[cell.network] = value if value[1] is not None else value[0]
    assert found == dict(zip(PAIRS, REPORTED[column], strict=True))


def test_baselines_with_a_teacher_are_those_of_the_repositories() -> None:
    table = read_table("field/with_teacher")
    assert table.grade == "P"
    assert {n: p and p.accuracy for n, p in table.baselines.items()} == ALONE | TEACHERS


def test_the_values_of_a_row_are_its_pairs() -> None:
    cells = read_table("field/with_teacher").cells
    betas = {cell.network: cell.options["non_target"] for cell in cells if cell.method == "dkd"}
    six_or_eight = {"ResNet8x4": 8, "WRN-16-2": 6, "ShuffleNetV2": 8, "MobileNetV2 x0.5": 8}
    assert betas == six_or_eight | {"ResNet20": 2}
    assert all(cell.paper is None for cell in cells if cell.method == "nkd")


def test_what_distils_is_beside_kd_at_its_weights_from_the_same_last_teacher() -> None:
    table = planned("with_teacher", "reduced")
    cells = {cell.key: cell for cell in table.cells}
    for row in rows(table):
        (run,) = row.runs
        assert run.config.teacher.epoch == "last", row.key
        controls = [cells[key].runs[0] for key in row.control_keys]
        taught = [control for control in controls if control.teacher_run is not None]
        assert taught or row.column == "KD"
        for control in taught:
            assert control.config.loss.name == ("wttm" if row.column == "WTTM" else "kd_weighted")
            assert control.teacher_run is not None
            assert run.teacher_run is not None
            assert control.teacher_run.run_id == run.teacher_run.run_id
            assert control.config.teacher.epoch == "last"


def test_the_four_gains_are_said_and_no_accuracy_is_made_of_them() -> None:
    table = read_table("field/capacity_gap")
    assert all(paper is None for paper in table.baselines.values())
    assert all(cell.paper is None for cell in table.cells)
    setting = read_setting(table.setting)
    claims = [stated_claim(cell, table, setting) for cell in table.cells]
    assert [c and (c.gain, c.grade) for c in claims] == [
        (gain, "P") for gain in (-0.08, 0.06, 0.08, 0.06)
    ]
    for claim in claims:
        assert claim is not None
        assert f"by {claim.gain:+.2f} points, which is not significant" in claim.sentence
    assert table.paper_runs == 5


def test_a_gain_is_stated_once() -> None:
    values = {"row": "a", "column": "b", "method": "ce", "network": "c", "claimed_gain": 1.0}
    with pytest.raises(UserError, match="claimed_gain is for a row without paper"):
        build(Cell, {**values, "paper": {"accuracy": 90}}, "here")


def test_values_of_two_protocols_make_a_gain_that_is_ours_to_answer_for() -> None:
    table = read_table("field/with_teacher")
    setting = read_setting(table.setting)
    found = {}
    for cell in table.cells:
        claim = stated_claim(cell, table, setting)
        if cell.network == "ResNet8x4" and claim is not None and claim.gain is not None:
            assert cell.paper is not None
            found[cell.column] = (cell.paper.protocol, cell.paper.runs, claim.grade)
    best, last = ("best_test", None, "D"), ("last", None, "P")
    assert found == {"KD": ("last", 5, "P"), "WTTM": last} | dict.fromkeys(
        ("DKD", "DIST", "LSKD"), best
    )


def test_a_warm_up_takes_the_same_share_of_a_shorter_schedule() -> None:
    (paper, reduced) = (
        [
            (run.config.loss.options["warmup_epochs"], run.config.schedule.epochs)
            for cell in planned("with_teacher", profile).cells
            for run in cell.runs
            if cell.column == "DKD" or "warm-up" in cell.name
        ]
        for profile in ("paper", "reduced")
    )
    assert set(paper) == {(20.0, 240)}
    ((share, epochs),) = set(reduced)
    assert share / epochs == pytest.approx(20 / 240)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("profile", ["reduced", "smoke"])
def test_at_a_smaller_size_one_pairs_rows_are_run_by_small_networks(profile: str) -> None:
    table = planned("with_teacher", profile)
    assert {cell.column for cell in rows(table)} == {*REPORTED, "NKD"}
    runs = [run for cell in table.cells for run in cell.runs]
    teachers = [run.teacher_run for run in runs if run.teacher_run]
    assert {run.config.model.name for run in [*runs, *teachers]} == {"resnet8"}
    widths = {run.config.model.options["width"] for run in runs}
    (teacher_width,) = {run.config.model.options["width"] for run in teachers}
    assert len(widths) == 1
    assert max(widths) < teacher_width


def test_a_size_runs_the_rows_of_its_students_alone() -> None:
    setting = read_setting("cifar100_crd")
    smoke = SizedSetting(setting, profile_named("smoke"))
    assert smoke.runs_rows_of("ResNet8x4")
    assert not smoke.runs_rows_of("WRN-16-2")
    paper = SizedSetting(setting, profile_named("paper"))
    assert all(paper.runs_rows_of(name) for name in setting.networks)


def test_students_of_a_size_are_networks_of_its_setting() -> None:
    values = {
        "name": "mine",
        "source": "here",
        "overrides": ["dataset=digits"],
        "classes": 10,
        "train_images": 1,
        "epochs": 1,
        "profiles": {"smoke": {"students": ["ResNet9"]}},
    }
    with pytest.raises(UserError, match=r"profiles\.smoke: ResNet9 is no network of the setting"):
        build(Setting, values, "experiments/settings/mine.yaml")


def test_a_method_without_a_teacher_has_no_epoch_of_one() -> None:
    cell = Cell(
        row="a",
        column="b",
        method="lsr",
        network="c",
        options={"alpha": 0.1},
        teacher_epoch="last",
    )
    with pytest.raises(UserError, match=r"^here: method lsr has no teacher_epoch$"):
        cell.check("here")


# ---------------------------------------------------------------- what needs no teacher


def test_what_needs_no_teacher_is_beside_its_own_control() -> None:
    table = planned("teacher_free", "reduced")
    cells = {cell.key: cell for cell in table.cells}
    assert len(cells) == 16
    found = {
        row.column: {cells[key].runs[0].config.loss.name for key in row.control_keys}
        for row in rows(table)
    }
    growing, scaled = {"lsr_growing"}, {"ce", "lsr"}
    assert found.pop("Tf-KD_reg") == scaled
    assert found == {
        "LSR": set(),
        "MaxSup": growing,
        "PS-KD": growing,
        "OLS": {"lsr"},
        "OLS, begun with LSR": {"lsr"},
        "CS-KD": {"cs_kd"},
        "LS++": scaled,
    }


def test_at_the_papers_size_label_smoothing_is_the_run_of_table_9() -> None:
    def targets(name: str) -> dict[tuple[str, str], float]:
        return {
            (cell.network, cell.column): cell.paper.accuracy
            for cell in read_table(name).cells
            if cell.paper and cell.column in ("LSR", "Tf-KD_reg")
        }

    ours, theirs = targets("field/teacher_free"), targets("yuan2020/table9")
    assert len(ours) == 4
    assert ours.items() <= theirs.items()
    mine, his = read_setting("cifar100_field"), read_setting("cifar100")
    assert mine.overrides == his.overrides
    assert all(network == his.networks[name] for name, network in mine.networks.items())
