"""Training curves: what the histories of a report's runs hold, and the PNG of all rows.

Histories are shown as they are; nothing is smoothed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdlsr.reporting import formatting
from kdlsr.reporting.figures.canvas import (
    COLOURS,
    HIGHEST,
    INK,
    MUTED,
    draw,
    draw_message,
    shortened,
)
from kdlsr.reporting.summary import CellSummary, Report, RunSummary

COLUMNS = 2  # panels side by side
AXES_HEIGHT, AROUND, LEGEND_LINE, ABOVE = 2.1, 0.95, 0.17, 0.3  # inches
DASHES = {
    "as_written": (0, (5, 1.6)),
    "standard": (0, (1.2, 1.2)),
    "control": (0, (5, 1.5, 1, 1.5)),
}
NOTHING = "No training curves to draw: no run is complete."
Point = tuple[int, float]


def series(run: RunSummary, part: str, name: str) -> list[Point]:
    """Returns (epoch, value) of one figure of a run's history, where it was finite.

    Args:
        run: the run.
        part: `train`, `val` or `test`.
        name: of the figure in that part, `top1` or `total` for instance.
    """
    found = []
    for record in run.history:
        values = getattr(record, part)
        value = values.get(name) if isinstance(values, Mapping) else getattr(values, name, None)
        if value is not None and math.isfinite(value):
            found.append((record.epoch, float(value)))
    return found


@dataclass(frozen=True)
class Band:
    """A cell's test top-1 by epoch over its complete runs, in percent.

    Attributes:
        epochs: that any of them has.
        mean, low, high: over the runs that have the epoch.
    """

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def band(cell: CellSummary) -> Band | None:
    """Returns the mean and range over seeds; None where no run is complete."""
    values: dict[int, list[float]] = {}
    for run in cell.runs:
        if run.state == "complete":
            for epoch, value in series(run, "test", "top1"):
                values.setdefault(epoch, []).append(value)
    if not values:
        return None
    epochs = tuple(sorted(values))
    columns = [values[epoch] for epoch in epochs]
    return Band(
        epochs,
        tuple(math.fsum(c) / len(c) for c in columns),
        tuple(map(min, columns)),
        tuple(map(max, columns)),
    )


@dataclass(frozen=True)
class Curve:
    """One line of a panel."""

    label: str
    band: Band
    style: Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """One row of the table."""

    title: str
    curves: tuple[Curve, ...]

    @property
    def height(self) -> float:
        """In inches, with its legend."""
        return AXES_HEIGHT + AROUND + LEGEND_LINE * math.ceil(len(self.curves) / 2)


def panels(report: Report) -> list[Panel]:
    """Returns a panel for each row that has curves, with the baseline of its cells."""
    rows: dict[tuple[str | None, str], list[CellSummary]] = {}
    for cell in report.cells:
        rows.setdefault((cell.group, cell.row), []).append(cell)
    colours = _colours(report.cells)
    places = {cell.key: i for i, cell in enumerate(report.cells)}
    found = []
    for (group, row), cells in rows.items():
        baselines = {c.baseline.key for c in cells if c.baseline} & places.keys()
        compared = [report.cells[i] for i in sorted(places[key] for key in baselines)]
        members = {cell.key: cell for cell in (*compared, *cells)}.values()
        curves = [curve for cell in members if (curve := _curve(cell, colours))]
        if curves:
            found.append(Panel(formatting.heading(group, row), tuple(curves)))
    return found


def _colour_key(cell: CellSummary) -> str:
    """What has one colour in all panels: a method in its forms, a control, a user's cell."""
    if cell.kind == "cell":
        return _label(cell)
    return cell.column if cell.kind == "method" else cell.name


def _label(cell: CellSummary) -> str:
    if cell.kind in ("baseline", "control"):
        return cell.name
    return " ".join(dict.fromkeys((cell.column, cell.name)))


def _colours(cells: Sequence[CellSummary]) -> dict[str, str]:
    found = {}
    for kind in ("method", "control", "cell"):
        keys = dict.fromkeys(_colour_key(cell) for cell in cells if cell.kind == kind)
        found.update({key: COLOURS[i % len(COLOURS)] for i, key in enumerate(keys)})
    return found


def _curve(cell: CellSummary, colours: Mapping[str, str]) -> Curve | None:
    found = band(cell)
    if found is None:
        return None
    if cell.kind == "baseline":
        return Curve("baseline", found, {"color": INK, "linewidth": 1.6})
    dash = DASHES.get("control" if cell.kind == "control" else cell.name, "-")
    return Curve(_label(cell), found, {"color": colours[_colour_key(cell)], "linestyle": dash})


def draw_curves(report: Report) -> bytes:
    """Returns the test accuracy by epoch of every row of a report as PNG.

    Of a report of hundreds of rows it shows the first, and says how many it leaves out.
    """
    every = panels(report)
    if not every:
        return draw_message(NOTHING)
    rank = max(panel.height for panel in every)
    found = every[: COLUMNS * int(HIGHEST / rank)]
    ranks = math.ceil(len(found) / COLUMNS)
    height = rank * ranks + ABOVE

    def paint(figure: Figure) -> None:
        edges = {"left": 0.06, "right": 0.985, "top": 1 - ABOVE / height}
        edges |= {"bottom": (rank - AXES_HEIGHT) / height, "hspace": rank / AXES_HEIGHT - 1}
        axes = figure.subplots(ranks, COLUMNS, squeeze=False, gridspec_kw=edges).flat
        for place, panel in zip(axes, found, strict=False):
            _draw_panel(place, panel)
        for place in axes[len(found) :]:
            place.remove()
        if len(every) > len(found):
            text = left_out(len(every) - len(found), "rows")
            figure.text(0.06, 0.1 / height, text, color=MUTED)

    return draw(paint, height, layout=None)


def shown_label(text: str) -> str:
    """Returns a label for a legend: matplotlib hides one that begins with _."""
    return f" {text}"


def left_out(count: int, what: str) -> str:
    """Returns that a figure shows a part, and where the rest is."""
    return f"{count:,} more {what} than a figure can hold are with the cells of the page."


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(shortened(panel.title, 55))
    axes.set(xlabel="epoch", ylabel="test top-1, %")
    axes.grid(axis="y")
    axes.set_ylim(*vertical_range([curve.band for curve in panel.curves]))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for curve in panel.curves:
        epochs, colour = curve.band.epochs, curve.style["color"]
        if curve.band.low != curve.band.high:
            between = (curve.band.low, curve.band.high)
            axes.fill_between(epochs, *between, color=colour, alpha=0.13, linewidth=0)
        marker = "o" if len(epochs) == 1 else None
        label = shown_label(shortened(curve.label, 27))
        axes.plot(epochs, curve.band.mean, marker=marker, markersize=3, label=label, **curve.style)
    below: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.2), "ncols": 2}
    axes.legend(**below, fontsize=7.3, labelcolor=MUTED, borderaxespad=0)


def vertical_range(bands: Sequence[Band]) -> tuple[float, float]:
    """Returns the range of the axis: all after a quarter of the epochs, as the rest is steep."""
    low, high = math.inf, -math.inf
    for found in bands:
        late = found.epochs[0] + (found.epochs[-1] - found.epochs[0]) / 4
        shown = [i for i, epoch in enumerate(found.epochs) if epoch >= late]
        low = min(low, *(found.mean[i] for i in shown), found.low[-1])
        high = max(high, *(found.high[i] for i in shown))
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
