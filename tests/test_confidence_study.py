"""The study of confidence: directions with intervals, whom a student follows, the rule counted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import written
from sample_report import invented_card
from torch import Tensor

from kdlsr.metrics import Metrics, classification_metrics, confidence_correlation
from kdlsr.reporting.statistics import Interval, difference
from kdlsr.reporting.studies.confidence.across import across_teachers
from kdlsr.reporting.studies.confidence.regimes import study_confidence
from kdlsr.reporting.studies.confidence.rule import Entropies, at_loss, rule_tests
from kdlsr.reporting.studies.confidence.section import section
from kdlsr.reporting.studies.confidence.values import Move, Regime
from kdlsr.reporting.summary import CellSummary, RunSummary
from kdlsr.runs.card import TeacherOnCard
from kdlsr.runs.confidence import NO_SPLIT
from kdlsr.runs.folder import RunFolder
from kdlsr.runs.result import AtEpoch, RunResult, TeacherFigures
from kdlsr.training.record import EpochRecord

KEY = "weak KD"


def _metrics(entropy: float, nll: float = 0.5) -> Metrics:
    """Metrics of which entropy and NLL alone mean something."""
    return Metrics(90.0, None, nll, 0.2, entropy, 0.9, 0.05)


@dataclass(frozen=True)
class Draft:
    """A run before it is one: after each epoch, entropy on test, and entropy and NLL on train."""

    test: Sequence[float]
    train: Sequence[float]
    nll: Sequence[float]
    teacher: float | None = None  # its entropy on train


def _history(draft: Draft) -> tuple[EpochRecord, ...]:
    teacher = None if draft.teacher is None else _metrics(draft.teacher)
    epochs = enumerate(zip(draft.test, draft.train, draft.nll, strict=True), 1)
    return tuple(
        EpochRecord(e, 0.1, {"total": nll}, None, _metrics(test), _metrics(train, nll), teacher)
        for e, (test, train, nll) in epochs
    )


def _run(draft: Draft, seed: int = 0, key: str = KEY) -> RunSummary:
    run_id, history = f"{key.replace(' ', '-')}-s{seed}", _history(draft)
    last = history[-1]
    teacher = None
    if last.teacher is not None:
        teacher = TeacherFigures(
            run_id="teacher", epoch=3, top1=95.0, agreement=90.0, kl=0.1, train=last.teacher
        )
    result = RunResult(
        run_id=run_id,
        cell_id=key,
        status="complete",
        protocols={"last": AtEpoch(epoch=last.epoch, test=last.test)},
        teacher=teacher,
        train_views=last.train_views,
    )
    card = replace(invented_card(run_id, seed, "none"), config=_config(seed))
    return RunSummary(card=card, state="complete", history=history, result=result)


def _config(seed: int) -> dict[str, object]:
    return {**dict.fromkeys(("seed", "init_seed", "data_seed"), seed), "loss": {"name": "kd"}}


def _cell(key: str, runs: Sequence[RunSummary], baseline: str | None = None) -> CellSummary:
    return CellSummary(
        key=key,
        row="weak",
        column=key,
        name="standard",
        kind="method" if baseline else "baseline",
        baseline_key=baseline,
        runs=tuple(runs),
        state="complete",
        estimates={},
    )


def _ending(entropy: float, train: float = 0.2, teacher: float | None = None) -> Draft:
    return Draft((entropy + 0.1, entropy), (train + 0.1, train), (0.6, 0.4), teacher)


def _cells(
    erm: Sequence[float], kd: Sequence[float], first_seed: int = 0, teacher: float | None = None
) -> list[CellSummary]:
    plain = [_run(_ending(value), seed, "ERM") for seed, value in enumerate(erm)]
    taught = [_run(_ending(v, teacher=teacher), seed, KEY) for seed, v in enumerate(kd, first_seed)]
    return [_cell("ERM", plain), _cell(KEY, taught, "ERM")]


# ---------------------------------------------------------------- directions


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.06, 0.2, "raises"),
        (-0.2, -0.01, "lowers"),
        (-0.01, 0.2, "undecided"),
        (-0.04, 0.05, "unchanged"),
        (0.01, 0.04, "unchanged"),  # on one side of 0, and too small to matter
        (0.01, 0.2, "raises"),
    ],
)
def test_a_verdict_is_of_the_whole_interval(low: float, high: float, verdict: str) -> None:
    move = Move((low + high) / 2, 1.0, 0.05, Interval(low, high, 2.0, 0.01), 3, True)
    assert move.verdict == verdict


def test_what_holms_correction_takes_away_is_undecided() -> None:
    move = Move(0.1, 1.0, 0.01, Interval(0.02, 0.2, 2.0, 0.04), 3, True, p_holm=0.08)
    assert move.verdict == "undecided"
    assert replace(move, p_holm=0.04).verdict == "raises"
    assert replace(move, interval=None).verdict == "undecided"


def test_shared_seeds_are_paired_and_others_are_not() -> None:
    erm, kd = [0.30, 0.40, 0.50], [0.41, 0.50, 0.60]
    paired = study_confidence(_cells(erm, kd)).regimes[1].moves["entropy"]
    apart = study_confidence(_cells(erm, kd, first_seed=7)).regimes[1].moves["entropy"]
    expected = difference(dict(enumerate(kd)), dict(enumerate(erm)))
    assert (paired.is_paired, apart.is_paired) == (True, False)
    assert paired.interval is not None
    assert apart.interval is not None
    assert expected.paired is not None
    assert expected.welch is not None
    assert paired.interval.low == pytest.approx(expected.paired.low)
    assert apart.interval.low == pytest.approx(expected.welch.low)
    assert (paired.verdict, apart.verdict) == ("raises", "undecided")
    assert paired.factor == pytest.approx(np.mean(kd) / np.mean(erm))
    assert paired.margin == pytest.approx(0.05 * 0.4)


def test_one_seed_decides_nothing() -> None:
    move = study_confidence(_cells([0.3], [0.6])).regimes[1].moves["entropy"]
    assert (move.interval, move.verdict) == (None, "undecided")


# ---------------------------------------------------------------- the rule


def test_a_student_moved_towards_its_teacher_confirms_the_rule_after_every_epoch() -> None:
    erm = Draft((0.5, 0.4, 0.3), (0.4, 0.3, 0.2), (0.6, 0.5, 0.4))
    up = Draft((0.6, 0.5, 0.4), (0.5, 0.4, 0.3), (0.65, 0.55, 0.45), teacher=0.45)
    tests = rule_tests([(_run(up), _run(erm))])
    found = {(t.compared, t.split): (t.held, t.of) for t in tests}
    assert found["epochs", "test"] == (3, 3)
    assert found["epochs", "train"] == (3, 3)
    down = replace(up, test=(0.4, 0.3, 0.2), teacher=0.1)
    first = rule_tests([(_run(down), _run(erm)), (_run(up), _run(erm))])[0]
    assert (first.held, first.of, first.constant) == (6, 6, 3)
    against = rule_tests([(_run(replace(up, teacher=0.1)), _run(erm))])[0]
    assert (against.held, against.of, against.constant) == (0, 3, 3)


def test_at_equal_training_loss_a_student_that_only_learned_faster_is_seen_through() -> None:
    """It is one epoch ahead: below the reference at equal epochs, above it at equal loss."""
    erm = Draft((0.5, 0.4, 0.3, 0.2), (0.5, 0.4, 0.3, 0.2), (0.8, 0.6, 0.4, 0.2))
    fast = Draft((0.42, 0.32, 0.22), (0.42, 0.32, 0.22), (0.6, 0.4, 0.2), teacher=0.6)
    tests = {(t.compared, t.split): t for t in rule_tests([(_run(fast), _run(erm))])}
    assert (tests["epochs", "test"].held, tests["epochs", "test"].of) == (0, 3)
    equal = tests["training loss", "test"]
    assert (equal.held, equal.of, equal.left_out) == (3, 3, 0)


def test_by_how_much_is_said_at_equal_training_loss_too() -> None:
    erm = Draft((0.5, 0.4, 0.3), (0.5, 0.4, 0.3), (0.8, 0.6, 0.4))
    fast = Draft((0.5, 0.33), (0.5, 0.35), (0.7, 0.5), teacher=0.6)
    cells = [
        _cell("ERM", [_run(erm, seed, "ERM") for seed in range(2)]),
        _cell(KEY, [_run(fast, seed) for seed in range(2)], "ERM"),
    ]
    moves = study_confidence(cells).regimes[1].moves
    assert moves["entropy"].mean == pytest.approx(0.33 - 0.3)
    assert moves["at_equal_loss"].mean == pytest.approx(0.33 - 0.35)


def test_a_loss_that_the_reference_never_had_is_left_out_and_counted() -> None:
    erm = Draft((0.5, 0.4), (0.5, 0.4), (0.8, 0.6))
    other = Draft((0.5, 0.4), (0.5, 0.4), (0.9, 0.5), teacher=0.6)
    tests = {(t.compared, t.split): t for t in rule_tests([(_run(other), _run(erm))])}
    assert (tests["training loss", "test"].of, tests["training loss", "test"].left_out) == (0, 2)


def test_entropies_at_a_loss_are_interpolated_between_epochs() -> None:
    curve = [(0.8, Entropies(0.5, 0.4)), (0.4, Entropies(0.3, 0.1))]
    found = at_loss(curve, 0.5)
    assert found is not None
    assert (found.test, found.train) == pytest.approx((0.35, 0.175))
    assert at_loss(curve, 0.9) is None
    assert at_loss(curve, 0.3) is None


def test_without_figures_on_train_the_rule_is_not_tested_and_it_is_said() -> None:
    cells = _cells([0.3, 0.4], [0.5, 0.6], teacher=0.4)
    bare = [
        replace(
            cell,
            runs=tuple(
                replace(r, history=tuple(replace(e, train_views=None) for e in r.history))
                for r in cell.runs
            ),
        )
        for cell in cells
    ]
    found = study_confidence(bare)
    assert found.rules == ()
    assert "train_metrics=true" in found.notes[0]
    assert study_confidence(cells).rules


def test_over_teachers_a_grid_of_one_teacher_is_one_point() -> None:
    def regime(teacher: str, entropies: tuple[float, float]) -> Regime:
        study = study_confidence(_cells([0.3], [entropies[1]], teacher=entropies[0]))
        return replace(study.regimes[1], teacher=teacher)

    two = (regime("a", (0.1, 0.2)), regime("b", (0.2, 0.3)), regime("b", (0.2, 0.5)))
    assert across_teachers(two) == ()
    (found,) = across_teachers((*two, regime("c", (0.4, 0.3))))
    assert found.teachers == 3
    expected = np.corrcoef([0.1, 0.2, 0.4], [0.2, 0.4, 0.3])[0, 1]
    assert found.pearson == pytest.approx(float(expected))


# ---------------------------------------------------------------- from files, to a section


def _logits(seed: int, sharpness: float) -> tuple[Tensor, Tensor]:
    """Of one set of samples, some of which are harder for every network."""
    draw, own = torch.Generator().manual_seed(9), torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (200,), generator=draw)
    logits = torch.randn(200, 5, generator=draw)
    logits[torch.arange(200), labels] += 2.0
    noise = torch.randn(200, 5, generator=own)
    return (sharpness * (logits + noise)).float(), labels


def _stored(root: Path, run: RunSummary, sharpness: float, seed: int) -> RunSummary:
    """A run with the logits of its last epoch, in a store."""
    logits, labels = _logits(seed, sharpness)
    last = replace(run.history[-1], test=classification_metrics(logits, labels))
    history = (*run.history[:-1], last)
    assert run.result is not None
    protocols = {"last": AtEpoch(epoch=last.epoch, test=last.test)}
    folder = RunFolder(root / "runs" / run.run_id, run.run_id)
    with written(folder) as writer:
        writer.metrics(history)
        writer.test_logits(logits.numpy(), labels.numpy())
        writer.val_logits(logits.numpy()[:50], labels.numpy()[:50])
        writer.result(replace(run.result, protocols=protocols))
    return replace(run, history=history, folder=folder, result=folder.result())


@pytest.fixture
def stored(tmp_path: Path) -> list[CellSummary]:
    """Three seeds of ERM and of a less confident student, with their teacher, on disk."""
    teacher = _stored(tmp_path, _run(_ending(0.3), 1000, "teacher"), 1.5, 50)
    erm = [_stored(tmp_path, _run(_ending(0.3), s, "ERM"), 3.0, 60 + s) for s in range(3)]
    on_card = TeacherOnCard(run_id=teacher.run_id, name=teacher.run_id, epoch="last")
    taught = []
    for seed in range(3):
        run = _stored(tmp_path, _run(_ending(0.4, teacher=0.5), seed), 1.0, 70 + seed)
        taught.append(replace(run, card=replace(run.card, teacher=on_card)))
    return [_cell("ERM", erm), _cell(KEY, taught, "ERM")]


def test_the_reference_is_held_against_a_teacher_that_did_not_teach_it(
    stored: list[CellSummary],
) -> None:
    kd = study_confidence(stored).regimes[1]
    theirs = _logits(50, 1.5)[0]
    expected = [confidence_correlation(theirs, _logits(60 + s, 3.0)[0]).pearson for s in range(3)]
    assert kd.reference_follows.pearson is not None
    assert kd.reference_follows.pearson.values == pytest.approx(expected)
    assert kd.expected == "raises"


def test_figures_of_logits_are_scaled_and_bins_hold_the_samples_of_all_seeds(
    stored: list[CellSummary],
) -> None:
    erm, kd = study_confidence(stored).regimes
    assert kd.bins is not None
    assert erm.scaled_bins is not None
    assert sum(kd.bins.counts) == 600
    gaps = zip(kd.bins.counts, kd.bins.accuracy, kd.bins.confidence, strict=True)
    pooled = sum(n * abs(a - c) for n, a, c in gaps) / 600
    assert pooled <= kd.figures["ece"].mean + 1e-12
    assert kd.moves["entropy"].verdict == "raises"
    assert erm.figures["temperature"].mean > kd.figures["temperature"].mean
    assert abs(kd.moves["scaled_entropy"].mean) < 0.2 * kd.moves["entropy"].mean


def test_why_nothing_is_scaled_is_said_once_for_all_runs(stored: list[CellSummary]) -> None:
    def without(run: RunSummary) -> RunSummary:
        assert run.result is not None
        files = {k: v for k, v in run.result.files.items() if k != "val_logits.npz"}
        return replace(run, result=replace(run.result, files=files))

    cells = [replace(c, runs=tuple(map(without, c.runs))) for c in stored]
    found = study_confidence(cells)
    assert [n for n in found.notes if "Temperature" in n] == [
        f"Temperature scaling, 6 of 6 runs: {NO_SPLIT}."
    ]
    assert "scaled_entropy" not in found.regimes[1].moves
    assert "After temperature scaling" not in [t.title for t in section(found).tables]


def test_the_section_says_it_in_words_and_draws_what_there_is(stored: list[CellSummary]) -> None:
    found = section(study_confidence(stored))
    assert any(a.startswith("weak, entropy, against ERM: raises: weak KD") for a in found.answers)
    titles = [table.title for table in found.tables]
    assert titles == [
        "After the last epoch",
        "After temperature scaling",
        "On the training views of the last epoch",
        "Entropy against ERM, nats",
        "The rule of inheritance",
    ]
    assert all(len(row) == len(table.columns) for table in found.tables for row in table.rows)
    names = [figure.name for figure in found.figures]
    assert names == [
        "reliability",
        "confidence_histogram",
        "entropy_by_epoch",
        "teacher_and_student",
    ]
    for figure in found.figures[:2]:
        assert figure.draw().startswith(b"\x89PNG")
    assert found.values["verdicts"][KEY]["entropy"] == "raises"
