"""The figures of a report as PNG: intervals and curves always, others where the table asks.

All numbers come from the report's values; nothing is computed here that a text could not say.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kdlsr.losses.tfkd_reg import Form, virtual_teacher
from kdlsr.reporting import formatting
from kdlsr.reporting.figures.canvas import (
    BLUE,
    COLOURS,
    INK,
    MUTED,
    VERMILION,
    WIDTH,
    draw,
    draw_message,
)
from kdlsr.reporting.figures.curves import DASHES, draw_curves, shown_label
from kdlsr.reporting.figures.intervals import draw_differences
from kdlsr.reporting.summary import CellSummary, Report, Search


def draw_figures(report: Report) -> dict[str, bytes]:
    """Returns the figures of a report, file name -> PNG; equal reports give equal bytes.

    `differences.png` and `curves.png` always; `teacher_epoch.png` and `hand_made.png` where the
    table is a figure of that kind; `search.png` of a search over tau and alpha; those of its
    studies.
    """
    found = {"differences.png": draw_differences(report), "curves.png": draw_curves(report)}
    if report.figure == "teacher_epoch":
        found["teacher_epoch.png"] = draw_teacher_epoch(report)
    if report.figure == "hand_made_distribution" and report.hand_made:
        found["hand_made.png"] = draw_hand_made(report.hand_made)
    if report.search is not None:
        found["search.png"] = draw_search(report.search)
    drawn = (figure for study in report.studies for figure in study.figures)
    return found | {f"{figure.name}.png": figure.draw() for figure in drawn}


def draw_teacher_epoch(report: Report) -> bytes:
    """Returns students' accuracy against their teachers' epoch (Yuan et al. 2020, Fig. 2).

    A line for each teacher and form, with the deviation over seeds; the baseline is a band of
    its own deviation; the paper's values are stars.
    """
    lines = teacher_lines(report)
    if not lines:
        return draw_message("No student of a teacher's numbered epoch is complete.")

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set(xlabel="teacher's epoch", ylabel=f"student's test top-1 at {report.protocol}, %")
        axes.grid(axis="y")
        _draw_baselines(axes, report)
        for (label, cells), colour in zip(lines.items(), itertools.cycle(COLOURS), strict=False):
            _draw_line(axes, label, cells, report.protocol, colour)
        _draw_anchors(axes, itertools.chain(*lines.values()))
        figure.legend(loc="outside right upper")

    return draw(paint, 4.75)


def teacher_lines(report: Report) -> dict[str, list[CellSummary]]:
    """Returns the cells of each teacher and form that have a value, by the teacher's epoch."""
    found: dict[tuple[str, str, str, str], list[CellSummary]] = {}
    for cell in report.cells:
        is_student = cell.kind in ("method", "cell") and teacher_epoch(cell) is not None
        if is_student and cell.estimates.get(report.protocol):
            key = (cell.group or "", cell.column, _teacher_name(cell), cell.name)
            found.setdefault(key, []).append(cell)
    groups, columns, teachers = ({key[i] for key in found} for i in range(3))
    lines = {}
    for (group, column, teacher, name), cells in found.items():
        parts = [group] if len(groups) > 1 else []
        parts += [column] if len(columns) > 1 else []
        parts += [teacher] if len(teachers) > len(columns) else []
        lines[formatting.heading(*parts, name)] = sorted(cells, key=_epoch)
    return lines


def _teacher_name(cell: CellSummary) -> str:
    """Returns the network that teaches, as the config names it."""
    return str(cell.runs[0].card.config["teacher"]["name"])


def teacher_epoch(cell: CellSummary) -> int | None:
    """Returns the epoch at which a student's teacher was taken; None without a teacher.

    A teacher that is not taken at a numbered epoch (`last`, `best_test`) has the epoch that the
    results say.
    """
    if cell.teacher_epoch is not None:
        return cell.teacher_epoch
    found = (run.taught.epoch for run in cell.runs if run.taught)
    return next((epoch for epoch in found if epoch is not None), None)


def _epoch(cell: CellSummary) -> int:
    return teacher_epoch(cell) or 0


def _draw_baselines(axes: Axes, report: Report) -> None:
    """Draws the baselines of the lines."""
    keys = {c.baseline.key for c in report.cells if c.baseline and teacher_epoch(c)}
    for cell in report.cells:
        found = cell.estimates.get(report.protocol)
        if cell.key in keys and found is not None:
            spread = found.deviation or 0.0
            axes.axhspan(found.mean - spread, found.mean + spread, color=INK, alpha=0.12, lw=0)
            label = "baseline" if len(keys) == 1 else f"baseline {cell.row}"
            axes.axhline(found.mean, color=INK, linewidth=1, label=shown_label(label))


def _draw_line(
    axes: Axes, label: str, cells: Sequence[CellSummary], protocol: str, colour: str
) -> None:
    found = [
        (_epoch(cell), e.mean, e.deviation or 0.0)
        for cell in cells
        if (e := cell.estimates[protocol])
    ]
    epochs, means, spread = zip(*found, strict=True)
    style: Any = {"color": colour, "linestyle": DASHES.get(cells[0].name, "-"), "marker": "o"}
    style |= {"markersize": 4, "capsize": 2, "elinewidth": 0.9, "label": shown_label(label)}
    axes.errorbar(epochs, means, yerr=spread, **style)


