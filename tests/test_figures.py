"""The figures of a report: which are drawn, the same bytes each time, and what they show."""

import io
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from PIL import Image
from sample_report import (
    build_report,
    full_report,
    hand_made_report,
    invented_card,
    invented_metrics,
    one_seed_report,
    search_report,
    teacher_epoch_report,
)

from kdlsr.reporting.comparison import Comparison
from kdlsr.reporting.figures.curves import Band, band, panels, series, vertical_range
from kdlsr.reporting.figures.drawing import (
    draw_figures,
    draw_search,
    right_class,
    softened,
    teacher_lines,
)
from kdlsr.reporting.figures.intervals import Entry, axis_range, draw_differences, sections
from kdlsr.reporting.moderation import moderated
from kdlsr.reporting.statistics import difference, estimate
from kdlsr.reporting.summary import Report, RunSummary
from kdlsr.training.record import EpochRecord

ALWAYS = {"differences.png", "curves.png"}
KINDS: dict[str, tuple[Callable[[], Report], set[str]]] = {
    "full": (full_report, ALWAYS),
    "one seed": (one_seed_report, ALWAYS),
    "hand-made": (
        lambda: replace(hand_made_report(), cells=()),
        ALWAYS | {"hand_made.png"},
    ),
    "teacher's epoch": (teacher_epoch_report, ALWAYS | {"teacher_epoch.png"}),
    "search": (search_report, ALWAYS | {"search.png"}),
    "nothing": (lambda: build_report(()), ALWAYS),
}


