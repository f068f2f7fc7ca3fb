"""Losses or gains with their intervals, a heading for each method: points of accuracy."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlsr.reporting.figures.canvas import BLUE, INK, MUTED, VERMILION, draw, shortened
from kdlsr.reporting.statistics import Difference

LINE_HEIGHT, AROUND = 0.2, 0.75  # inches
LABELS = 0.36  # of the figure's width


def draw_losses(
    losses: Mapping[str, Mapping[str, Difference]], label: str = "loss of test top-1, points"
) -> bytes:
    """Returns a PNG of losses by method and, below it, by what they are of; the first is filled.

    Args:
        losses: paired differences.
        label: of the axis.
    """
    lines = sum(1 + len(each) for each in losses.values())
    height = AROUND + LINE_HEIGHT * lines

    def paint(figure: Figure) -> None:
        edges = {"left": LABELS, "right": 0.98, "top": 1 - 0.1 / height, "bottom": 0.5 / height}
        axes = figure.subplots(gridspec_kw=edges)
        axes.set(ylim=(lines - 0.5, -0.5), yticks=[], xlabel=label)
        axes.spines["left"].set_visible(False)
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        axes.grid(axis="x")
        line = 0
        for method, found in losses.items():
            _write(axes, line, method, bold=True)
            for below, (name, difference) in enumerate(found.items()):
                _write(axes, line + 1 + below, name, bold=False)
                _draw(axes, line + 1 + below, difference, filled=below == 0)
            line += 1 + len(found)

    return draw(paint, height, layout=None)


def _write(axes: Axes, line: int, text: str, *, bold: bool) -> None:
    axes.text(
        -0.02,
        line,
        shortened(text, 48),
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="center",
        weight="bold" if bold else "normal",
        color=INK if bold else MUTED,
    )


def _draw(axes: Axes, line: int, found: Difference, *, filled: bool) -> None:
    colour = VERMILION if filled else BLUE
    if found.paired is None:
        axes.plot(found.mean, line, "x", color=colour, markersize=4.5)
        return
    axes.plot([found.paired.low, found.paired.high], [line, line], color=colour, linewidth=1.3)
    fill = colour if filled else "white"
    axes.plot(found.mean, line, "o", color=colour, markerfacecolor=fill, markersize=4.5)
