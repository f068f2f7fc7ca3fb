"""A plan tells how long it will take: from runs like its own, else from a step that is measured."""

import math
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from kdlsr.runs import measuring
from kdlsr.runs import paces as paces_module
from kdlsr.runs.executors import Capacity
from kdlsr.runs.measuring import Pace, measure
from kdlsr.runs.paces import FILE, known_paces
from kdlsr.runs.plan import Run, with_seed
from kdlsr.tables.forecast import Forecaster
from kdlsr.tables.plan import Plan, PlannedJob
from kdlsr.training.recording import WARM_UP

PACE = Pace(step=2.0, answer=0.5)


@pytest.fixture
def run(plan: Any) -> Run:
    return plan("schedule.batch_size=32")


def _told() -> tuple[list[str], Any]:
    lines: list[str] = []
    return lines, lines.append


def _plan_of(*layers: tuple[Run, ...]) -> Plan:
    return Plan(
        (), tuple(tuple(PlannedJob(run, None, (), False) for run in runs) for runs in layers)
    )


def _states(plan: Plan) -> Any:
    return {job.run.run_id: "not started" for job in plan.jobs}


def test_a_tiny_network_is_measured_as_it_is_trained(run: Run, tmp_path: Path) -> None:
    found = measure(run, 1, 0.5)
    assert found is not None
    assert 0 < found.answer < math.inf  # how long is the machine's affair, and its load's
    assert 0 < found.step < math.inf
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("device", "times"), [("cuda", WARM_UP + 1), ("cpu", 0)])
def test_no_recording_of_an_evaluation_is_timed(
    monkeypatch: pytest.MonkeyPatch, device: str, times: int
) -> None:
    """A kind of batch that an evaluation has one of is recorded in the one after the warm-up."""
    steps, done = MagicMock(), MagicMock()
    steps.learner.device = torch.device(device)
    monkeypatch.setattr(measuring, "train_epoch", done.train)
    monkeypatch.setattr(measuring, "predict", done.predict)
    measuring._warm_up(steps)
    assert (done.train.call_count, done.predict.call_count) == (1, times)


def test_a_pace_is_measured_once_on_a_machine(run: Run, tmp_path: Path) -> None:
    measured: list[int] = []

    def fake(run: Run, threads: int, seconds: float) -> Pace:
        assert threads == 1
        assert 0 < seconds <= paces_module.SECONDS
        measured.append(run.config.schedule.batch_size)
        return PACE

    lines, tell = _told()
    runs = [run, with_seed(run, 7)]
    first = known_paces(runs, tmp_path, None, tell, fake)
    assert (measured, list(first.values())) == ([32], [PACE])
    assert lines == ["measuring 1 network, for a minute at the most (measure=false does without)"]
    assert known_paces(runs, tmp_path, None, tell, fake) == first
    assert len(measured) == len(lines) == 1
    (tmp_path / FILE).write_text("{damaged")
    assert known_paces(runs, tmp_path, None, tell, fake) == first
    assert len(measured) == 2


def test_what_time_is_too_short_for_is_left_and_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paces_module, "SECONDS", -1.0)
    lines, tell = _told()
    assert known_paces([run], tmp_path, None, tell, lambda *_: PACE) == {}
    assert lines[-1] == "1 of them are left to be measured: plan again"


def test_seconds_are_steps_evaluations_and_a_teachers_outputs_once(plan: Any) -> None:
    common = ("schedule.batch_size=50", "dataset.subset=200", "schedule.epochs=2")
    written, released = (
        plan(*common, "loss=kd", "teacher=self", f"loss.form=as_{form}")
        for form in ("written", "released")
    )
    assert written.teacher_run is not None
    jobs = _plan_of((written.teacher_run,), (written, released))
    forecaster = Forecaster(Capacity(2, None), lambda _: None, lambda *_: PACE)
    found = forecaster.of(jobs, _states(jobs))
    assert written.facts.test == 500
    alone = 2 * (4 * 2.0 + 500 * 0.5)
    answers = 2 * 200 * 0.5
    assert list(found.seconds.values()) == [alone, alone + answers, alone]
    assert found.at_once == alone + (alone + answers)  # two layers
    assert (found.measured, found.jobs) == (3, 2)


def test_jobs_at_once_shorten_a_layer_and_nothing_is_made_up(run: Run) -> None:
    runs = tuple(with_seed(run, seed) for seed in range(3))
    jobs = _plan_of(runs)
    found = Forecaster(Capacity(2, None), lambda _: None, lambda *_: PACE).of(jobs, _states(jobs))
    each = next(iter(found.seconds.values()))
    assert each is not None
    assert found.at_once == 2 * each
    unknown = Forecaster(Capacity(2, None), lambda _: None, None).of(jobs, _states(jobs))
    assert set(unknown.seconds.values()) == {None}
    assert unknown.at_once is None
    elsewhere = Forecaster(Capacity(None, None), lambda _: None, lambda *_: PACE)
    assert elsewhere.of(jobs, _states(jobs)).at_once is None
