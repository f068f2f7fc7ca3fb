"""The tables of Yuan et al. as data: they read, plan, share runs and say what the paper says."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.schema import read_config
from kdlsr.losses.lsr import LabelSmoothing
from kdlsr.losses.tfkd_reg import TeacherFreeRegularization
from kdlsr.runs.plan import Run, plan_run
from kdlsr.tables import reading
from kdlsr.tables.index import (
    IndexRow,
    gpu_hours,
    index_rows,
    print_index,
    profile_named,
    render_index,
    updated,
)
from kdlsr.tables.plan import Plan, PlannedCell, Request
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.reading import read_setting, read_table, table_names
from kdlsr.tables.schema import Table
from kdlsr.tables.setting import SizedSetting

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
NAMES = table_names()
YUAN = [name for name in NAMES if name.startswith("yuan2020/")]
SETTINGS = sorted(file.stem for file in (EXPERIMENTS / "settings").glob("*.yaml"))
OF_FILES = {"clinc150", "fsdd", "gtzan", "mnli", "mrpc", "qnli", "sst2"}  # which are not here


@functools.cache
def planned(*numbers: int) -> Plan:
    """The named tables of Yuan et al. at the paper's size, one seed: what is quick to plan."""
    tables = [read_table(f"yuan2020/table{number}") for number in numbers]
    return plan_tables(tables, Request(profile_named("paper"), seeds=(0,)))


def cell_of(number: int, row: str, column: str, name: str) -> PlannedCell:
    """The one planned cell at a place of the paper's grid, in one form."""
    (table,) = planned(number).tables
    (found,) = [c for c in table.cells if (c.row, c.column, c.name) == (row, column, name)]
    return found


def run_of(number: int, row: str, column: str, form: str = "as_released") -> Run:
    return cell_of(number, row, column, form).runs[0]


# ---------------------------------------------------------------- the files


