"""What a run keeps for questions of confidence: held-out logits, its teacher on training views."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdlsr.config.compose import compose_config
from kdlsr.config.overrides import Overrides
from kdlsr.config.schema import read_config
from kdlsr.metrics import (
    Metrics,
    classification_metrics,
    confidence_correlation,
    confidence_figures,
    fit_temperature,
)
from kdlsr.reporting.any_runs.choices import ReportChoices
from kdlsr.reporting.any_runs.report import report_runs
from kdlsr.reporting.frame import records
from kdlsr.reporting.page import render_page
from kdlsr.reporting.rendering import render_markdown
from kdlsr.runs.confidence import NO_SPLIT, read_confidence
from kdlsr.runs.execute import complete_run, store_of
from kdlsr.runs.folder import DamagedFile, RunFolder
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.session import Session

STUDENT = ["dataset=digits", "dataset.subset=200", "schedule=quick", "schedule.epochs=2"]
STUDENT += ["schedule.milestones=[]", "precision=fp32", "model=resnet8", "model.width=4"]
KD = ["loss=kd", "teacher=self", "dataset.views=none", "dataset.val_fraction=0.2"]
Planned = Callable[..., Run]


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return compose_config([*STUDENT, *KD])  # composed once: it is slow


def _plan(plain: dict[str, Any], root: Path, *overrides: str) -> Run:
    own = Overrides.parse([f"output_dir={root}", *overrides])
    return plan_run(read_config(own.apply_to(plain)))


@pytest.fixture(scope="module")
def student(plain: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A student with a validation split, tested on its training samples, complete."""
    run = _plan(plain, tmp_path_factory.mktemp("student"), "train_metrics=true")
    complete_run(run, Session())
    return run


def _folder(run: Run) -> RunFolder:
    return store_of(run.config).run(run.run_id)


