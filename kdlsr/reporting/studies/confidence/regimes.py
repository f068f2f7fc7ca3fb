"""A report's cells as regimes: each held against plain training of the same network.

All figures are of the last epoch, whichever protocol the report's differences are judged by, since
the logits that are kept are the last epoch's.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from kdlsr.metrics import Reliability, confidence_correlation
from kdlsr.reporting import formatting
from kdlsr.reporting.measures import values_of
from kdlsr.reporting.reading import with_confidence
from kdlsr.reporting.statistics import Difference, Estimate, difference, estimate, holm
from kdlsr.reporting.studies.confidence.across import across_teachers
from kdlsr.reporting.studies.confidence.rule import reference_at_loss_of, rule_tests
from kdlsr.reporting.studies.confidence.values import (
    FIGURES,
    MOVED,
    AtEpoch,
    ConfidenceStudy,
    Followed,
    Move,
    Moved,
    Regime,
)
from kdlsr.reporting.summary import CellSummary, RunSummary
from kdlsr.runs.confidence import RunConfidence, read_logits
from kdlsr.runs.folder import DamagedFile, RunFolder
from kdlsr.runs.store import Store

MARGIN = 0.05  # of the reference's entropy: what is less is no change that matters
NOT_TESTED = (
    "The rule of inheritance is not tested: no run was tested on its training views "
    "(train_metrics=true, which is among the overrides of a table that asks for this study)."
)


def study_confidence(cells: Sequence[CellSummary]) -> ConfidenceStudy:
    """Returns the study of a report's cells, of which only complete runs count."""
    read = {cell.key: _with_logits(cell) for cell in cells}
    references = [c for c in read.values() if c.kind == "baseline"]
    found: list[Regime] = []
    pairs: list[tuple[RunSummary, RunSummary]] = []
    for reference in references:
        held = [c for c in read.values() if c.baseline_key == reference.key and c.complete]
        names = _names(held)
        own = [_regime(cell, reference, names[cell.key]) for cell in held]
        found += [_regime(reference, reference, "ERM"), *_corrected(own)]
        pairs += [pair for cell in held for pair in _pairs(cell, reference)]
    regimes = tuple(found)
    rules = rule_tests([pair for pair in pairs if pair[0].taught])
    return ConfidenceStudy(
        reference="ERM",
        margin=MARGIN,
        regimes=regimes,
        rules=rules,
        across=across_teachers(regimes),
        notes=tuple(_notes(read.values(), has_rules=bool(rules))),
    )


def _with_logits(cell: CellSummary) -> CellSummary:
    """Returns a cell whose runs say what their logits say."""
    runs = (with_confidence(run, run.folder) if run.folder else run for run in cell.runs)
    return replace(cell, runs=tuple(runs))


def _names(cells: Sequence[CellSummary]) -> dict[str, str]:
    """Returns what each cell is called among those of one network, as briefly as it can be."""
    plain = {c.key: c.name if c.kind == "control" else c.column for c in cells}
    shared = {name for name in plain.values() if list(plain.values()).count(name) > 1}
    full = {c.key: formatting.heading(c.group, c.row, c.column, c.name) for c in cells}
    return {key: full[key] if name in shared else name for key, name in plain.items()}


def _regime(cell: CellSummary, reference: CellSummary, name: str) -> Regime:
    config = cell.runs[0].card.config if cell.runs else {}
    loss = config.get("loss", {})
    is_reference = cell is reference
    taught = [run for run in cell.complete if run.taught]
    return Regime(
        key=cell.key,
        student=formatting.heading(reference.group, reference.row),
        name=name,
        is_reference=is_reference,
        figures=_figures(cell),
        moves={} if is_reference else _moves(cell, reference),
        teacher=taught[0].taught.name if taught and taught[0].taught else None,
        follows=_followed(
            [(t.pearson, t.spearman) for r in taught if r.taught and (t := r.taught.correlation)]
        ),
        reference_follows=Followed() if is_reference else _untaught(taught, reference),
        predicted=_predicted(cell, reference),
        epochs=_by_epoch(cell.complete),
        bins=_pooled(cell.complete, lambda found: found.bins),
        scaled_bins=_pooled(cell.complete, lambda found: found.scaled_bins),
        on_train=tuple(_on_train(cell.complete)),
        tau=loss.get("tau"),
        alpha=loss.get("alpha"),
    )


def _figures(cell: CellSummary) -> dict[str, Estimate]:
    found = {name: list(values_of(cell, "last", name).values()) for name in FIGURES}
    return {name: estimate(values) for name, values in found.items() if values}


# ---------------------------------------------------------------- in which direction


def _moves(cell: CellSummary, reference: CellSummary) -> dict[Moved, Move]:
    found: dict[Moved, Move] = {}
    for measure in MOVED:
        ours, theirs = _compared(cell, reference, measure)
        if ours and theirs:
            found[measure] = _move(difference(ours, theirs), ours, theirs)
    return found


def _compared(
    cell: CellSummary, reference: CellSummary, measure: Moved
) -> tuple[dict[object, float], dict[object, float]]:
    """Returns a regime's values and the reference's, by what pairs them."""
    if measure != "at_equal_loss":
        return values_of(cell, "last", measure), values_of(reference, "last", measure)
    ours: dict[object, float] = {}
    theirs: dict[object, float] = {}
    for run, other in _pairs(cell, reference):
        entropy = reference_at_loss_of(run, other)
        if entropy is not None:
            ours[run.card.seeds] = run.history[-1].test.entropy
            theirs[run.card.seeds] = entropy
    return ours, theirs


