"""How much accuracy is had by choosing on the test set: the epoch, and a point of a grid.

Yuan et al. (CVPR 2020) report each run at its epoch of best test accuracy, and what their tau and
alpha were chosen on is not stated; kd-capacity-gap (arXiv 2605.31191 v2) blames its own first
version's gains on choosing by the test set. The statistic (`reporting/selecting`) is ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from kdlsr.reporting import formatting
from kdlsr.reporting.selected_grids import OnNetworks, methods_of
from kdlsr.reporting.selecting import BySeed
from kdlsr.reporting.statistics import Difference, difference
from kdlsr.reporting.studies import Studied, studies
from kdlsr.reporting.study import Study, StudyFigure, StudyTable

NOTES = (
    "best_test minus last is at least 0 by its definition, and best_test minus best_val hardly "
    "below it: nothing is tested here, and the interval says how large the advantage is.",
    "For each seed the choice is made by that seed's runs alone, one for each point, as in a paper "
    "that trains each point once; figures are means over seeds, with Student's t interval over "
    "them. Chosen by the means of all seeds, a point is less lucky: that is the column of means, "
    "which has no repetitions and so no interval.",
    "By validation: the point with the best validation accuracy, at the epoch best on that split. "
    "On the test set: the point and the epoch whose test accuracy is best, which is also what is "
    "then reported. The baseline has no point to choose, so that its advantage is the epoch alone: "
    "of two methods, the one with the larger grid gains more by it.",
    "Of several networks, and of a method's points where the epoch alone is chosen, the mean is "
    "taken for each seed first.",
)


@studies.register("selection")
def selection(studied: Studied) -> Study:
    """Returns what choosing the epoch, and a point, on the test set adds to each method."""
    every = list(methods_of(studied.cells))
    methods = [method for method in every if method.is_complete]
    grids = [method for method in methods if method.points > 1]
    lacking = [method.name for method in every if not method.is_complete]
    waits = [f"Not complete, and so left out: {', '.join(lacking)}."] if lacking else []
    return Study(
        name="selection",
        title="Chosen on the test set",
        answers=(*_answers(methods, grids), *waits),
        tables=(
            _table_of_epochs(methods),
            *((_table_of_points(grids), _table_of_gains(grids)) if grids else ()),
        ),
        figures=(_figure(methods),) if methods else (),
        notes=NOTES,
        values={"methods": [_values(method) for method in methods]},
    )


# ---------------------------------------------------------------- in words


def _minus(ours: BySeed, other: BySeed) -> str:
    return _points(difference(ours, other))


def _points(found: Difference) -> str:
    interval = f" {formatting.interval(found.paired)}" if found.paired else ""
    return f"{formatting.signed(found.mean)}{interval}"


def _of(figures: BySeed) -> str:
    """Returns a mean of differences by seed, with its interval."""
    return _points(difference(figures, dict.fromkeys(figures, 0.0)))


def _answers(methods: Sequence[OnNetworks], grids: Sequence[OnNetworks]) -> Iterator[str]:
    for method in methods:
        test = method.at("best_test")
        yield (
            f"{method.name}: the epoch chosen on the test set adds "
            f"{_minus(test, method.at('last'))} points over the last epoch, and "
            f"{_minus(test, method.at('best_val'))} over the epoch that validation chooses."
        )
    for method in grids:
        honest, chosen = method.gain("by_validation"), method.gain("all_by_test")
        yield (
            f"{method.name} minus the baseline: {_of(honest)} points with the epoch and one of "
            f"{method.points} points chosen by validation, {_of(chosen)} with both chosen on the "
            f"test set (the baseline's epoch too): {_minus(chosen, honest)} points of gain by the "
            "choice alone."
        )


def _mean(figures: BySeed) -> str:
    return formatting.number(sum(figures.values()) / len(figures))


def _table_of_epochs(methods: Sequence[OnNetworks]) -> StudyTable:
    rows = []
    for method in methods:
        last, test, val = (method.at(name) for name in ("last", "best_test", "best_val"))
        rows.append(
            (
                method.name,
                str(len(test)),
                _mean(last),
                _mean(val),
                _mean(test),
                _minus(test, last),
                _minus(test, val),
            )
        )
    return StudyTable(
        title="The epoch",
        columns=(
            "method",
            "seeds",
            "last, %",
            "best_val, %",
            "best_test, %",
            "best_test minus last [95 %]",
            "best_test minus best_val [95 %]",
        ),
        rows=rows,
        caption="Test top-1, mean over points, networks and seeds; differences in points.",
    )


def _table_of_points(grids: Sequence[OnNetworks]) -> StudyTable:
    rows = []
    for method in grids:
        honest, epoch, both = map(method.step, ("by_validation", "epoch_by_test", "all_by_test"))
        rows.append(
            (
                method.name,
                str(method.points),
                _mean(honest),
                _mean(both),
                _minus(both, honest),
                _minus(epoch, honest),
                _minus(both, epoch),
                formatting.signed(method.of_means),
            )
        )
    return StudyTable(
        title="The epoch and the point of a grid",
        columns=(
            "method",
            "points",
            "by validation, %",
            "on the test set, %",
            "advantage [95 %]",
            "of it the epoch's",
            "of it the point's",
            "advantage by means",
        ),
        rows=rows,
        caption="Test top-1, mean over networks and seeds; differences in points, with intervals.",
    )


def _table_of_gains(grids: Sequence[OnNetworks]) -> StudyTable:
    rows = []
    for method in grids:
        honest, both = method.gain("by_validation"), method.gain("all_by_test")
        rows.append((method.name, _of(honest), _of(both), _minus(both, honest)))
    return StudyTable(
        title="The gain over the baseline",
        columns=(
            "method",
            "chosen by validation [95 %]",
            "chosen on the test set [95 %]",
            "by the choice alone [95 %]",
        ),
        rows=rows,
        caption="Points of test top-1; of the baseline the epoch alone is chosen.",
    )


def _figure(methods: Sequence[OnNetworks]) -> StudyFigure:
    def paint() -> bytes:
        from kdlsr.reporting.figures.losses import draw_losses

        label = "test top-1 by choosing on the test set, points"
        return draw_losses({method.name: _advantages(method) for method in methods}, label)

    return StudyFigure(
        "selection",
        "The advantage of choosing on the test set",
        "Points of test top-1 that are had by choosing on the test set: mean and 95 % interval "
        "over seeds; a cross where there is no interval. Filled: all that is chosen so, against "
        "validation.",
        paint,
    )


def _advantages(method: OnNetworks) -> dict[str, Difference]:
    test = method.at("best_test")
    epoch = {
        "the epoch, against validation": difference(test, method.at("best_val")),
        "the epoch, against the last": difference(test, method.at("last")),
    }
    if method.points == 1:
        return epoch
    both = difference(method.step("all_by_test"), method.step("by_validation"))
    return {f"epoch and one of {method.points} points, against validation": both, **epoch}


# ---------------------------------------------------------------- as values


def _values(method: OnNetworks) -> dict[str, Any]:
    steps = ("by_validation", "epoch_by_test", "all_by_test")
    return {
        "method": method.name,
        "points": method.points,
        **{name: list(method.at(name).values()) for name in ("last", "best_test", "best_val")},
        **{name: list(method.step(name).values()) for name in steps},
        "advantage_of_means": method.of_means,
        "advantages": {
            what: {"mean": d.mean, "paired": asdict(d.paired) if d.paired else None}
            for what, d in _advantages(method).items()
        },
        "gains": {name: list(method.gain(name).values()) for name in steps},
    }