def _logits(run: Run, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    result = _folder(run).result()
    assert result is not None
    with np.load(io.BytesIO(_folder(run).vouched(result, name))) as found:
        assert found["logits"].dtype == np.float32
        return torch.from_numpy(found["logits"]), torch.from_numpy(found["labels"])


def test_validation_logits_are_the_last_epochs(student: Run) -> None:
    logits, labels = _logits(student, "val_logits.npz")
    record = _folder(student).history()[-1]
    assert classification_metrics(logits, labels) == record.val


def test_the_teacher_is_measured_on_the_training_views_of_the_last_epoch(student: Run) -> None:
    """Without augmentation these are its own training samples, its logits rounded to float16."""
    result, teacher_run = _folder(student).result(), student.teacher_run
    assert result is not None
    assert result.teacher is not None
    assert teacher_run is not None
    found = result.teacher.train
    outputs = sorted(Path(student.config.output_dir).glob("teacher_outputs/*/epoch-0002-*.npy"))
    assert found is not None
    stored = torch.from_numpy(np.load(outputs[0]).astype(np.float32))
    assert found.confidence == pytest.approx(float(stored.softmax(1).amax(1).mean()), abs=1e-6)
    p = stored.double().softmax(1)
    assert found.entropy == pytest.approx(float(torch.special.entr(p).sum(1).mean()), rel=1e-9)
    assert found.top1 > 15


def test_the_correlation_with_the_teacher_is_that_of_both_files(student: Run) -> None:
    result, teacher_run = _folder(student).result(), student.teacher_run
    assert result is not None
    assert result.teacher is not None
    assert teacher_run is not None
    ours, theirs = (_logits(run, "test_logits.npz")[0] for run in (student, teacher_run))
    expected, found = confidence_correlation(theirs, ours), result.teacher.correlation
    assert found is not None
    assert found.pearson is not None
    assert found.pearson == pytest.approx(expected.pearson, abs=1e-3)  # float16


def test_the_option_adds_figures_and_moves_none(
    student: Run, plain: dict[str, Any], tmp_path: Path
) -> None:
    without = _plan(plain, tmp_path)
    assert without.run_id == student.run_id
    complete_run(without, Session())
    names = ("metrics.jsonl", "test_logits.npz", "val_logits.npz", "result.json")
    ours, theirs = ([(_folder(r).path / n) for n in names] for r in (student, without))
    lines = [json.loads(line) for line in ours[0].read_text().splitlines()]
    added = [(Metrics(**line.pop("train_views")), Metrics(**line.pop("teacher"))) for line in lines]
    assert lines == [json.loads(line) for line in theirs[0].read_text().splitlines()]
    assert [a.read_bytes() for a in ours[1:3]] == [b.read_bytes() for b in theirs[1:3]]
    result, other = _folder(student).result(), _folder(without).result()
    assert result is not None
    assert other is not None
    assert result.teacher is not None
    assert (result.train_views, result.teacher.train) == added[-1]
    assert (other.train, other.train_views) == (None, None)
    # Without augmentation the views are the samples.
    assert result.train is not None
    assert result.train_views is not None
    assert result.train.nll == pytest.approx(result.train_views.nll, rel=1e-5)
    assert other.teacher == result.teacher


@pytest.mark.parametrize("store", ["auto", "off"])
def test_a_run_whose_end_is_made_again_ends_with_the_same_bytes(
    student: Run, store: str, plain: dict[str, Any]
) -> None:
    """Nothing is left to train: what the teacher says of the last epoch is found or asked anew."""
    names = ("result.json", "val_logits.npz", "test_logits.npz", "metrics.jsonl")
    folder = _folder(student).path
    before = [(folder / name).read_bytes() for name in names]
    (folder / "result.json").unlink()
    (folder / "val_logits.npz").unlink()
    root = student.config.output_dir
    complete_run(
        _plan(plain, Path(root), "train_metrics=true", f"teacher.store={store}"), Session()
    )
    assert [(folder / name).read_bytes() for name in names] == before


def test_damaged_validation_logits_are_made_again(student: Run) -> None:
    path = _folder(student).path / "val_logits.npz"
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    assert _folder(student).is_complete()
    assert not _folder(student).is_complete(whole=True)
    result = _folder(student).result()
    assert result is not None
    with pytest.raises(DamagedFile, match="is not what its result is of"):
        _folder(student).vouched(result, "val_logits.npz")
    complete_run(student, Session())
    assert path.read_bytes() == content


def test_a_finished_run_says_what_its_confidence_is_worth_before_and_after_scaling(
    student: Run,
) -> None:
    result = _folder(student).result()
    assert result is not None
    found = read_confidence(_folder(student), result)
    assert found is not None
    assert found.temperature == fit_temperature(*_logits(student, "val_logits.npz"))
    test = _logits(student, "test_logits.npz")
    assert found.raw == confidence_figures(*test)
    assert found.scaled == confidence_figures(*test, found.temperature.value)
    assert found.why_not is None


def test_without_validation_logits_nothing_is_scaled_and_it_is_said_why(student: Run) -> None:
    result = _folder(student).result()
    assert result is not None
    files = {name: file for name, file in result.files.items() if name != "val_logits.npz"}
    found = read_confidence(_folder(student), dataclasses.replace(result, files=files))
    assert found is not None
    assert (found.temperature, found.scaled, found.why_not) == (None, None, NO_SPLIT)
    assert read_confidence(_folder(student), dataclasses.replace(result, files={})) is None


def test_a_report_on_any_runs_shows_it_in_words_and_in_columns(student: Run) -> None:
    root = Path(student.config.output_dir)
    report = report_runs(ReportChoices(), root, "the command")
    (cell,) = report.cells
    result = _folder(student).result()
    assert result is not None
    confidence = read_confidence(_folder(student), result)
    assert confidence is not None
    assert confidence.scaled is not None
    (record,) = records(report)
    assert record["scaled_ece_mean"] == confidence.scaled.ece
    assert record["train_entropy_mean"] == result.train.entropy if result.train else None
    assert record["aurc_n"] == 1
    assert "ECE, adaptive, scaled" in render_markdown(report)
    assert f"{confidence.raw.aurc:.4f}" in render_page(report, {})
    assert cell.measures["confidence_pearson"] is not None


def test_a_report_counts_a_run_whose_logits_are_damaged_and_says_so(student: Run) -> None:
    path = _folder(student).path / "test_logits.npz"
    content = path.read_bytes()
    path.write_bytes(b"")
    try:
        report = report_runs(ReportChoices(), Path(student.config.output_dir), "the command")
    finally:
        path.write_bytes(content)
    assert report.cells[0].state == "complete"
    assert "aurc" not in report.cells[0].measures
    assert any("test_logits.npz is not what" in line for line in report.caveats)
