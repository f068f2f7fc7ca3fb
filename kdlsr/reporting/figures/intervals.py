"""The interval plot: each cell minus its baseline and minus its controls.

What is said of each was decided before; here it is only drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdlsr.reporting import formatting, judged
from kdlsr.reporting.comparison import Comparison
from kdlsr.reporting.figures.canvas import (
    BLUE,
    HIGHEST,
    INK,
    MINUS,
    MUTED,
    RULE,
    VERMILION,
    draw,
    draw_message,
    shortened,
)
from kdlsr.reporting.figures.curves import left_out
from kdlsr.reporting.summary import Report

LINE_HEIGHT, AROUND = 0.215, 1.1  # inches: of a line, and of all that is around the lines
SIZES = {"o": 5.6, "D": 4.6}  # points, of the markers that would look unequal
EQUIVALENT, BAND = "#c9ced4", "#dfe5ec"
FILLS = {"undecided": "white", "equivalent": EQUIVALENT}
NOTHING = "No differences to draw: nothing that could be compared is complete."


@dataclass(frozen=True)
class Entry:
    """One line of the plot: what is compared, and whether with a control."""

    label: str
    held: Comparison
    is_control: bool

    @property
    def mean(self) -> float:
        """The difference."""
        return self.held.difference.mean

    @property
    def colour(self) -> str:
        """Of what it is compared with."""
        return VERMILION if self.is_control else BLUE

    @property
    def mark(self) -> tuple[str, str, str]:
        """The marker of the mean, its colour, and what fills it."""
        if self.held.interval is None:
            return "x", self.colour, self.colour
        if self.held.verdict == "described":
            return "|", self.colour, self.colour
        fill = FILLS.get(self.held.verdict, self.colour)
        return "D" if self.is_control else "o", self.colour, fill

    @property
    def ends(self) -> tuple[float, float]:
        """The interval, or twice the mean where there is none."""
        found = self.held.interval
        return (found.low, found.high) if found else (self.mean,) * 2


def sections(report: Report) -> dict[str, list[Entry]]:
    """Returns the differences of a report by row and column, in the table's order."""
    found: dict[str, list[Entry]] = {}
    for cell in report.cells:
        for other in judged.comparisons(cell):
            entry = Entry(f"{cell.name} {MINUS} {other.name}", other, other is not cell.baseline)
            place = formatting.heading(cell.group, cell.row, cell.column)
            found.setdefault(place, []).append(entry)
    return found


Line = Entry | str  # what is compared, or the heading of such lines


def draw_differences(report: Report) -> bytes:
    """Returns the interval plot of a report as PNG.

    Of a report of thousands of differences it shows the first, and says how many it leaves out.
    """
    every: list[Line] = []
    for heading, entries_below in sections(report).items():
        every += [heading, *entries_below]
    if not every:
        return draw_message(NOTHING)
    lines = every[: int((HIGHEST - AROUND) / LINE_HEIGHT)]
    entries = [line for line in lines if isinstance(line, Entry)]

    height = AROUND + LINE_HEIGHT * len(lines)

    def paint(figure: Figure) -> None:
        edges = {"left": 0.35, "right": 0.745, "top": 1 - 0.5 / height, "bottom": 0.6 / height}
        axes = figure.subplots(gridspec_kw=edges)
        axes.set(xlim=axis_range(entries), ylim=(len(lines) - 0.5, -0.5), yticks=[])
        axes.set_xlabel(f"difference of test top-1 at {report.protocol}, points")
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        axes.axvspan(-report.margin, report.margin, color=BAND, linewidth=0, zorder=0)
        axes.grid(axis="x")
        _write_lines(axes, lines)
        _draw_intervals(axes, [(y, i) for y, i in enumerate(lines) if isinstance(i, Entry)])
        figure.legend(handles=_legend(), loc="upper left", ncols=7, fontsize=7.8,
                      labelcolor=MUTED, handletextpad=0, columnspacing=1)  # fmt: skip
        if len(every) > len(lines):
            figure.text(0.02, 0.1 / height, left_out(len(every) - len(lines), "lines"), color=MUTED)

    return draw(paint, height, layout=None)


