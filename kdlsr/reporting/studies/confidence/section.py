"""The study of confidence in words and tables; its numbers were computed before."""

import dataclasses
from collections.abc import Iterator, Sequence

from kdlsr.reporting import formatting
from kdlsr.reporting.formatting import NOTHING, number
from kdlsr.reporting.statistics import Estimate, Interval
from kdlsr.reporting.studies.confidence.figures import study_figures
from kdlsr.reporting.studies.confidence.values import (
    MOVED,
    ON_VIEWS,
    RAW,
    SCALED,
    ConfidenceStudy,
    Count,
    Direction,
    Moved,
    Regime,
    RuleTest,
)
from kdlsr.reporting.study import Study, StudyTable

_MOVED: dict[Moved, str] = {
    "entropy": "entropy",
    "at_equal_loss": "entropy at equal training loss",
    "scaled_entropy": "entropy after temperature scaling",
}
_ORDER: tuple[Direction, ...] = ("raises", "lowers", "unchanged", "undecided")
SHOWN_EPOCHS = 8  # of the rule's counts, evenly chosen
HOW = (
    "All figures are of the last epoch, whichever protocol differences of accuracy are judged by. "
    "Entropies are of the test samples unless they say train; in nats.",
    "A regime raises (or lowers) entropy where the 95 % interval of its difference to {reference} "
    "lies on one side of 0 and p stays below 0.05 after Holm's correction over that network's "
    "differences of that entropy; over the seeds that both share where they share all, otherwise "
    "Welch's. Unchanged: the whole interval is within {margin:g} % of {reference}'s entropy.",
    "Scaled: logits divided by the temperature that is best for the validation samples.",
    "AURC counts samples of equal confidence as the mean over their orders; adaptive ECE is over "
    "15 bins of equal mass.",
    "The rule of inheritance: a student's entropy is above {reference}'s exactly where its "
    "teacher's on the training views is above {reference}'s there, both as they are in evaluation. "
    "It is this project's reading of Sultan's claim (b), and published by nobody.",
    "At equal training loss the reference is taken where it had the student's NLL on the training "
    "views, interpolated between epochs: a control for a method that only learns faster. Runs "
    "whose loss it never had are left out.",
    "The correlation of a student with its teacher is to be held against that of {reference}, "
    "which the teacher did not teach: some samples are harder for every network.",
)


def section(study: ConfidenceStudy) -> Study:
    """Returns the study as a section of a report."""
    fill = {"reference": study.reference, "margin": 100 * study.margin}
    tables = (
        _figures(study, "After the last epoch", RAW),
        _figures(study, "After temperature scaling", SCALED),
        _figures(study, "On the training views of the last epoch", ON_VIEWS),
        _directions(study),
        _follows(study),
        _rules(study),
        _across(study),
    )
    return Study(
        name="confidence",
        title="Confidence: in which direction, and whose",
        answers=tuple(_answers(study)),
        tables=tuple(table for table in tables if table.rows),
        figures=study_figures(study),
        notes=(*(line.format(**fill) for line in HOW), *study.notes),
        values=dataclasses.asdict(study) | {"verdicts": _verdicts(study)},
    )


# ---------------------------------------------------------------- what was found


def _answers(study: ConfidenceStudy) -> Iterator[str]:
    for student, regimes in study.students.items():
        for measure in MOVED:
            if found := _by_verdict(regimes, measure):
                yield f"{student}, {_MOVED[measure]}, against {study.reference}: {found}."
    yield from _inheritance(study)
    for rule in study.rules:
        yield (
            f"The rule of inheritance at equal {rule.compared}, on {rule.split}: it held in "
            f"{rule.held} of {rule.of} comparisons, where one that always says the same would be "
            f"right in {rule.constant}{_left_out(rule)}."
        )
    for over in study.across:
        yield (
            f"{over.student}: over {over.teachers} teachers, their entropy on train and their "
            f"students' on test correlate with Pearson {_maybe(over.pearson)}, Spearman "
            f"{_maybe(over.spearman)}."
        )


def _by_verdict(regimes: Sequence[Regime], measure: Moved) -> str:
    found: dict[Direction, list[str]] = {}
    for regime in regimes:
        if move := regime.moves.get(measure):
            factor = "" if move.factor is None else f" (x {number(move.factor)})"
            found.setdefault(move.verdict, []).append(f"{regime.name}{factor}")
    return "; ".join(f"{v}: {', '.join(found[v])}" for v in _ORDER if v in found)


def _inheritance(study: ConfidenceStudy) -> Iterator[str]:
    """Says in how many cells the direction that was decided is the expected one."""
    decided = [
        (regime.expected, regime.moves["entropy"].verdict)
        for regime in study.regimes
        if regime.expected and "entropy" in regime.moves
    ]
    if not decided:
        return
    moved = [(expected, v) for expected, v in decided if v in ("raises", "lowers")]
    held = sum(expected == v for expected, v in moved)
    yield (
        f"After the last epoch, of {len(decided)} taught cells {len(moved)} move entropy in a "
        f"direction that is decided, {held} of them in that of their teacher's entropy on train."
    )


