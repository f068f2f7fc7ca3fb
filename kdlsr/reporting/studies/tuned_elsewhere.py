"""What it costs to tune a method on one network and to apply it to another.

The claim of Wang et al. (Appl. Sci. 2021, 11(10) 4699) that LSR-OS-TC "can be tuned on one model
and directly applied to other models", made a number: points of test accuracy. How they measured it
is not known; the statistic (`reporting/tuning`) is ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kdlsr.reporting import formatting
from kdlsr.reporting.statistics import Difference, difference, holm
from kdlsr.reporting.studies import Studied, studies
from kdlsr.reporting.study import Study, StudyFigure, StudyTable
from kdlsr.reporting.tuned_pairs import MethodLoss, Pair, pairs_of
from kdlsr.reporting.tuning import BySeed

LEVEL = 0.05
NOTES = (
    "Loss: test top-1 of a network at the point chosen on itself, minus that at the point chosen "
    "on another network; above 0, tuning elsewhere costs accuracy. Test accuracy is that of the "
    "epoch best on the validation split (best_val), and only that split chooses.",
    "For each seed the points are chosen by the other seeds' validation accuracy, so that no run "
    "is judged that took part in its own choice; loss and interval are the mean over seeds and "
    "Student's t over them. Ties go to the first point of the grid.",
    "No interval: both choices are the same point for every seed, or there is one seed. Nothing "
    "is claimed then, though a loss of 0 with the same choice everywhere is what a method that "
    "carries over looks like.",
    "p of the last column is after Holm's correction over the methods held against the claim's.",
    "A coarse grid hides a loss, and a method's grid is part of what is compared.",
)


@studies.register("tuned_elsewhere")
def tuned_elsewhere(studied: Studied) -> Study:
    """Returns each method's loss of accuracy between tuned on a network and on another one."""
    assert studied.table.tuned is not None
    pairs = list(pairs_of(studied.cells, studied.table.tuned.methods))
    complete: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.loss is not None:
            complete.setdefault(pair.method, []).append(pair)
    methods = [MethodLoss(method, found) for method, found in complete.items()]
    claim = next((m for m in methods if _is_of(m.method, studied.table.tuned.claim)), None)
    against = _against(methods, claim)
    return Study(
        name="tuned_elsewhere",
        title="Tuned on one network, applied to another",
        answers=tuple(_answers(methods, claim, against)) or ("No grid is complete.",),
        tables=(_table_of_methods(methods, claim, against), _table_of_pairs(pairs)),
        figures=(_figure(methods),) if methods else (),
        notes=NOTES,
        values={
            "methods": [_method_values(method, against) for method in methods],
            "pairs": [_pair_values(pair) for pair in pairs],
        },
    )


def _is_of(method: str, name: str) -> bool:
    return method == name or method.startswith(f"{name} ")


def _against(
    methods: Sequence[MethodLoss], claim: MethodLoss | None
) -> dict[str, tuple[Difference, float | None]]:
    """Returns each method's loss minus the claim's, with p after Holm's correction."""
    if claim is None:
        return {}
    found = {m.method: difference(m.by_seed, claim.by_seed) for m in methods if m is not claim}
    adjusted = holm({name: d.paired.p if d.paired else None for name, d in found.items()})
    return {name: (d, adjusted[name]) for name, d in found.items()}


# ---------------------------------------------------------------- in words


def _answers(
    methods: Sequence[MethodLoss],
    claim: MethodLoss | None,
    against: Mapping[str, tuple[Difference, float | None]],
) -> Iterator[str]:
    for method in methods:
        found = method.difference
        yield (
            f"{method.method}, tuned on another network: {_points(found)} points of test top-1 "
            f"lost, {_verdict(found)} (same point chosen: {method.agreeing})."
        )
    for name, (found, p) in against.items():
        assert claim is not None
        yield (
            f"{name} loses {_points(found)} points more than {claim.method}: "
            f"{_verdict(found, p, more='it loses more', less='it loses less')}."
        )


def _points(found: Difference) -> str:
    interval = f" {formatting.interval(found.paired)}" if found.paired else ""
    return f"{formatting.signed(found.mean)}{interval}"


def _verdict(
    found: Difference,
    p_holm: float | None = None,
    more: str = "a loss",
    less: str = "a gain",
) -> str:
    if found.paired is None:
        return "nothing is claimed"
    p = found.paired.p if p_holm is None else p_holm
    if p >= LEVEL:
        return "undecided"
    return more if found.mean > 0 else less


