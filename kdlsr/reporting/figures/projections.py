"""Features of three classes in the plane through their templates, a panel for each network."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdlsr.metrics import Projection
from kdlsr.reporting.figures.canvas import COLOURS, INK, MUTED, draw, shortened

COLUMNS = 4  # panels side by side
HEIGHT, ABOVE = 2.5, 0.4  # inches: of a row of panels, and of the legend


def draw_projections(panels: Mapping[str, Projection], classes: Sequence[int]) -> bytes:
    """Returns a PNG of projections by the name of their network.

    Args:
        panels: at least one.
        classes: the three classes' numbers.
    """
    rows = math.ceil(len(panels) / COLUMNS)

    def paint(figure: Figure) -> None:
        axes = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
        for place, (name, found) in zip(axes, panels.items(), strict=False):
            _draw_panel(place, name, found, classes)
        for place in axes[len(panels) :]:
            place.remove()
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, labelcolor=MUTED)

    return draw(paint, rows * HEIGHT + ABOVE)


def _draw_panel(axes: Axes, name: str, found: Projection, classes: Sequence[int]) -> None:
    row, _, rest = name.partition(" \N{MIDDLE DOT} ")
    axes.set_title("\n".join(shortened(line, 38) for line in (row, rest)), fontsize=6.5)
    axes.set(xticks=[], yticks=[], aspect="equal")
    for index, number in enumerate(classes):
        points = found.points[found.labels == index].numpy()
        label = f"class {number}"
        axes.scatter(points[:, 0], points[:, 1], s=3, color=COLOURS[index], lw=0, label=label)
    templates = found.templates.numpy()
    axes.plot(templates[:, 0], templates[:, 1], "*", color=INK, markersize=6)