def axis_range(entries: list[Entry]) -> tuple[float, float]:
    """Returns where the axis begins and ends: one far outlier does not flatten all others."""
    furthest = sorted(max(abs(end) for end in entry.ends) for entry in entries)
    bound = min(furthest[-1], 3 * furthest[3 * (len(furthest) - 1) // 4])
    low = max(-bound, min(0.0, *(entry.ends[0] for entry in entries)))
    high = min(bound, max(0.0, *(entry.ends[1] for entry in entries)))
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _write_lines(axes: Axes, lines: Sequence[Line]) -> None:
    """Writes what is compared to the left of each line, and the figures to its right."""
    beside = axes.get_yaxis_transform()  # across in widths of the axes, down in lines
    style: Any = {"va": "center", "transform": beside}
    for y, line in enumerate(lines):
        if isinstance(line, Entry):
            axes.text(-0.015, y, shortened(line.label, 46), ha="right", **style)
            axes.text(1.02, y, _figures(line.held), **style)
        else:
            axes.text(-0.015, y, shortened(line, 44), ha="right", weight="bold", **style)
    headings = [y - 0.5 for y, line in enumerate(lines) if isinstance(line, str)]
    rule: Any = {"color": RULE, "linewidth": 0.6, "zorder": 0, "clip_on": False}
    axes.hlines(headings, -0.87, 1.62, transform=beside, **rule)


def _draw_intervals(axes: Axes, entries: Sequence[tuple[int, Entry]]) -> None:
    """Draws all marks of a kind at once: a report can have hundreds of intervals."""
    left, right = axes.get_xlim()
    marks: dict[tuple[str, str, str], list[tuple[float, int]]] = {}
    for y, entry in entries:
        low, high = entry.ends
        if low < left:
            marks.setdefault(("<", entry.colour, entry.colour), []).append((left, y))
        if high > right:
            marks.setdefault((">", entry.colour, entry.colour), []).append((right, y))
        if left <= entry.mean <= right:
            marks.setdefault(entry.mark, []).append((entry.mean, y))
    tested = [(y, entry) for y, entry in entries if entry.held.interval]
    axes.hlines(
        [y for y, _ in tested],
        [max(entry.ends[0], left) for _, entry in tested],
        [min(entry.ends[1], right) for _, entry in tested],
        colors=[entry.colour for _, entry in tested],
        linewidth=1.6,
    )
    for (marker, colour, fill), points in marks.items():
        style: Any = {"color": colour, "markerfacecolor": fill, "markersize": SIZES.get(marker, 5)}
        axes.plot(*zip(*points, strict=True), marker, clip_on=marker not in "<>", zorder=3, **style)


def _figures(held: Comparison) -> str:
    """Returns a difference, its interval and its verdict."""
    verdict = "" if held.decision is None else held.verdict
    return f"{judged.figures(held)}  {verdict}".replace("-", MINUS)


def _legend() -> list[Line2D]:
    marks = (
        ("o", BLUE, BLUE, "against the baseline"),
        ("D", VERMILION, VERMILION, "against a control"),
        ("o", MUTED, MUTED, "filled: better or worse"),
        ("o", MUTED, EQUIVALENT, "pale: equivalent"),
        ("o", MUTED, "white", "open: undecided"),
        ("|", MUTED, MUTED, "bar: not tested"),
        ("x", MUTED, MUTED, "cross: no deviation"),
    )
    style: Any = {"linestyle": "none", "markersize": 5}
    return [
        Line2D([], [], marker=marker, color=colour, markerfacecolor=fill, label=text, **style)
        for marker, colour, fill, text in marks
    ]