def _move(found: Difference, ours: Mapping[object, float], theirs: Mapping[object, float]) -> Move:
    """Judges a difference over the seeds that both share, if they share all; else by Welch."""
    is_paired = len(ours) > 1 and ours.keys() == theirs.keys()
    usual = math.fsum(theirs.values()) / len(theirs)
    return Move(
        mean=found.mean,
        factor=(usual + found.mean) / usual if usual else None,
        margin=MARGIN * usual,
        interval=found.paired if is_paired else found.welch,
        n=len(ours),
        is_paired=is_paired,
    )


def _corrected(regimes: Sequence[Regime]) -> tuple[Regime, ...]:
    """Fills in Holm's p over one network's differences of each entropy."""
    ps = {}
    for measure in MOVED:
        family = {r.key: r.moves[measure].interval for r in regimes if measure in r.moves}
        ps[measure] = holm({key: found.p if found else None for key, found in family.items()})
    return tuple(
        replace(
            regime,
            moves={m: replace(move, p_holm=ps[m][regime.key]) for m, move in regime.moves.items()},
        )
        for regime in regimes
    )


def _predicted(cell: CellSummary, reference: CellSummary) -> float | None:
    teacher = list(values_of(cell, "last", "teacher_views_entropy").values())
    own = list(values_of(reference, "last", "views_entropy").values())
    return estimate(teacher).mean - estimate(own).mean if teacher and own else None


# ---------------------------------------------------------------- whom it follows


def _followed(found: Iterable[tuple[float | None, float | None]]) -> Followed:
    columns = list(zip(*found, strict=True)) or [(), ()]
    kept = [[value for value in column if value is not None] for column in columns]
    return Followed(*(estimate(values) if values else None for values in kept))


def _untaught(taught: Sequence[RunSummary], reference: CellSummary) -> Followed:
    """Returns how the reference's runs correlate with a teacher that did not teach them.

    Known where the teacher is a run of the store that taught after its last epoch, of which the
    logits are kept.
    """
    named = taught[0].card.teacher if taught else None
    folder = taught[0].folder if taught else None
    if named is None or folder is None or named.run_id is None or named.epoch != "last":
        return Followed()
    theirs = _logits_of(Store(folder.path.parent.parent).run(named.run_id))
    found = []
    for run in reference.complete:
        own = _logits_of(run.folder) if run.folder else None
        if theirs is not None and own is not None and own.shape == theirs.shape:
            correlation = confidence_correlation(theirs, own)
            found.append((correlation.pearson, correlation.spearman))
    return _followed(found)


def _logits_of(folder: RunFolder) -> Tensor | None:
    result = folder.result()
    try:
        found = read_logits(folder, result, "test_logits.npz") if result else None
    except DamagedFile:
        return None  # told where the run itself is read
    return found[0] if found else None


def _on_train(runs: Iterable[RunSummary]) -> Iterable[tuple[float, float]]:
    for run in runs:
        own, taught = run.result and run.result.train_views, run.taught
        if own and taught and taught.train:
            yield taught.train.confidence, own.confidence


# ---------------------------------------------------------------- over seeds


def _pairs(cell: CellSummary, reference: CellSummary) -> list[tuple[RunSummary, RunSummary]]:
    """Returns each run with the reference's of the same seeds."""
    theirs = {run.card.seeds: run for run in reference.complete}
    return [(r, theirs[r.card.seeds]) for r in cell.complete if r.card.seeds in theirs]


def _by_epoch(runs: Sequence[RunSummary]) -> tuple[AtEpoch, ...]:
    found: dict[int, list[float]] = {}
    for run in runs:
        for record in run.history:
            found.setdefault(record.epoch, []).append(record.test.entropy)
    return tuple(
        AtEpoch(epoch, math.fsum(values) / len(values), min(values), max(values))
        for epoch, values in sorted(found.items())
    )


def _pooled(
    runs: Sequence[RunSummary], of: Callable[[RunConfidence], Reliability | None]
) -> Reliability | None:
    """Returns the bins of all runs' samples together."""
    every = [bins for run in runs if run.confidence and (bins := of(run.confidence))]
    if not every:
        return None
    counts = [sum(column) for column in zip(*(bins.counts for bins in every), strict=True)]

    def mean(values: Sequence[Sequence[float]]) -> tuple[float, ...]:
        weighted = (
            math.fsum(n * v for n, v in zip(counted, column, strict=True))
            for counted, column in zip(
                zip(*(bins.counts for bins in every), strict=True),
                zip(*values, strict=True),
                strict=True,
            )
        )
        return tuple(v / max(1, n) for v, n in zip(weighted, counts, strict=True))

    return Reliability(
        tuple(counts), mean([b.confidence for b in every]), mean([b.accuracy for b in every])
    )


def _notes(cells: Iterable[CellSummary], *, has_rules: bool) -> list[str]:
    found = {run.run_id: run.confidence for cell in cells for run in cell.complete}
    why = Counter(one.why_not for one in found.values() if one and one.why_not)
    remarks = (
        f"Temperature scaling, {n} of {formatting.plural(len(found), 'run')}: {reason}."
        for reason, n in why.items()
    )
    return [*([] if has_rules else [NOT_TESTED]), *remarks]