def pixels(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    image.verify()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_report_has_its_figures_and_the_same_bytes_twice(kind: str) -> None:
    make, names = KINDS[kind]
    drawn = draw_figures(make())
    assert set(drawn) == names
    for png in drawn.values():
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(np.unique(pixels(png))) > 1  # not an empty sheet
        assert b"Software" not in png
        assert b"tIME" not in png
    assert draw_figures(make()) == drawn


def test_a_users_matplotlib_settings_neither_matter_nor_change() -> None:
    expected = draw_figures(search_report())
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        assert draw_figures(search_report()) == expected
        assert dict(matplotlib.rcParams) == before


def test_every_comparison_of_a_report_is_one_line_of_the_interval_plot() -> None:
    report = full_report()
    shown = [entry for entries in sections(report).values() for entry in entries]
    expected = [c.baseline for c in report.cells if c.baseline]
    expected += [control for c in report.cells for control in c.controls]
    assert len(shown) == len(expected)
    assert {id(entry.held) for entry in shown} == {id(found) for found in expected}
    assert sum(entry.is_control for entry in shown) == sum(len(c.controls) for c in report.cells)


def test_the_interval_plot_grows_with_the_table_and_keeps_its_width() -> None:
    report = one_seed_report()
    cells = tuple(
        replace(cell, key=f"{cell.key} {i}", row=f"{cell.row} {i}")
        for i in range(3)
        for cell in report.cells
    )
    shapes = [pixels(draw_differences(r)).shape for r in (report, replace(report, cells=cells))]
    assert shapes[0][1] == shapes[1][1]
    assert shapes[1][0] > 2 * shapes[0][0]


def entry(*ours: float) -> Entry:
    other = {0: 0.1, 1: -0.1}
    held = moderated(estimate(ours), estimate([*other.values()]), None)
    plain = difference(dict(enumerate(ours)), other)
    return Entry("", Comparison("", "", plain, held, None), False)


def test_one_far_outlier_does_not_flatten_the_interval_plot() -> None:
    near = [entry(0.2, 0.4), entry(-0.3, -0.1), entry(0.0, 0.3), entry(0.1, 0.3)]
    low, high = axis_range([*near, entry(-60.0, -60.4)])
    assert low > -20
    assert all(low < end < high for shown in near for end in shown.ends)


def test_the_axis_holds_all_intervals_and_zero_where_they_are_alike() -> None:
    entries = [entry(0.9, 1.1), entry(1.2, 1.0), entry(0.8, 1.0)]
    low, high = axis_range(entries)
    assert low < 0 < high
    assert all(low < end < high for shown in entries for end in shown.ends)


def run(seed: int, values: list[float], state: str = "complete") -> RunSummary:
    history = tuple(
        EpochRecord(i + 1, 0.1, {"total": math.nan}, None, invented_metrics(value))
        for i, value in enumerate(values)
    )
    card = invented_card(f"run-{seed}", seed, "none")
    return RunSummary(card, state, history=history)  # type: ignore[arg-type]


def test_a_cells_curve_is_the_mean_and_range_of_its_complete_runs() -> None:
    runs = (run(0, [10, 50, 60]), run(1, [20, 40, 90]), run(2, [0, 0], "failed"))
    found = band(replace(full_report().cells[0], runs=runs))
    assert found == Band((1, 2, 3), (15, 45, 75), (10, 40, 60), (20, 50, 90))


def test_what_is_not_finite_or_not_there_is_no_point_of_a_curve() -> None:
    assert series(run(0, [1.0, math.inf, 3.0]), "test", "top1") == [(1, 1.0), (3, 3.0)]
    assert series(run(0, [1.0]), "train", "total") == []
    assert series(run(0, [1.0]), "val", "top1") == []


def test_the_steep_beginning_of_a_curve_does_not_set_its_range() -> None:
    steep = tuple([1.0] * 10 + [90.0 + i / 100 for i in range(90)])
    low, high = vertical_range([Band(tuple(range(1, 101)), steep, steep, steep)])
    assert 89 < low < 90.2
    assert high > max(steep)


def test_a_rows_panel_has_its_cells_and_their_baseline() -> None:
    found = {panel.title: [c.label for c in panel.curves] for panel in panels(full_report())}
    assert found["Re-KD · strong teaches weak"] == ["baseline", "Normal KD as_released"]
    assert found["weak"] == ["baseline", "CE x 0.05", "LSR 0.0943 x 1.06"]


def test_the_teachers_epochs_are_one_line_in_order_with_a_fully_trained_teacher() -> None:
    report = teacher_epoch_report()
    last = replace(report.cells[-1], key="full", teacher_epoch=None)  # its results say epoch 3
    (line,) = teacher_lines(replace(report, cells=(*report.cells, last))).values()
    assert [cell.teacher_epoch for cell in line] == [1, None, 50, 100, 200]


def test_students_of_two_teachers_are_two_lines() -> None:
    report = teacher_epoch_report()
    other = tuple(
        replace(c, key=f"{c.key} b", column="ResNeXt29") for c in report.cells if c.teacher_epoch
    )
    lines = teacher_lines(replace(report, cells=(*report.cells, *other)))
    assert list(lines) == ["De-KD · as_released", "ResNeXt29 · as_released"]


def test_teachers_that_only_their_configs_tell_apart_are_two_lines() -> None:
    report = teacher_epoch_report()
    cells = [
        replace(
            c,
            key=f"{c.key} {name}",
            runs=(replace(c.runs[0], card=invented_card("run", 0, name)),),
        )
        for name in ("resnet8", "resnet20")
        for c in report.cells
        if c.teacher_epoch
    ]
    lines = teacher_lines(replace(report, cells=tuple(cells)))
    assert list(lines) == ["resnet8 · as_released", "resnet20 · as_released"]
    assert {len(line) for line in lines.values()} == {4}


def test_a_control_with_a_teacher_is_no_line_of_the_teachers_figure() -> None:
    report = teacher_epoch_report()
    cells = tuple(replace(c, kind="control", name="double training") for c in report.cells)
    assert teacher_lines(replace(report, cells=cells)) == {}


@pytest.mark.parametrize(
    ("classes", "tau", "a"), [(10, 20.0, 0.99), (100, 40.0, 0.9), (2, 1, 0.99)]
)
def test_the_hand_made_bars_are_the_distributions_of_both_forms(
    classes: int, tau: float, a: float
) -> None:
    hand_made = {"classes": classes, "tau": tau, "correct_probability": a}
    p = np.full(classes, (1 - a) / (classes - 1))
    p[right_class(classes)] = a
    released, written = np.exp(p / tau), p ** (1 / tau)
    np.testing.assert_allclose(softened(hand_made, "as_released"), released / released.sum())
    np.testing.assert_allclose(softened(hand_made, "as_written"), written / written.sum())


def test_the_chosen_point_of_a_search_is_framed_and_moves_with_the_choice() -> None:
    report = search_report()
    assert report.search is not None
    points = report.search.points
    frames = []
    for key in (points[0].key, points[4].key, None):
        image = pixels(draw_search(replace(report.search, best=key)))
        frames.append(np.abs(image - [0xD5, 0x5E, 0x00]).max(axis=2) < 12)
    assert frames[0].sum() > 100
    assert frames[1].sum() > 100
    assert not frames[2].any()
    centres = [np.argwhere(frame).mean(axis=0) for frame in frames[:2]]
    assert all(abs(a - b) > 20 for a, b in pairwise([c[1] for c in centres]))


@pytest.mark.filterwarnings("error")
def test_names_in_mathematical_signs_are_drawn_as_they_are() -> None:
    report = one_seed_report()
    names = {"row": r"$\frac{$", "column": "$^$", "name": "_hidden$"}
    cells = tuple(replace(cell, **names) for cell in report.cells if cell.baseline)
    assert set(draw_figures(replace(report, cells=cells))) == ALWAYS
