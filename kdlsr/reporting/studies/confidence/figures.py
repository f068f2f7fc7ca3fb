"""The figures of the study of confidence, one panel for each network; nothing is computed here."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from kdlsr.metrics import Reliability
from kdlsr.reporting.figures.canvas import COLOURS, INK, MUTED, draw, shortened
from kdlsr.reporting.studies.confidence.values import ConfidenceStudy, Regime
from kdlsr.reporting.study import StudyFigure

HEIGHT, LEGEND_LINE = 2.9, 0.19  # inches: of a row of panels, of a line of its legend
BINS = 15
LEAST = 10  # samples in a bin, of which an accuracy is drawn
MARKS = "osD^vP*X"
Paint = Callable[[Axes, str, Sequence[Regime]], None]
DASHED: Any = {"color": MUTED, "linestyle": (0, (4, 2)), "linewidth": 0.9, "zorder": 1}
CAPTIONS = {
    "reliability": "Accuracy in each bin of confidence, runs of all seeds together; above the "
    "diagonal a network is less confident than it is right. Bins of fewer than 10 samples are left "
    "out. Second row: after temperature scaling.",
    "confidence_histogram": "The share of the test samples in each bin of confidence, runs of all "
    "seeds together; logarithmic.",
    "entropy_by_epoch": "Mean entropy on the test samples after each epoch: mean over seeds, and "
    "range from lowest to highest.",
    "entropy_by_tau": "Mean entropy on the test samples after the last epoch against the "
    "temperature of the loss; bars: standard deviation over seeds. Dashed: without a teacher.",
    "teacher_and_student": "Mean confidence on the training views of the last epoch: a student's "
    "own against its teacher's, a mark for each run. Solid: equal. Dashed: without a teacher.",
}
TITLES = {
    "reliability": "Reliability",
    "confidence_histogram": "Confidence",
    "entropy_by_epoch": "Entropy by epoch",
    "entropy_by_tau": "Entropy against tau",
    "teacher_and_student": "Student against teacher on the training views",
}


def study_figures(study: ConfidenceStudy) -> tuple[StudyFigure, ...]:
    """Returns the figures for which there is something to draw."""
    drawn = {
        "reliability": _reliability(study),
        "confidence_histogram": _figure(study, lambda r: r.bins is not None, _histogram),
        "entropy_by_epoch": _figure(study, lambda r: len(r.epochs) > 1, _epochs),
        "entropy_by_tau": _figure(study, _is_of_a_grid(study), _by_tau),
        "teacher_and_student": _figure(study, lambda r: bool(r.on_train), _on_train),
    }
    return tuple(
        StudyFigure(name, TITLES[name], CAPTIONS[name], paint)
        for name, paint in drawn.items()
        if paint is not None
    )


def _figure(
    study: ConfidenceStudy, has: Callable[[Regime], bool], *rows: Paint
) -> Callable[[], bytes] | None:
    """Returns what draws a panel for each network that has something, a row for each painter."""
    panels = {name: found for name, found in study.students.items() if any(map(has, found))}
    if not panels:
        return None
    columns = min(len(panels), 3)
    lines = math.ceil(max(len(found) for found in panels.values()) / 3)
    height = (HEIGHT + LEGEND_LINE * lines) * len(rows) * math.ceil(len(panels) / columns)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(math.ceil(len(panels) / columns) * len(rows), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for index, (name, regimes) in enumerate(panels.items()):
            for row, one in enumerate(rows):
                axes = grid[(index // columns) * len(rows) + row][index % columns]
                axes.set_visible(True)
                axes.set_title(shortened(name, 60))
                one(axes, name, regimes)
                axes.legend(fontsize=6.8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))

    return lambda: draw(paint, height)


def _style(regimes: Sequence[Regime], regime: Regime) -> dict[str, Any]:
    """Returns a regime's colour: black for the reference, then one after the other."""
    if regime.is_reference:
        return {"color": INK, "label": regime.name}
    others = [other.key for other in regimes if not other.is_reference]
    place = others.index(regime.key)
    lines = ((0, ()), (0, (4, 1.5)), (0, (1, 1.2)))
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": lines[place // len(COLOURS) % 3],
        "label": shortened(regime.name, 34),
    }


# ---------------------------------------------------------------- calibration


def _reliability(study: ConfidenceStudy) -> Callable[[], bytes] | None:
    has_scaled = any(regime.scaled_bins for regime in study.regimes)
    rows: list[Paint] = [_diagram(lambda r: r.bins, "confidence")]
    if has_scaled:
        rows.append(_diagram(lambda r: r.scaled_bins, "confidence, after temperature scaling"))
    return _figure(study, lambda regime: regime.bins is not None, *rows)