def _mean(figures: BySeed) -> str:
    return formatting.number(sum(figures.values()) / len(figures)) if figures else "-"


def _table_of_methods(
    methods: Sequence[MethodLoss],
    claim: MethodLoss | None,
    against: Mapping[str, tuple[Difference, float | None]],
) -> StudyTable:
    rows = []
    for method in methods:
        held, p = against.get(method.method, (None, None))
        rows.append(
            (
                method.method,
                _mean(method.own),
                _mean(method.elsewhere),
                f"{_points(method.difference)} {_verdict(method.difference)}",
                method.agreeing,
                _points(method.gain) if method.gain else formatting.NOTHING,
                f"{_points(held)}, p {formatting.p_value(p)}" if held else formatting.NOTHING,
            )
        )
    name = claim.method if claim else "the claim"
    return StudyTable(
        title="Each method over all pairs of networks",
        columns=(
            "method",
            "tuned on itself, %",
            "tuned elsewhere, %",
            "loss [95 %]",
            "same point",
            "tuned elsewhere minus CE [95 %]",
            f"loss minus {name}'s [95 %]",
        ),
        rows=rows,
        caption="Test top-1 at best_val, mean over pairs and seeds; losses in points.",
    )


def _table_of_pairs(pairs: Sequence[Pair]) -> StudyTable:
    rows = []
    for pair in pairs:
        place = (pair.method, pair.tuned_on, pair.applied_to)
        if pair.loss is None:
            rows.append((*place, *5 * (formatting.NOTHING,), "not complete"))
            continue
        found = pair.loss
        rows.append(
            (
                *place,
                found.chosen_elsewhere,
                found.chosen_own,
                _mean(found.elsewhere),
                _mean(found.own),
                f"{found.agreeing} of {len(found.own)}",
                f"{_points(found.difference)} {_verdict(found.difference)}",
            )
        )
    return StudyTable(
        title="Each pair of networks",
        columns=(
            "method",
            "tuned on",
            "applied to",
            "chosen there",
            "chosen on itself",
            "tuned elsewhere, %",
            "tuned on itself, %",
            "same point",
            "loss [95 %]",
        ),
        rows=rows,
        caption="What is chosen: by all seeds together. What is judged: see below.",
    )


def _figure(methods: Sequence[MethodLoss]) -> StudyFigure:
    def paint() -> bytes:
        from kdlsr.reporting.figures.losses import draw_losses

        return draw_losses(
            {
                method.method: {
                    "all pairs": method.difference,
                    **{
                        f"{pair.tuned_on} to {pair.applied_to}": pair.loss.difference
                        for pair in method.pairs
                        if pair.loss
                    },
                }
                for method in methods
            }
        )

    return StudyFigure(
        "tuned_elsewhere",
        "Loss of tuning elsewhere",
        "Points of test top-1 lost on a network by tuning on another one: mean and 95 % interval "
        "over seeds; a cross where nothing is claimed. Filled: over all pairs.",
        paint,
    )


# ---------------------------------------------------------------- as values


def _method_values(
    method: MethodLoss, against: Mapping[str, tuple[Difference, float | None]]
) -> dict[str, Any]:
    held, p = against.get(method.method, (None, None))
    return {
        "method": method.method,
        "loss": _difference_values(method.difference),
        "own": list(method.own.values()),
        "elsewhere": list(method.elsewhere.values()),
        "gain_over_ce": _difference_values(method.gain) if method.gain else None,
        "minus_claim": {**_difference_values(held), "p_holm": p} if held else None,
    }


def _pair_values(pair: Pair) -> dict[str, Any]:
    place = {"method": pair.method, "tuned_on": pair.tuned_on, "applied_to": pair.applied_to}
    if pair.loss is None:
        return place | {"loss": None}
    return place | {
        "loss": _difference_values(pair.loss.difference),
        "own": list(pair.loss.own.values()),
        "elsewhere": list(pair.loss.elsewhere.values()),
        "chosen_own": pair.loss.chosen_own,
        "chosen_elsewhere": pair.loss.chosen_elsewhere,
        "agreeing": pair.loss.agreeing,
    }


def _difference_values(found: Difference) -> dict[str, Any]:
    return {"mean": found.mean, "paired": asdict(found.paired) if found.paired else None}
