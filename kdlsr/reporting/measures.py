"""What a report can say of a run beside its top-1: what figures are called, and where they lie."""

from typing import Any

from kdlsr.reporting.summary import FURTHER, TO_TEACHER, Cell, RunSummary

# All others are shown with four decimals.
PERCENT = (
    "top5",
    "f1",
    "agreement",
    "train_top1",
    "views_top1",
    "teacher_views_top1",
)
NAMES = {
    "top5": "top-5 %",
    "nll": "NLL",
    "ece": "ECE",
    "brier": "Brier",
    "entropy": "entropy",
    "confidence": "confidence",
    "f1": "F1 %",
    "agreement": "agreement with teacher %",
    "kl": "KL(teacher||student)",
    "train_top1": "train top-1 %",
    "train_entropy": "train entropy",
    "train_confidence": "train confidence",
    "views_top1": "top-1 % on training views",
    "views_entropy": "entropy on training views",
    "views_confidence": "confidence on training views",
    "teacher_views_top1": "teacher's top-1 % on training views",
    "teacher_views_entropy": "teacher's entropy on training views",
    "teacher_views_confidence": "teacher's confidence on training views",
    "confidence_pearson": "Pearson with teacher's confidence",
    "confidence_spearman": "Spearman with teacher's confidence",
    "adaptive_ece": "ECE, adaptive",
    "aurc": "AURC",
    "temperature": "temperature",
    "scaled_entropy": "entropy, scaled",
    "scaled_confidence": "confidence, scaled",
    "scaled_nll": "NLL, scaled",
    "scaled_brier": "Brier, scaled",
    "scaled_ece": "ECE, scaled",
    "scaled_adaptive_ece": "ECE, adaptive, scaled",
    "scaled_aurc": "AURC, scaled",
}
_ON_TRAIN = ("top1", "entropy", "confidence")
# Of the last epoch always. Where a run's figure is: attributes, one after the other.
_PLACES = {
    **{name: f"result.teacher.{name}" for name in TO_TEACHER},
    **{f"train_{name}": f"result.train.{name}" for name in _ON_TRAIN},
    **{f"views_{name}": f"result.train_views.{name}" for name in _ON_TRAIN},
    **{f"teacher_views_{name}": f"result.teacher.train.{name}" for name in _ON_TRAIN},
    "confidence_pearson": "result.teacher.correlation.pearson",
    "confidence_spearman": "result.teacher.correlation.spearman",
    "adaptive_ece": "confidence.raw.adaptive_ece",
    "aurc": "confidence.raw.aurc",
    "temperature": "confidence.temperature.value",
    **{
        name: f"confidence.scaled.{name.removeprefix('scaled_')}"
        for name in FURTHER
        if name.startswith("scaled_")
    },
}


def value_of(run: RunSummary, protocol: str, measure: str) -> float | None:
    """Returns one figure of a complete run; None where it has none.

    Args:
        run: complete.
        protocol: last, best_test or best_val; of no account where a measure is of the last
            epoch always.
        measure: top1, one of MEASURES, OF_SOME, TO_TEACHER or FURTHER.
    """
    found: Any = run
    place = _PLACES.get(measure)
    if place is None:
        at = run.result.at(protocol) if run.result else None
        found, place = at, f"test.{measure}"
    for name in place.split("."):
        if found is None:
            return None
        found = getattr(found, name)
    return None if found is None else float(found)


def values_of(cell: Cell, protocol: str, measure: str = "top1") -> dict[object, float]:
    """Returns a measure of a cell's complete runs that have it, by what pairs them with others'.

    That is their seeds. Runs of one cell may share them, where their teachers' differ: those are
    paired with nothing.

    Args:
        cell: of runs.
        protocol: last, best_test or best_val.
        measure: as for `value_of`.
    """
    complete = cell.complete
    seeds = [run.card.seeds for run in complete]
    found = {
        run.card.seeds if seeds.count(run.card.seeds) == 1 else run.run_id: value_of(
            run, protocol, measure
        )
        for run in complete
    }
    return {key: value for key, value in found.items() if value is not None}


def by_teacher(
    cell: Cell, protocol: str, measure: str = "top1"
) -> dict[tuple[object, object], float]:
    """Returns a measure of a cell's complete runs that have it, by their seeds and their teacher.

    Args:
        cell: of runs; those without a teacher have None in its place.
        protocol, measure: as for `values_of`.
    """
    return {
        (run.card.seeds, run.card.teacher and run.card.teacher.name): value
        for run in cell.complete
        if (value := value_of(run, protocol, measure)) is not None
    }
