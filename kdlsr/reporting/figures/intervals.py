"""The interval plot: each cell minus its baseline and minus its controls.

What is claimed was decided in `statistics`; here it is only drawn.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdlsr.reporting.figures.canvas import (
    BLUE,
    INK,
    MINUS,
    MUTED,
    RULE,
    VERMILION,
    WIDTH,
    Sheet,
    draw,
    say,
    shortened,
    signed,
)
from kdlsr.reporting.statistics import Difference
from kdlsr.reporting.summary import CellSummary, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE, HEADING = 0.215, 0.32  # inches
TOP, BOTTOM = 0.55, 0.6
PLOT_LEFT, PLOT_WIDTH = 3.35, 3.75
NOTHING = "No differences to draw: nothing that could be compared is complete."


@dataclass(frozen=True)
class Entry:
    """One line of the plot: what is compared, and whether with a control."""

    label: str
    difference: Difference
    is_control: bool

    @property
    def ends(self) -> tuple[float, float]:
        """The interval, or twice the mean where there is none."""
        found = self.difference.welch
        return (found.low, found.high) if found else (self.difference.mean,) * 2


@dataclass(frozen=True)
class Section:
    """The lines of one row and column of the table."""

    heading: str
    entries: tuple[Entry, ...]


def sections(report: Report) -> list[Section]:
    """Returns the differences of a report by row and column, in the table's order."""
    found: dict[str, list[Entry]] = {}
    for cell in report.cells:
        entries = _entries(cell)
        if entries:
            found.setdefault(_heading(cell), []).extend(entries)
    return [Section(heading, tuple(entries)) for heading, entries in found.items()]


def _heading(cell: CellSummary) -> str:
    parts = (cell.group, cell.row, cell.column)
    return " · ".join(dict.fromkeys(part for part in parts if part))


def _entries(cell: CellSummary) -> list[Entry]:
    compared = [(c, False) for c in (cell.baseline,) if c]
    compared += [(c, True) for c in cell.controls]
    return [Entry(f"{cell.name} {MINUS} {c.name}", c.difference, is_c) for c, is_c in compared]


def draw_differences(report: Report) -> bytes:
    """Returns the interval plot of a report as PNG."""
    found = sections(report)
    if not found:
        return say(NOTHING)
    lines = sum(len(section.entries) for section in found)
    body = lines * LINE + len(found) * HEADING
    low, high = axis_range([e for section in found for e in section.entries])

    def paint(sheet: Sheet) -> None:
        axes = sheet.axes(PLOT_LEFT, TOP, PLOT_WIDTH, body)
        axes.set(xlim=(low, high), ylim=(body, 0), yticks=[])
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.set_xlabel(f"difference of test top-1 at {report.protocol}, points")
        _legend(sheet)
        top = 0.0
        for section in found:
            top = _draw_section(sheet, axes, section, top)

    return draw(TOP + body + BOTTOM, paint)


def axis_range(entries: list[Entry]) -> tuple[float, float]:
    """Returns where the axis begins and ends: one far outlier does not flatten all others."""
    furthest = sorted(max(abs(end) for end in entry.ends) for entry in entries)
    bound = min(furthest[-1], 3 * furthest[3 * (len(furthest) - 1) // 4])
    low = max(-bound, min(0.0, *(entry.ends[0] for entry in entries)))
    high = min(bound, max(0.0, *(entry.ends[1] for entry in entries)))
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


def _draw_section(sheet: Sheet, axes: "Axes", section: Section, top: float) -> float:
    """Draws a heading and its lines from `top` inches below the axes' edge; returns the end."""
    y = TOP + top
    sheet.line(0.15, WIDTH - 0.15, y + 0.06, color=RULE, linewidth=0.6)
    sheet.text(0.15, y + HEADING / 2 + 0.04, shortened(section.heading, 50), weight="bold")
    top += HEADING
    for entry in section.entries:
        middle = top + LINE / 2
        _draw_interval(axes, entry, middle)
        sheet.text(0.3, TOP + middle, shortened(entry.label, 46))
        sheet.text(PLOT_LEFT + PLOT_WIDTH + 0.12, TOP + middle, _numbers(entry.difference))
        sheet.text(WIDTH - 0.15, TOP + middle, _verdict(entry.difference), ha="right", color=MUTED)
        top += LINE
    return top


def _draw_interval(axes: "Axes", entry: Entry, y: float) -> None:
    colour = VERMILION if entry.is_control else BLUE
    left, right = axes.get_xlim()
    low, high = (min(max(end, left), right) for end in entry.ends)
    mean, verdict = entry.difference.mean, entry.difference.verdict
    if entry.difference.welch is not None:
        axes.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    for end, edge, marker in ((entry.ends[0], left, "<"), (entry.ends[1], right, ">")):
        if not left <= end <= right and min(max(end, left), right) == edge:
            axes.plot([edge], [y], marker, color=colour, markersize=5, clip_on=False)
    if not left <= mean <= right:
        return
    if verdict == "unclaimed":
        axes.plot([mean], [y], "x", color=colour, markersize=5)
        return
    fill = "white" if verdict == "no difference shown" else colour
    marker = "D" if entry.is_control else "o"
    size = 4.6 if entry.is_control else 5.6
    axes.plot([mean], [y], marker, color=colour, markersize=size, markerfacecolor=fill)


def _numbers(difference: Difference) -> str:
    mean = signed(difference.mean)
    if difference.welch is None:
        return mean
    return f"{mean} [{signed(difference.welch.low)}, {signed(difference.welch.high)}]"


def _verdict(difference: Difference) -> str:
    short = {"no difference shown": "not shown"}
    return short.get(difference.verdict, difference.verdict)


def _legend(sheet: Sheet) -> None:
    from matplotlib.lines import Line2D

    y = 1 - 0.25 / sheet.height
    left = 0.2
    for marker, colour, fill, words, width in (
        ("o", BLUE, BLUE, "against the baseline", 1.6),
        ("D", VERMILION, VERMILION, "against a control", 1.45),
        ("o", MUTED, MUTED, "filled: beats or below (after Holm)", 2.45),
        ("o", MUTED, "white", "open: no difference shown", 1.95),
        ("x", MUTED, MUTED, "n = 1 or no variance: unclaimed", 1.9),
    ):
        where = ([left / WIDTH], [y])
        artist = Line2D(*where, marker=marker, color=colour, markerfacecolor=fill, markersize=5)
        artist.set(linestyle="none", transform=sheet.figure.transFigure)
        sheet.figure.add_artist(artist)
        sheet.text(left + 0.1, 0.25, words, color=MUTED, size=7.8)
        left += width
