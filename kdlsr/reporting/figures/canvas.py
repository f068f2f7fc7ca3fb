"""Paper and ink of the PNG figures: size, style, colours, and bytes that depend on nothing else.

No report is read in here, and no global state of matplotlib is left changed.
"""

import io
from collections.abc import Callable
from typing import Any, Literal

import matplotlib.style
from matplotlib.figure import Figure

from kdlsr.reporting import formatting

WIDTH = 9.6  # inches
DPI = 150
# Inches; three times what the largest table needs. Browsers show no image of 32,768 pixels or
# more, and what is left out stands with each cell on the page.
HIGHEST = 100.0
INK, MUTED, RULE = "#1a1a1a", "#5f6368", "#d5d7da"
BLUE, VERMILION = "#0072b2", "#d55e00"
# Okabe and Ito's colours, which colour-blind readers can tell apart; black is the baseline's.
COLOURS = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d00")
MINUS = "\u2212"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollar signs is a name
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "figure.constrained_layout.h_pad": 0.08,  # inches
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
}


def draw(
    paint: Callable[[Figure], None],
    height: float,
    width: float = WIDTH,
    layout: Literal["constrained"] | None = "constrained",
) -> bytes:
    """Returns a PNG on which `paint` has drawn; equal input gives equal bytes.

    Args:
        paint: draws on the figure it is given.
        height: in inches.
        width: in inches.
        layout: None where `paint` says where axes are: of a hundred axes, four times as quick.
    """
    with matplotlib.style.context(_STYLE, after_reset=True):  # whatever the user's settings are
        size = (width, height)
        figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout=layout)
        paint(figure)
        written = io.BytesIO()
        figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def draw_message(reason: str) -> bytes:
    """Returns a PNG that says why there is nothing to draw."""

    def paint(figure: Figure) -> None:
        figure.text(0.015, 0.5, reason, color=MUTED, va="center")

    return draw(paint, 0.7)


def shortened(text: str, length: int) -> str:
    """Returns one line of at most so many characters."""
    line = formatting.one_line(text)
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