def _diagram(of: Callable[[Regime], Reliability | None], label: str) -> Paint:
    def paint(axes: Axes, name: str, regimes: Sequence[Regime]) -> None:  # noqa: ARG001
        axes.plot([0, 1], [0, 1], **DASHED)
        for regime in regimes:
            bins = of(regime)
            if bins is None:
                continue
            filled = [i for i, count in enumerate(bins.counts) if count >= LEAST]
            x, y = [bins.confidence[i] for i in filled], [bins.accuracy[i] for i in filled]
            axes.plot(x, y, marker=".", markersize=4, **_style(regimes, regime))
        axes.set(xlabel=label, ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
        axes.grid(visible=True)

    return paint


def _histogram(axes: Axes, name: str, regimes: Sequence[Regime]) -> None:  # noqa: ARG001
    edges = [i / BINS for i in range(BINS + 1)]
    for regime in regimes:
        if regime.bins is not None:
            total = sum(regime.bins.counts)
            shares = [count / total for count in regime.bins.counts]
            axes.stairs(shares, edges, linewidth=1.2, **_style(regimes, regime))
    axes.set(xlabel="confidence", ylabel="share of the test samples", yscale="log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g}"))
    axes.grid(visible=True)


# ---------------------------------------------------------------- entropy


def _epochs(axes: Axes, name: str, regimes: Sequence[Regime]) -> None:  # noqa: ARG001
    for regime in regimes:
        if not regime.epochs:
            continue
        style = _style(regimes, regime)
        epochs = [at.epoch for at in regime.epochs]
        axes.plot(epochs, [at.mean for at in regime.epochs], **style)
        low, high = [at.low for at in regime.epochs], [at.high for at in regime.epochs]
        axes.fill_between(epochs, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.set(xlabel="epoch", ylabel="test entropy, nats")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")


def _line(regime: Regime) -> tuple[str | None, float | None]:
    """Returns what the points of one line share: teacher and alpha."""
    return regime.teacher, regime.alpha


def _is_of_a_grid(study: ConfidenceStudy) -> Callable[[Regime], bool]:
    """Returns whether a regime is a point of a line over at least two temperatures."""
    taus: dict[tuple[Any, ...], set[float]] = {}
    for regime in study.regimes:
        if regime.tau is not None and regime.teacher:
            taus.setdefault((regime.student, *_line(regime)), set()).add(regime.tau)
    return lambda r: len(taus.get((r.student, *_line(r)), ())) > 1


def _by_tau(axes: Axes, name: str, regimes: Sequence[Regime]) -> None:  # noqa: ARG001
    lines: dict[tuple[str | None, float | None], list[Regime]] = {}
    for regime in regimes:
        if regime.is_reference and "entropy" in regime.figures:
            axes.axhline(regime.figures["entropy"].mean, **DASHED)
        if regime.tau is not None and regime.teacher and "entropy" in regime.figures:
            lines.setdefault(_line(regime), []).append(regime)
    lines = {line: points for line, points in lines.items() if len(points) > 1}
    several = len({teacher for teacher, _ in lines}) > 1
    for place, ((teacher, alpha), points) in enumerate(lines.items()):
        points.sort(key=lambda r: r.tau or 0)
        found = [r.figures["entropy"] for r in points]
        label = f"alpha = {alpha:g}" + (f", {shortened(teacher or '', 30)}" if several else "")
        axes.errorbar(
            [r.tau or 0 for r in points],
            [e.mean for e in found],
            [e.deviation or 0 for e in found],
            color=COLOURS[place % len(COLOURS)],
            marker=MARKS[place % len(MARKS)],
            markersize=4,
            capsize=2,
            label=label,
        )
    axes.set(xlabel="tau", ylabel="test entropy, nats", xscale="log")
    ticks = sorted({r.tau for points in lines.values() for r in points if r.tau})
    axes.set_xticks(ticks, [f"{tau:g}" for tau in ticks], minor=False)
    axes.minorticks_off()
    axes.grid(axis="y")


def _on_train(axes: Axes, name: str, regimes: Sequence[Regime]) -> None:  # noqa: ARG001
    values = [value for regime in regimes for point in regime.on_train for value in point]
    usual = next((r.figures.get("views_confidence") for r in regimes if r.is_reference), None)
    if usual is not None:
        values.append(usual.mean)
        axes.axhline(usual.mean, **DASHED)
    margin = 0.08 * (max(values) - min(values)) or 0.01
    ends = (min(values) - margin, max(values) + margin)
    axes.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=1)
    for place, regime in enumerate(r for r in regimes if r.on_train):
        style = _style(regimes, regime) | {"linestyle": "none"}
        mark = MARKS[place % len(MARKS)]
        axes.plot(*zip(*regime.on_train, strict=True), mark, markersize=4.5, **style)
    axes.set(xlim=ends, ylim=ends, xlabel="teacher's confidence on training views")
    axes.set_ylabel("student's confidence there")
    axes.grid(visible=True)