def test_every_table_and_figure_of_the_paper_has_its_file() -> None:
    expected = {f"yuan2020/table{n}" for n in range(1, 12)} | {
        "yuan2020/figure2",
        "yuan2020/figure3",
    }
    assert expected <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_reads_and_begins_with_the_command_that_runs_it(name: str) -> None:
    table = read_table(name)
    first = (EXPERIMENTS / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# python -m kdlsr.reproduce ")
    assert f"table={name}" in first.split()
    assert table.cells or table.hand_made


@pytest.mark.parametrize("name", YUAN)
def test_a_table_of_the_paper_says_where_it_is_printed(name: str) -> None:
    text = " ".join((EXPERIMENTS / f"{name}.yaml").read_text().split())
    assert "arXiv 1909.11723" in text
    assert "Expected" in text


def counted_macs(run: Run) -> int:
    """MACs of the convolutions and linear layers, for one image."""
    found: list[int] = []

    def count(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        positions = output.shape[2:].numel()
        found.append(positions * layer.weight.numel())

    with torch.device("meta"):
        model = run.build_model().eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    model(torch.empty(1, *run.facts.spec.shape, device="meta"))
    return sum(found)


@pytest.mark.parametrize("name", sorted({*SETTINGS} - OF_FILES))
def test_macs_are_those_of_the_networks(name: str) -> None:
    setting = read_setting(name)
    for label, network in setting.networks.items():
        run = plan_run(read_config(compose_config((setting.overrides + network.overrides).texts())))
        assert network.macs == pytest.approx(counted_macs(run), rel=1e-3), label


@pytest.mark.parametrize("name", sorted({*SETTINGS} & OF_FILES))
def test_a_setting_of_files_composes_with_each_of_its_networks_at_each_size(name: str) -> None:
    setting = read_setting(name)
    for profile in ("paper", *setting.profiles):
        sized = SizedSetting(setting, profile_named(profile))
        for network in setting.networks:
            overrides = sized.overrides + sized.network(network, None)
            config = read_config(compose_config(overrides.texts()))
            assert config.dataset.name == name
            assert config.schedule.epochs == setting.epochs
            assert sized.label(network, None)


@pytest.mark.parametrize("name", sorted({*SETTINGS} - OF_FILES))
def test_a_setting_states_what_its_data_set_and_schedule_are(name: str) -> None:
    setting = read_setting(name)
    network = next(iter(setting.networks.values()))
    run = plan_run(read_config(compose_config((setting.overrides + network.overrides).texts())))
    assert setting.classes == run.facts.num_classes
    assert setting.epochs == run.config.schedule.epochs


def mistyped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: Callable[[str], str]) -> str:
    """Reads a changed copy of table 9; returns what the user is told."""
    folder = tmp_path / "experiments"
    for name in ("yuan2020/table9.yaml", "settings/cifar100.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = (EXPERIMENTS / name).read_text()
        (folder / name).write_text(change(text) if "table9" in name else text)
    monkeypatch.setattr(reading, "shipped_folder", lambda name: tmp_path / name)
    with pytest.raises(UserError) as error:
        read_table("yuan2020/table9")
    return str(error.value)


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (
            "tau: 40",
            "tua: 40",
            "unknown key experiments/yuan2020/table9.cells[0].tua; nearest: tau",
        ),
        (
            "method: tfkd_reg",
            "method: tfkd_rge",
            "cells[0].method='tfkd_rge' is not possible; nearest: tfkd_reg",
        ),
        ("network: MobileNetV2", "network: MobilNetV2", "nearest: MobileNetV2"),
        ("teacher: ResNet50", "teacher: ResNet5", "nearest: ResNet50"),
        ("alpha: 0.95", "alpha: 1.95", "expected a number in [0, 1]"),
        ("accuracy: 70.88", "acuracy: 70.88", "nearest: accuracy"),
        ("setting: cifar100", "seting: cifar100", "unknown key experiments/yuan2020/table9.seting"),
        ("setting: cifar100", "setting: cifar", "cifar.yaml: no such file"),
        ("  GoogLeNet: {acc", "  GoogleNet: {acc", "GoogleNet is no network of setting cifar100"),
    ],
)
def test_a_typo_is_one_line_that_says_what_is_near(
    right: str, wrong: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    message = mistyped(monkeypatch, tmp_path, lambda text: text.replace(right, wrong))
    assert told in message
    assert "\n" not in message


# ---------------------------------------------------------------- what the paper prints

BASELINES = {
    1: {"MobileNetV2": 68.38, "ShuffleNetV2": 70.34, "ResNet18": 75.87, "ResNet50": 78.16,
        "DenseNet121": 79.04, "ResNeXt29": 81.03},
    2: {"plain CNN": 87.14, "MobileNetV2": 90.98, "ResNet18": 95.12, "ResNeXt29": 95.76},
    3: {"MobileNetV2": 55.06, "ShuffleNetV2": 60.51, "ResNet18": 63.44, "ResNet50": 67.47},
    5: {"MobileNetV2": 68.38, "ShuffleNetV2": 70.34, "ResNet18": 75.87, "GoogLeNet": 78.72,
        "DenseNet121": 79.04, "ResNeXt29": 81.03},
    6: {"MobileNetV2": 55.06, "ShuffleNetV2": 60.51, "ResNet50": 67.47, "DenseNet121": 68.15},
    7: {"ResNet18": 69.84, "ResNet50": 75.77, "DenseNet121": 75.28, "ResNeXt101": 79.28},
    9: {"MobileNetV2": 68.38, "ShuffleNetV2": 70.34, "ResNet18": 75.87, "GoogLeNet": 78.15},
}  # fmt: skip
# Column by column, from top to bottom; accuracy or (accuracy, deviation).
COLUMNS: dict[str, dict[str, list[Any]]] = {
    "table1": {
        "Normal KD": [(71.05, 0.16), (72.05, 0.13), (71.04, 0.20), (72.15, 0.18),
                      (71.29, 0.23), (72.32, 0.25), (71.65, 0.41), (77.84, 0.15)],
        "Re-KD": [(77.28, 0.28), (77.35, 0.32), (79.30, 0.11), (79.43, 0.39),
                  (79.55, 0.11), (79.83, 0.05), (81.53, 0.14), (81.62, 0.22)],
    },
    "table2": {
        "Normal KD": [(87.67, 0.17), (91.69, 0.14), (87.45, 0.18), (95.80, 0.13)],
        "Re-KD": [(95.33, 0.12), (95.71, 0.11), (91.81, 0.23), (96.49, 0.15)],
    },
    "table3": {
        "Normal KD": [56.70, 61.19, 56.02, 60.79, 64.23],
        "Re-KD": [64.12, 64.35, 67.68, 67.62, 67.89],
    },
    "table4": {"De-KD": [(70.65, 0.35), (71.82, 0.11), (71.45, 0.23), (72.11, 0.09),
                         (77.23, 0.11), (71.52, 0.27), (72.26, 0.36), (77.28, 0.17)]},
    "table4_tiny_imagenet": {"De-KD": [56.22, 60.66, 56.02, 61.09]},
    "table5": {"Tf-KD_self": [70.96, 72.23, 77.10, 80.17, 80.26, 82.08], "Normal KD": [None] * 6},
    "table6": {"Tf-KD_self": [56.77, 61.36, 68.18, 68.29], "Normal KD": [None] * 4},
    "table7": {"Tf-KD_self": [70.42, 76.41, 75.72, 79.56]},
    "table8": {"Tf-KD_self": [70.42], "Normal KD": [70.40]},
    "table9": {
        "Tf-KD_reg": [70.88, 72.09, 77.36, 79.22],
        "Normal KD": [71.05, 72.05, 77.19, 78.84],
        "LSR": [69.32, 70.83, 77.26, 79.07],
    },
    "table10": {
        "Tf-KD_reg": [56.47, 60.93, 67.92, 68.37],
        "Normal KD": [56.53, 61.19, 68.15, 68.44],
        "LSR": [56.24, 60.66, 67.63, 68.19],
    },
    "table11": {"Tf-KD_reg": [70.24, 76.42, 75.62, 79.76], "LSR": [70.02, 76.38, 75.24, 79.67]},
}  # fmt: skip


def printed(table: Table, column: str) -> list[Any]:
    values: list[Any] = []
    for cell in table.cells:
        if cell.column == column:
            paper = cell.paper
            exact = paper and paper.deviation is None
            values.append(
                paper and (paper.accuracy if exact else (paper.accuracy, paper.deviation))
            )
    return values


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_the_papers(name: str) -> None:
    table = read_table(f"yuan2020/{name}")
    assert {cell.column for cell in table.cells} == set(COLUMNS[name])
    for column, values in COLUMNS[name].items():
        assert printed(table, column) == values, column


@pytest.mark.parametrize("number", BASELINES)
def test_baselines_are_the_papers(number: int) -> None:
    found = read_table(f"yuan2020/table{number}").baselines
    assert {name: paper and paper.accuracy for name, paper in found.items()} == BASELINES[number]


@pytest.mark.parametrize("name", YUAN)
def test_runs_are_stated_where_the_paper_states_them(name: str) -> None:
    """Over 3 runs: Tables 1, 2 and the CIFAR rows of 4, of which (and of 1) Figure 2's are."""
    stated = ("table1", "table2", "table4", "figure2")
    assert read_table(name).paper_runs == (3 if name.split("/")[1] in stated else None)


@pytest.mark.parametrize("name", YUAN)
def test_only_cifar_100_has_rows_from_the_released_configs(name: str) -> None:
    table = read_table(name)
    if table.setting != "cifar100":
        assert {cell.basis for cell in table.cells} <= {"stand-in", "text"}


# ---------------------------------------------------------------- what is run


@pytest.mark.parametrize("number", [1, 4, 5, 9])
def test_every_cell_of_a_cifar_100_table_has_a_run_or_says_why_not(number: int) -> None:
    (table,) = planned(number).tables
    without = {cell.key for cell in table.cells if not cell.runs}
    assert without == {cell.key for cell in table.cells if cell.omitted}


def test_tables_1_4_5_and_9_share_baselines_and_teachers() -> None:
    apart = [{job.run.run_id for job in planned(number).jobs} for number in (1, 4, 5, 9)]
    together = [job.run.run_id for job in planned(1, 4, 5, 9).jobs]
    assert len(together) == len(set(together)) == len(set.union(*apart))
    assert len(together) < sum(map(len, apart))
    baselines = [c for t in planned(1, 4, 5, 9).tables for c in t.cells if c.kind == "baseline"]
    ids = {(c.row, run.run_id) for c in baselines for run in c.runs}
    assert len(ids) == len({row for row, _ in ids}) == 7  # one run per network and seed
    # The poor teachers of Table 4 are beginnings of the teachers of Table 1.
    teachers = {job.run.run_id: job for job in planned(1, 4, 5, 9).jobs if job.only_teaches}
    poor = {job.run.run_id for job in planned(4).jobs if job.only_teaches}
    assert all(teachers[run_id].until is None for run_id in poor)
    assert {job.until for job in planned(4).jobs if job.only_teaches} == {1, 51}


def test_tfkd_reg_of_mobilenetv2_is_the_released_row_with_its_two_controls() -> None:
    cell = cell_of(9, "MobileNetV2", "Tf-KD_reg", "as_released")
    assert cell.runs[0].loss == TeacherFreeRegularization(
        num_classes=100,
        alpha=0.95,
        tau=40,
        correct_probability=0.99,
        form="as_released",
        multiplier=1,
    )
    by_key = {c.key: c.runs[0] for c in planned(9).tables[0].cells if c.runs}
    scaled, smoothed = (by_key[key] for key in cell.control_keys)
    assert scaled.config.loss.name == "ce"
    assert scaled.loss.scale == pytest.approx(0.0595, abs=1e-12)
    assert isinstance(smoothed.loss, LabelSmoothing)
    assert smoothed.loss.alpha == pytest.approx(0.160, abs=5e-4)
    assert smoothed.loss.scale == pytest.approx(0.0595, abs=1e-12)


def options(run: Run) -> tuple[float, float, float, int]:
    """tau, alpha, multiplier and batch size."""
    loss: Any = run.loss
    return loss.tau, loss.alpha, loss.multiplier, run.config.schedule.batch_size


@pytest.mark.parametrize(
    ("number", "row", "column", "expected"),
    [
        (9, "ShuffleNetV2", "Tf-KD_reg", (10, 0.95, 1, 128)),
        (9, "ResNet18", "Tf-KD_reg", (20, 0.1, 100, 128)),
        (9, "GoogLeNet", "Tf-KD_reg", (40, 0.1, 50, 64)),
        (9, "ResNet18", "Normal KD", (20, 0.6, 1, 64)),
        (5, "MobileNetV2", "Tf-KD_self", (20, 0.95, 1, 128)),
        (5, "ResNet18", "Tf-KD_self", (6, 0.95, 50, 128)),
        (5, "GoogLeNet", "Tf-KD_self", (20, 0.4, 50, 64)),
        (5, "DenseNet121", "Tf-KD_self", (20, 0.9, 50, 100)),
        (5, "ResNeXt29", "Tf-KD_self", (20, 0.9, 100, 64)),
        (1, "ResNeXt29 / MobileNetV2", "Normal KD", (20, 0.95, 1, 64)),
        (1, "ResNet50 / ShuffleNetV2", "Re-KD", (20, 0.6, 1, 128)),
        (1, "DenseNet121 / ShuffleNetV2", "Re-KD", (20, 0.6, 1, 100)),
        (4, "ResNeXt29 / ResNet18", "De-KD", (20, 0.6, 1, 64)),
        (2, "ResNet18 / MobileNetV2", "Normal KD", (20, 0.95, 0.1, 128)),
        (6, "ResNet50", "Tf-KD_self", (6, 0.95, 100, 64)),
        (11, "ResNeXt101", "Tf-KD_reg", (20, 0.1, 1, 256)),
    ],
)
def test_a_row_has_its_hyper_parameters(
    number: int, row: str, column: str, expected: tuple[float, float, float, int]
) -> None:
    assert options(run_of(number, row, column)) == pytest.approx(expected)


def test_a_teacher_is_pinned_to_its_own_baseline_row() -> None:
    student = run_of(1, "ResNeXt29 / ResNet18", "Re-KD")
    teacher = student.teacher_run
    assert teacher is not None
    assert (student.config.schedule.batch_size, teacher.config.schedule.batch_size) == (64, 128)
    assert student.teacher is not None
    assert student.teacher.epoch == "best_test"
    as_written = run_of(1, "ResNeXt29 / ResNet18", "Re-KD", "as_written").teacher
    assert as_written is not None
    assert as_written.epoch == "last"


def test_de_kd_is_taught_after_epoch_51_as_released_and_50_as_written() -> None:
    row = "ResNeXt29 / MobileNetV2"
    forms = ("as_released", "as_written")
    teachers = [run_of(4, row, "De-KD", form).teacher for form in forms]
    epochs = [teacher.epoch for teacher in teachers if teacher]
    assert epochs == [51, 50]
    of_resnet18 = run_of(4, "ResNet18 / MobileNetV2", "De-KD").teacher
    assert of_resnet18 is not None
    assert of_resnet18.epoch == 1


def test_the_plain_cnn_has_its_two_rates() -> None:
    taught = run_of(2, "ResNet18 / plain CNN", "Normal KD")
    assert vars(taught.optimisation) == {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0}
    assert run_of(2, "plain CNN", "Baseline", "baseline").optimisation.lr == 0.1
    teacher = run_of(2, "ResNet18 / plain CNN", "Re-KD").teacher_run
    assert teacher is not None
    assert vars(teacher.optimisation) == {"optimizer": "adam", "lr": 0.1, "weight_decay": 0.0}


def test_imagenet_networks_teach_themselves_untrained_by_others() -> None:
    run = run_of(8, "ResNet18", "Normal KD")
    teacher = run.teacher_run
    assert teacher is not None
    assert teacher.config.model.options["architecture"] == "densenet121"
    assert not teacher.config.model.options["pretrained"]
    assert (run.config.schedule.batch_size, teacher.config.schedule.batch_size) == (512, 512)


def test_smoke_maps_rows_by_role_and_runs_equal_ones_once() -> None:
    tables = [read_table(name) for name in YUAN if read_table(name).cells]
    plan = plan_tables(tables, Request(profile_named("smoke"), seeds=(0,)))
    assert {job.run.config.dataset.name for job in plan.jobs} == {"digits"}
    widths = {job.run.config.model.options["width"] for job in plan.jobs}
    assert widths == {8, 16}
    cells = [cell for table in plan.tables for cell in table.cells if cell.runs]
    assert len(plan.jobs) < len(cells) / 2


# ---------------------------------------------------------------- the index


def test_the_committed_index_is_what_the_files_make() -> None:
    text = (EXPERIMENTS / "README.md").read_text()
    fresh = updated(text, index_rows([read_table(name) for name in NAMES]))
    assert text == fresh, "renew it: python -m kdlsr.tables.index"


def test_the_index_counts_what_a_plan_of_three_seeds_counts() -> None:
    table = read_table("yuan2020/table4")
    jobs = plan_tables([table], Request(profile_named("paper"), seeds=(0, 1, 2))).jobs
    setting = read_setting("cifar100")
    (row,) = index_rows([table])
    assert (row.runs, row.teachers) == (len(jobs), sum(job.only_teaches for job in jobs))
    hours = [gpu_hours(job, setting) for job in jobs]
    assert row.hours == pytest.approx(sum(h for h in hours if h is not None))


def test_hours_follow_from_the_arithmetic() -> None:
    setting = read_setting("cifar100")
    jobs = {job.run.run_id: job for job in planned(4).jobs}
    baseline = jobs[run_of(4, "MobileNetV2", "Baseline", "baseline").run_id]
    per_image = 2 * 3 * 64.95e6
    assert gpu_hours(baseline, setting) == pytest.approx(per_image * 5e4 * 200 / 20e12 / 3600)
    student = run_of(4, "ResNeXt29 / MobileNetV2", "De-KD")
    taught = jobs[student.run_id]
    with_teacher = (per_image + 2 * 5387.36e6) * 5e4 * 200 / 20e12 / 3600
    assert gpu_hours(taught, setting) == pytest.approx(with_teacher)
    assert student.teacher_run is not None
    poor = jobs[student.teacher_run.run_id]  # trained no further than it has to be
    assert gpu_hours(poor, setting) == pytest.approx(6 * 5387.36e6 * 5e4 * 51 / 20e12 / 3600)


def test_unknown_hours_are_not_guessed() -> None:
    rows = index_rows([read_table(name) for name in ("quickstart", "yuan2020/figure3")])
    by_name = {row.name: row for row in rows}
    assert by_name["quickstart"].hours is None
    assert by_name["yuan2020/figure3"].runs == 0
    assert "| - |" in render_index([by_name["quickstart"]])


def test_together_the_papers_tables_need_fewer_runs_than_apart() -> None:
    *paper, together = index_rows([read_table(f"yuan2020/table{n}") for n in (1, 4, 5, 9)])
    assert together.runs is not None
    assert together.runs < sum(row.runs or 0 for row in paper)
    assert together.hours is not None
    assert together.hours < sum(row.hours or 0 for row in paper)


def test_the_printed_index_reads_at_80_columns() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    print_index(console, [read_table("yuan2020/table4"), read_table("yuan2020/figure3")])
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "yuan2020/table4" in text
    assert "…" not in text


def test_where_a_table_was_run_stands_in_the_index() -> None:
    row = IndexRow("x", "y", 3, 1, 0.25, {"reduced": "two cores, 2 h"})
    assert (
        render_index([row]).splitlines()[-1] == "| x | y | 3 | 1 | 0.2 | reduced: two cores, 2 h |"
    )
