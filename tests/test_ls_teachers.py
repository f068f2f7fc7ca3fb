"""The study of label-smoothed teachers, on runs: its figures are the measures of their files."""

from typing import Any

import numpy as np
import pytest
import torch

from kdlsr.data import digits, prepare
from kdlsr.metrics import diffusion, equivalent_smoothing, similar_classes, stability
from kdlsr.reporting.reading import read_run
from kdlsr.reporting.studies import Studied, studies
from kdlsr.reporting.study import Study
from kdlsr.reporting.summarise import summarise
from kdlsr.reporting.summary import Cell, RunSummary
from kdlsr.runs.execute import complete_run, store_of
from kdlsr.runs.plan import Run, card_of
from kdlsr.runs.session import Session
from kdlsr.tables.reading import read_table

TAUGHT = ["loss=kd", "loss.alpha=1", "teacher=self"]
SMOOTHED = 'teacher.overrides=["loss=lsr","loss.alpha=0.1"]'


def _complete(run: Run) -> RunSummary:
    complete_run(run, Session())
    folder = store_of(run.config).run(run.run_id)
    return read_run(card_of(run, "itself"), folder, "complete", ())


def _arrays(run: Run, name: str) -> dict[str, torch.Tensor]:
    with np.load(store_of(run.config).run(run.run_id).path / name) as found:
        return {key: torch.from_numpy(found[key]) for key in found.files}


@pytest.fixture
def runs(plan: Any) -> dict[str, Run]:
    kept = ["keep_features=true", "schedule.epochs=2"]
    return {
        "baseline": plan(*kept),
        "T 1": plan(*kept, *TAUGHT, "loss.tau=1"),
        "T 4": plan(*kept, *TAUGHT, "loss.tau=4"),
        "smoothed T 1": plan(*kept, *TAUGHT, "loss.tau=1", SMOOTHED),
        "smoothed T 4": plan(*kept, *TAUGHT, "loss.tau=4", SMOOTHED),
    }


def _study(runs: dict[str, Run]) -> Study:
    cells = [
        Cell(key=name, row=name, column="", name="", kind="method", runs=(_complete(run),),
             baseline_key=None if name == "baseline" else "baseline")
        for name, run in runs.items()
    ]  # fmt: skip
    found = summarise(cells, None)
    table = read_table("chandrasegaran2022/cifar10")
    return studies.get("ls_teachers")(Studied(found.cells, found.protocol, table))


def test_the_studys_figures_are_those_of_the_runs_files(runs: dict[str, Run]) -> None:
    study = _study(runs)
    values = {each["key"]: each for each in study.values["cells"]}
    features = {name: _arrays(run, "test_features.npz") for name, run in runs.items()}
    near = features["baseline"]
    similar = similar_classes(near["features"], near["labels"], 10, 1)
    for low, high in (("T 1", "T 4"), ("smoothed T 1", "smoothed T 4")):
        pair = features[low]["features"], features[high]["features"]
        expected = diffusion(*pair, near["labels"], similar)
        assert values[high]["diffusion"]["values"] == [pytest.approx(expected)]
        assert values[low]["diffusion"] is None
        teacher = runs[high].teacher_run
        assert teacher is not None
        answers = _arrays(teacher, "test_logits.npz")
        gamma = equivalent_smoothing(answers["logits"], answers["labels"], 4.0)
        assert values[high]["gamma"]["values"] == [pytest.approx(gamma)]
    logits = _arrays(runs["T 4"], "test_logits.npz")
    expected = 1 - stability(logits["logits"], logits["labels"])
    assert values["T 4"]["instability"]["values"] == [pytest.approx(expected)]
    assert any("more than with the teacher that was not smoothed (T 4)" in a for a in study.answers)
    assert not any("kept no features" in note for note in study.notes)
    (figure,) = study.figures
    assert figure.draw() == figure.draw()


def test_runs_without_features_are_counted_and_cost_no_figure_but_their_own(plan: Any) -> None:
    kept, plain = plan("keep_features=true"), plan("seed=1")
    study = _study({"baseline": kept, "other": plain})
    assert any(note.startswith("1 run kept no features") for note in study.notes)
    assert [row[0] for row in study.tables[0].rows] == ["baseline", "other"]


def test_a_test_set_that_lacks_a_class_costs_its_means_and_is_told(
    runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = digits.test_rows
    monkeypatch.setattr(digits, "test_rows", lambda labels: every(labels) & (labels != 9))
    monkeypatch.setattr(prepare, "_loaded", {})
    study = _study(runs)
    assert any(note.startswith("5 runs had a test set without a sample") for note in study.notes)
    for each in study.values["cells"]:
        assert each["instability"] is each["diffusion"] is None
    assert {each["key"]: each["gamma"] for each in study.values["cells"]}["T 4"] is not None
    assert all(figure.draw() for figure in study.figures)
