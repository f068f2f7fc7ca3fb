"""Paper and ink of the PNG figures: size, style, colours, and bytes that depend on nothing else.

No report is read in here, and no global state of matplotlib is left changed.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kdlsr.reporting.text import words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 9.6  # inches
DPI = 150
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
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
}


class Sheet:
    """A figure measured in inches from its top left corner, as one writes a page."""

    def __init__(self, figure: "Figure", width: float, height: float) -> None:
        self.figure = figure
        self.width = width
        self.height = height

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """Adds axes."""
        bottom = self.height - top - height
        box = (left / self.width, bottom / self.height)
        size = (width / self.width, height / self.height)
        return self.figure.add_axes((*box, *size))

    def text(self, left: float, top: float, line: str, **style: Any) -> None:
        """Writes one line whose middle is `top` below the upper edge."""
        style.setdefault("va", "center")
        self.figure.text(left / self.width, 1 - top / self.height, line, **style)

    def line(self, left: float, right: float, top: float, **style: Any) -> None:
        """Draws a horizontal line."""
        from matplotlib.lines import Line2D

        y = 1 - top / self.height
        where = [left / self.width, right / self.width]
        self.figure.add_artist(Line2D(where, [y, y], transform=self.figure.transFigure, **style))


def draw(height: float, paint: Callable[[Sheet], None], width: float = WIDTH) -> bytes:
    """Returns a PNG on which `paint` has drawn; equal input gives equal bytes.

    Args:
        height: in inches.
        paint: draws on the sheet it is given.
        width: in inches.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        paint(Sheet(figure, width, height))
        written = io.BytesIO()
        figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def say(reason: str) -> bytes:
    """Returns a PNG that says why there is nothing to draw."""
    return draw(0.7, lambda sheet: sheet.text(0.15, 0.35, reason, color=MUTED))


def shortened(text: str, length: int) -> str:
    """Returns one line of at most so many characters."""
    line = words.one_line(text)
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def signed(value: float) -> str:
    """Returns a number with its sign, with a minus as wide as the plus."""
    return words.signed(value).replace("-", MINUS)
