"""Training curves of one cell as inline SVG: a line for each seed, in the page's own colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kdlsr.reporting.figures.curves import Point, series
from kdlsr.reporting.page.markup import Markup, element, join
from kdlsr.reporting.summary import CellSummary

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 38, 12, 8, 22
COLOURS = 7  # classes s0 to s6 of the style sheet


@dataclass(frozen=True)
class Line:
    """A run's curve: its points and the class that colours it."""

    points: tuple[Point, ...]
    style: str


def cell_curves(cell: CellSummary) -> Markup:
    """Returns the test accuracy and the training loss of a cell's runs by epoch."""
    if not any(run.history for run in cell.runs):
        return Markup("")
    accuracy = [*_lines(cell, "test", "top1", ""), *_lines(cell, "val", "top1", " val")]
    loss = _lines(cell, "train", "total", "")
    has_validation = any(series(run, "val", "top1") for run in cell.runs)
    words = "Test top-1, %" + (" (dashed: validation)" if has_validation else "")
    panels = [(words, accuracy, True), ("Training loss (total), nats", loss, False)]
    figures = [_figure(*panel) for panel in panels if panel[1]]
    return join(element("div", *figures, class_="panels"), _seeds(cell))


def _lines(cell: CellSummary, part: str, name: str, extra: str) -> list[Line]:
    found = []
    for i, run in enumerate(cell.runs):
        points = series(run, part, name)
        if points:
            found.append(Line(tuple(points), f"s{i % COLOURS}{extra}"))
    return found


def _figure(words: str, lines: Sequence[Line], rising: bool) -> Markup:
    return element("figure", element("figcaption", words), _chart(words, lines, rising))


def _seeds(cell: CellSummary) -> Markup:
    items = []
    for i, run in enumerate(cell.runs):
        if run.history:
            key = element("line", x1="0", x2="24", y1="5", y2="5", class_=f"key s{i % COLOURS}")
            swatch = element("svg", key, viewBox="0 0 24 10", aria_hidden="true")
            items.append(element("li", swatch, f"seed {run.seed}"))
    return element("ul", *items, class_="seeds small")


def _chart(words: str, lines: Sequence[Line], rising: bool) -> Markup:
    epochs = [epoch for line in lines for epoch, _ in line.points]
    first, last = min(epochs), max(epochs)
    low, high = _range(lines, rising)
    span = max(last - first, 1)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(epoch: float) -> float:
        return width * (epoch - first) / span

    def y(value: float) -> float:
        return height * (high - value) / (high - low)

    drawn = [_polyline([(x(e), y(v)) for e, v in line.points], line.style) for line in lines]
    # A nested svg cuts off what lies outside it.
    inner = {"x": f"{LEFT}", "y": f"{TOP}", "width": f"{width}", "height": f"{height}"}
    marks = [_horizontal(TOP + y(tick), _tick(tick)) for tick in ticks(low, high)]
    marks += [_below(LEFT + x(e), f"{e:g}") for e in ticks(first, last) if e == int(e)]
    axis = {"x1": f"{LEFT}", "x2": f"{WIDTH - RIGHT}", "class_": "axis"}
    edge = f"{HEIGHT - BOTTOM}"
    base = element("line", y1=edge, y2=edge, **axis)
    return element(
        "svg",
        *marks,
        base,
        element("svg", *drawn, **inner),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{words} by epoch",
    )


def _range(lines: Sequence[Line], rising: bool) -> tuple[float, float]:
    """Returns the vertical range: what comes after a quarter of the epochs, the steep part."""
    late = []
    for line in lines:
        start = line.points[0][0] + (line.points[-1][0] - line.points[0][0]) / 4
        late += [value for epoch, value in line.points if epoch >= start]
    low, high = min(late), max(late)
    margin = 0.06 * (high - low) or 0.5
    return (low - margin, high + margin) if rising else (min(0.0, low), high + margin)


def _polyline(points: Sequence[Point | tuple[float, float]], style: str) -> Markup:
    if len(points) == 1:
        cx, cy = points[0]
        return element("circle", cx=f"{cx:.1f}", cy=f"{cy:.1f}", r="2.5", class_=style)
    written = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return element("polyline", points=written, class_=style)


def _horizontal(y: float, words: str) -> Markup:
    where = f"{y:.1f}"
    line = element("line", x1=f"{LEFT}", x2=f"{WIDTH - RIGHT}", y1=where, y2=where, class_="grid")
    label = {"x": f"{LEFT - 5}", "y": f"{y + 3.5:.1f}", "text_anchor": "end"}
    return join(line, element("text", words, **label))


def _below(x: float, words: str) -> Markup:
    return element("text", words, x=f"{x:.1f}", y=f"{HEIGHT - 8}", text_anchor="middle")


def _tick(value: float) -> str:
    return f"{round(value, 6):g}"


def ticks(low: float, high: float) -> list[float]:
    """Returns a few round numbers within a range, evenly spaced."""
    if high <= low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]
