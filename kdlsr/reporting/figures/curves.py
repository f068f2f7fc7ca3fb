"""Training curves: what the histories of a report's runs hold, and the PNG of all rows.

Histories are shown as they are; nothing is smoothed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdlsr.reporting.figures.canvas import COLOURS, INK, MUTED, WIDTH, Sheet, draw, say, shortened
from kdlsr.reporting.summary import CellSummary, Report, RunSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 2  # panels side by side
PANEL_WIDTH = WIDTH / COLUMNS
LEFT, AXES_HEIGHT, TITLE, BELOW, LEGEND_LINE = 0.62, 2.1, 0.4, 0.48, 0.17  # inches
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
        value = (record.get(part) or {}).get(name)
        if value is not None and math.isfinite(value):
            found.append((int(record["epoch"]), float(value)))
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
        return TITLE + AXES_HEIGHT + BELOW + LEGEND_LINE * math.ceil(len(self.curves) / 2)


def panels(report: Report) -> list[Panel]:
    """Returns a panel for each row that has curves, with the baseline of its cells."""
    rows: dict[tuple[str | None, str], list[CellSummary]] = {}
    for cell in report.cells:
        rows.setdefault((cell.group, cell.row), []).append(cell)
    colours = _colours(report.cells)
    found = []
    for (group, row), cells in rows.items():
        baselines = {c.baseline.key for c in cells if c.baseline}
        compared = [cell for cell in report.cells if cell.key in baselines]
        members = {cell.key: cell for cell in (*compared, *cells)}.values()
        curves = [curve for cell in members if (curve := _curve(cell, colours))]
        if curves:
            found.append(Panel(f"{group} · {row}" if group else row, tuple(curves)))
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
    """Returns the test accuracy by epoch of every row of a report as PNG."""
    found = panels(report)
    if not found:
        return say(NOTHING)
    ranks = [found[i : i + COLUMNS] for i in range(0, len(found), COLUMNS)]
    heights = [max(panel.height for panel in rank) + 0.12 for rank in ranks]

    def paint(sheet: Sheet) -> None:
        top = 0.05
        for rank, height in zip(ranks, heights, strict=True):
            for place, panel in enumerate(rank):
                _draw_panel(sheet, panel, place * PANEL_WIDTH, top)
            top += height

    return draw(sum(heights) + 0.1, paint)


def _draw_panel(sheet: Sheet, panel: Panel, left: float, top: float) -> None:
    axes = sheet.axes(left + LEFT, top + TITLE, PANEL_WIDTH - LEFT - 0.2, AXES_HEIGHT)
    axes.set_title(shortened(panel.title, 55))
    axes.set_xlabel("epoch", labelpad=1)
    axes.set_ylabel("test top-1, %", labelpad=2)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_ylim(*vertical_range([curve.band for curve in panel.curves]))
    _whole_epochs(axes)
    for curve in panel.curves:
        epochs, colour = curve.band.epochs, curve.style["color"]
        if curve.band.low != curve.band.high:
            between = (curve.band.low, curve.band.high)
            axes.fill_between(epochs, *between, color=colour, alpha=0.13, linewidth=0)
        marker = "o" if len(epochs) == 1 else None
        axes.plot(epochs, curve.band.mean, marker=marker, markersize=3, **curve.style)
    _draw_legend(sheet, panel, left + LEFT, top + TITLE + AXES_HEIGHT + BELOW)


def _whole_epochs(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


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


def _draw_legend(sheet: Sheet, panel: Panel, left: float, top: float) -> None:
    width = (PANEL_WIDTH - LEFT - 0.1) / 2
    lines = math.ceil(len(panel.curves) / 2)
    for i, curve in enumerate(panel.curves):
        x, y = left + (i // lines) * width, top + (i % lines) * LEGEND_LINE
        sheet.line(x, x + 0.28, y, **curve.style)
        sheet.text(x + 0.34, y, shortened(curve.label, 27), size=7.3, color=MUTED)