def _draw_anchors(axes: Axes, cells: Iterable[CellSummary]) -> None:
    """Marks what the paper prints of these cells, once each."""
    anchors = {(_epoch(cell), cell.target.accuracy) for cell in cells if cell.target}
    if anchors:
        star: Any = {"markersize": 10, "markerfacecolor": "white", "color": INK, "zorder": 3}
        label = shown_label("the paper's (best_test)")
        axes.plot(*zip(*sorted(anchors), strict=True), "*", label=label, **star)


def draw_hand_made(hand_made: Mapping[str, float]) -> bytes:
    """Returns the virtual teacher softened by tau in both forms (Yuan et al. 2020, Fig. 3).

    Args:
        hand_made: classes, tau and correct_probability.
    """
    forms: dict[Form, str] = {
        "as_released": "softmax(p / tau), of the probabilities",
        "as_written": "softmax(log p / tau)",
    }
    targets = {form: softened(hand_made, form) for form in forms}
    highest = max(max(p) for p in targets.values())

    def paint(figure: Figure) -> None:
        for axes, (form, meaning) in zip(figure.subplots(1, 2), forms.items(), strict=True):
            axes.set_title(f"{form}: {meaning}")
            axes.set_ylim(0, 1.22 * highest)
            _draw_distribution(axes, targets[form])
        classes, tau = int(hand_made["classes"]), hand_made["tau"]
        size = f"K = {classes}, tau = {tau:g}, a = {hand_made['correct_probability']:g}"
        figure.supxlabel(size, x=0.05, ha="left", color=MUTED, size=8.5)

    return draw(paint, 3.95)


def softened(hand_made: Mapping[str, float], form: Form) -> list[float]:
    """Returns the distribution that `loss=tfkd_reg` teaches, as that loss computes it."""
    classes = int(hand_made["classes"])
    labels = torch.tensor([right_class(classes)])
    like = torch.zeros(1, classes, dtype=torch.float64)
    a, tau = hand_made["correct_probability"], hand_made["tau"]
    scores = virtual_teacher(labels, a=a, tau=tau, form=form, like=like)
    return [float(p) for p in scores.softmax(1)[0]]


def right_class(classes: int) -> int:
    """Returns which class is right in the figure: the sixth, as in the paper, if there is one."""
    return min(5, classes - 1)


def _draw_distribution(axes: Axes, probabilities: Sequence[float]) -> None:
    classes = len(probabilities)
    right = right_class(classes)
    names = [str(k + 1) for k in range(classes)]
    colours = [VERMILION if k == right else BLUE for k in range(classes)]
    axes.bar(range(classes), probabilities, color=colours, width=0.72)
    axes.axhline(1 / classes, color=INK, linestyle=(0, (4, 2)), linewidth=1)
    axes.set(xlabel="class", ylabel="probability")
    axes.set_xticks(range(classes), names) if classes <= 20 else None
    top = probabilities[right]
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "color": VERMILION}
    axes.annotate(f"right: {top:.4f}", (right, top), (0, 4), **place)
    other = probabilities[0 if right else classes - 1]
    rest = f"each other: {other:.4f}\nuniform (dashed): {1 / classes:.4f}"
    corner: dict[str, Any] = {"transform": axes.transAxes, "va": "top", "color": MUTED}
    axes.text(0.02, 0.99, rest, **corner)


def draw_search(search: Search) -> bytes:
    """Returns the tau x alpha grid with its values, the chosen point framed."""
    taus = sorted({point.tau for point in search.points})
    alphas = sorted({point.alpha for point in search.points})
    values = [p.value for p in search.points if p.value is not None]
    if not values:
        return draw_message("No point of the search is complete.")
    low, span = min(values), max(values) - min(values) or 1.0
    grid = [[math.nan] * len(taus) for _ in alphas]
    for point in search.points:
        if point.value is not None:
            grid[alphas.index(point.alpha)][taus.index(point.tau)] = point.value

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_title(search.measure, pad=10)
        axes.set(xlabel="tau", ylabel="alpha")
        axes.set_xticks(range(len(taus)), [f"{tau:g}" for tau in taus])
        axes.set_yticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        # The palest and the darkest blue would not carry ink.
        shades: Any = {"cmap": "Blues", "vmin": low - 0.1 * span, "vmax": low + 1.2 * span}
        shades |= {"edgecolor": "white", "linewidth": 3}
        axes.pcolormesh(range(len(taus)), range(len(alphas)), grid, **shades)
        for point in search.points:
            where = (taus.index(point.tau), alphas.index(point.alpha))
            is_dark = point.value is not None and point.value > low + 0.72 * span
            _draw_point(axes, where, point.value, is_dark, point.key == search.best)
        figure.supxlabel(_choice(search), x=0.05, ha="left", color=MUTED, size=8.5)

    return draw(paint, 0.5 * len(alphas) + 1.4, max(min(WIDTH, 0.95 * len(taus) + 1.2), 4.8))


def _draw_point(
    axes: Axes, where: tuple[int, int], value: float | None, is_dark: bool, is_best: bool
) -> None:
    x, y = where
    if is_best:
        frame: Any = {"edgecolor": VERMILION, "facecolor": "none", "linewidth": 2.6, "zorder": 3}
        axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, **frame))
    text = "not complete" if value is None else f"{value:.2f}"
    style: Any = {"weight": "bold"} if is_best else {}
    size = 6.5 if value is None else 8.5
    colour = "white" if is_dark else INK
    axes.text(x, y, text, ha="center", va="center", color=colour, size=size, zorder=4, **style)


def _choice(search: Search) -> str:
    chosen = next((p for p in search.points if p.key == search.best), None)
    if chosen is None:
        return "Nothing is chosen."
    return f"Framed: the chosen point, tau = {chosen.tau:g}, alpha = {chosen.alpha:g}."