def _left_out(rule: RuleTest) -> str:
    if not rule.left_out:
        return ""
    return f" ({rule.left_out} more could not be compared: the reference never had that loss)"


# ---------------------------------------------------------------- tables


def _figures(study: ConfidenceStudy, title: str, names: Sequence[str]) -> StudyTable:
    known = [name for name in names if any(name in r.figures for r in study.regimes)]
    heads = ["top-1 %" if name == "top1" else formatting.measure_name(name) for name in known]
    rows = [
        [r.student, r.name, *(_figure(name, r.figures.get(name)) for name in known)]
        for r in study.regimes
        if any(name in r.figures for name in known)
    ]
    caption = "Mean ± standard deviation (n) over seeds."
    return StudyTable(title, ["student", "regime", *heads], rows, caption)


def _figure(name: str, found: Estimate | None) -> str:
    if name == "top1" and found is not None:
        return formatting.spread(found)
    return formatting.measure(name, found)


def _directions(study: ConfidenceStudy) -> StudyTable:
    columns = ["student", "regime", "of", f"minus {study.reference}", "95 %", "interval", "n"]
    columns += ["p (Holm)", "factor", "verdict", "the rule says", "as it says"]
    rows = [
        [
            regime.student,
            regime.name,
            _MOVED[measure],
            signed(move.mean),
            interval(move.interval),
            NOTHING if move.interval is None else "paired" if move.is_paired else "Welch",
            str(move.n),
            formatting.p_value(move.p_holm),
            NOTHING if move.factor is None else number(move.factor),
            move.verdict,
            *_expectation(regime, move.verdict, measure),
        ]
        for regime in study.regimes
        for measure, move in regime.moves.items()
    ]
    return StudyTable(f"Entropy against {study.reference}, nats", columns, rows)


def _expectation(regime: Regime, verdict: Direction, measure: Moved) -> tuple[str, str]:
    """Returns what the rule says of a regime at equal epochs, and whether it is so."""
    expected = regime.expected
    if expected is None or measure != "entropy":
        return NOTHING, NOTHING
    if verdict not in ("raises", "lowers"):
        return expected, NOTHING
    return expected, "yes" if expected == verdict else "no"


def _follows(study: ConfidenceStudy) -> StudyTable:
    reference = study.reference
    columns = ["student", "regime", "teacher", "Pearson", "Spearman"]
    columns += [f"Pearson of {reference}", f"Spearman of {reference}"]
    rows = [
        [
            regime.student,
            regime.name,
            regime.teacher or NOTHING,
            *map(_correlation, (regime.follows.pearson, regime.follows.spearman)),
            *map(
                _correlation,
                (regime.reference_follows.pearson, regime.reference_follows.spearman),
            ),
        ]
        for regime in study.regimes
        if regime.follows.pearson
    ]
    caption = f"Of confidences over the test samples, with the teacher's; {reference} had none."
    return StudyTable("Whose confidence", columns, rows, caption)


def _rules(study: ConfidenceStudy) -> StudyTable:
    columns = ["at equal", "entropy on", "held", "of", "best constant rule", "left out", "by epoch"]
    rows = [
        [
            rule.compared,
            rule.split,
            *map(str, (rule.held, rule.of, rule.constant, rule.left_out)),
            ", ".join(f"{c.epoch}: {c.held}/{c.of}" for c in _some(rule.by_epoch)),
        ]
        for rule in study.rules
    ]
    caption = (
        "sign(H_student - H_reference) = sign(H_teacher,train - H_reference,train), for each run, "
        "its reference of the same seeds, and each epoch. Comparisons are not independent."
    )
    return StudyTable("The rule of inheritance", columns, rows, caption)


def _some(counts: Sequence[Count]) -> list[Count]:
    """Returns a few counts, evenly chosen; the first and the last among them."""
    last = len(counts) - 1
    if last < SHOWN_EPOCHS:
        return list(counts)
    return [counts[round(i * last / (SHOWN_EPOCHS - 1))] for i in range(SHOWN_EPOCHS)]


def _across(study: ConfidenceStudy) -> StudyTable:
    rows = [
        [a.student, str(a.teachers), _maybe(a.pearson), _maybe(a.spearman)] for a in study.across
    ]
    columns = ["student", "teachers", "Pearson", "Spearman"]
    caption = "Of teachers' mean entropy on train with their students' mean entropy on test."
    return StudyTable("Over teachers", columns, rows, caption)


# ---------------------------------------------------------------- numbers


def signed(value: float) -> str:
    """Returns `+0.1234`; what rounds to zero has no sign."""
    text = number(value, 4)
    return text if float(text) <= 0 else f"+{text}"


def interval(found: Interval | None) -> str:
    """Returns `[+0.1000, +0.1500]`."""
    return NOTHING if found is None else f"[{signed(found.low)}, {signed(found.high)}]"


def _correlation(found: Estimate | None) -> str:
    return NOTHING if found is None else formatting.spread(found, 3)


def _maybe(value: float | None) -> str:
    return NOTHING if value is None else number(value, 3)


def _verdicts(study: ConfidenceStudy) -> dict[str, dict[str, str]]:
    return {r.key: {m: move.verdict for m, move in r.moves.items()} for r in study.regimes}
