"""Training curves of one cell as the page draws them: points of an SVG, a line for each seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kdlsr.reporting.figures.curves import Point, series
from kdlsr.reporting.summary import CellSummary


def colour(index: int) -> str:
    """Returns the class of the style sheet that colours a cell's run of this index."""
    return f"s{index % 7}"


@dataclass(frozen=True)
class Line:
    """A run's curve: its points, in the chart's own coordinates, and its classes."""

    points: tuple[tuple[float, float], ...]
    style: str


@dataclass(frozen=True)
class Chart:
    """Some curves and their axes.

    Attributes:
        title: what is drawn.
        lines: of the runs, within the axes.
        heights: where the horizontal lines are, from the chart's upper edge, and their labels.
        epochs: where the labels of the epochs are, from its left edge.
    """

    title: str
    lines: tuple[Line, ...]
    heights: tuple[tuple[float, str], ...]
    epochs: tuple[tuple[float, str], ...]

    WIDTH: ClassVar[int] = 340
    HEIGHT: ClassVar[int] = 190
    LEFT: ClassVar[int] = 38
    RIGHT: ClassVar[int] = 12
    TOP: ClassVar[int] = 8
    BOTTOM: ClassVar[int] = 22


def cell_charts(cell: CellSummary) -> list[Chart]:
    """Returns the test accuracy and the training loss of a cell's runs by epoch."""
    validation = _curves(cell, "val", "top1", " val")
    accuracy = [*_curves(cell, "test", "top1"), *validation]
    loss = _curves(cell, "train", "total")
    title = "Test top-1, %" + (" (dashed: validation)" if validation else "")
    found = [_chart(title, accuracy, rising=True)] if accuracy else []
    return [*found, *([_chart("Training loss (total), nats", loss, rising=False)] if loss else [])]


Curve = tuple[Sequence[Point], str]


def _curves(cell: CellSummary, part: str, name: str, extra: str = "") -> list[Curve]:
    found = [(series(run, part, name), colour(i) + extra) for i, run in enumerate(cell.runs)]
    return [(points, style) for points, style in found if points]


def _chart(title: str, curves: Sequence[Curve], rising: bool) -> Chart:
    epochs = [epoch for points, _ in curves for epoch, _ in points]
    first, last = min(epochs), max(epochs)
    low, high = _range(curves, rising)
    width = Chart.WIDTH - Chart.LEFT - Chart.RIGHT
    height = Chart.HEIGHT - Chart.TOP - Chart.BOTTOM

    def x(epoch: float) -> float:
        return width * (epoch - first) / max(last - first, 1)

    def y(value: float) -> float:
        return height * (high - value) / (high - low)

    return Chart(
        title,
        tuple(Line(tuple((x(e), y(v)) for e, v in points), style) for points, style in curves),
        tuple((Chart.TOP + y(tick), f"{round(tick, 6):g}") for tick in ticks(low, high)),
        tuple((Chart.LEFT + x(e), f"{e:g}") for e in ticks(first, last) if e == int(e)),
    )


def _range(curves: Sequence[Curve], rising: bool) -> tuple[float, float]:
    """Returns the vertical range: what comes after a quarter of the epochs, the steep part."""
    late = []
    for points, _ in curves:
        start = points[0][0] + (points[-1][0] - points[0][0]) / 4
        late += [value for epoch, value in points if epoch >= start]
    low, high = min(late), max(late)
    margin = 0.06 * (high - low) or 0.5
    return (low - margin, high + margin) if rising else (min(0.0, low), high + margin)


def ticks(low: float, high: float) -> list[float]:
    """Returns a few round numbers within a range, evenly spaced."""
    if high <= low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]
