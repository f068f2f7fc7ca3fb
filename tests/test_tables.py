"""From table files to runs: read strictly, planned once each, in layers, with their states."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_runs import make_complete, make_failed

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.overrides import Override, Overrides
from kdlsr.config.schema import read_config
from kdlsr.reporting.table_report import report_table
from kdlsr.runs.execute import store_of
from kdlsr.runs.executors import Crash, Job, JobFunction
from kdlsr.runs.plan import plan_run
from kdlsr.tables.launching import carry_out, states
from kdlsr.tables.plan import Plan, PlannedJob, Request
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.reading import find_tables, read_profile, read_table
from kdlsr.tables.setting import Profile
from kdlsr.training.checkpoint import checkpoint_path

SETTING = """
source: a test
overrides: [dataset=digits, schedule=quick]
classes: 10
train_images: 1297
epochs: 200
networks:
  small: {overrides: [model=resnet8, model.width=4], role: weak, batch_size: 64}
  large: {overrides: [model=resnet8, model.width=8], role: strong, batch_size: 32,
          baseline_overrides: [schedule.lr=0.05]}
"""
CELL = {"row": "r", "column": "c", "network": "small", "alpha": 0.9}
KD = CELL | {"method": "kd", "teacher": "large", "tau": 4}
DE_KD = KD | {"method": "de_kd", "poor_teacher": {"as_released": 51, "as_written": 50}}
LSR = CELL | {"method": "lsr", "alpha": 0.1}
SELF = CELL | {"method": "tfkd_self", "tau": 4}
SELF_KD = CELL | {"method": "self_kd", "tau": 4, "forms": ["standard"]}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a table of the user's own and returns its path."""

    def written(cells: Sequence[dict[str, Any]], name: str = "mine", **more: Any) -> str:
        setting = tmp_path / "setting.yaml"
        setting.write_text(SETTING)
        table = {
            "title": "t",
            "source": "s",
            "shows": "x",
            "setting": str(setting),
            "grade": "P",
            "cells": list(cells),
        } | more
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(table))
        return str(path)

    return written


@pytest.fixture
def planned(write: Any, tmp_path: Path) -> Any:
    """Plans a table of the user's own at the size of its setting."""

    def plan(*cells: dict[str, Any], **request: Any) -> Plan:
        chosen = {"profile": Profile(name="paper", means="m"), "seeds": (0, 1)} | request
        more = [f"output_dir={tmp_path}/outputs", *chosen.get("overrides", ())]
        chosen["overrides"] = Overrides.parse(more)
        return plan_tables([read_table(write(cells))], Request(**chosen))

    return plan


def _shipped_profile(name: str) -> Profile:
    return read_profile(compose_config([f"profile={name}"], "reproduce")["profile"])


def _named(plan: Plan) -> dict[str, Any]:
    return {cell.key: cell for cell in plan.tables[0].cells}


def _complete(job: PlannedJob) -> None:
    """Makes a run look complete, without training it."""
    make_complete(job.run)


def _fail(job: PlannedJob) -> None:
    make_failed(job.run, ValueError("broken on purpose"))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (KD | {"tua": 3}, "unknown key .*cells\\[0\\].tua; nearest: tau"),
        (KD | {"network": "smal"}, "smal is no network of setting .*nearest: small"),
        (KD | {"alpha": 1.5}, "cells\\[0\\].alpha=1.5 is not possible; expected a number in"),
        (KD | {"teacher": None}, "method kd needs a teacher"),
        (LSR | {"teacher": "large"}, "method lsr has no teacher"),
        (KD | {"method": "de_kd"}, "method de_kd needs a poor_teacher"),
        (KD | {"basis": "stand-in"}, "a stand-in needs a note"),
        (KD | {"method": "dk"}, r"cells\[0\].method='dk' is not possible; nearest: .*kd"),
        (KD | {"batch_sze": 3}, "unknown key .*cells\\[0\\].batch_sze; nearest: batch_size"),
        (KD | {"paper": 77}, r"cells\[0\].paper=77 is not possible; expected a mapping or null"),
        (CELL | {"metod": "kd"}, r"unknown key .*cells\[0\].metod; nearest: method"),
        (KD | {"form": "standard"}, "unknown key .*cells\\[0\\].form"),
        (KD | {"tau": "4"}, "cells\\[0\\].tau='4' is not possible; expected a number above 0"),
        (CELL | {"method": "kd", "teacher": "large"}, "method kd needs tau"),
        (LSR | {"tau": 4}, "unknown key .*cells\\[0\\].tau"),
    ],
)
def test_a_mistake_in_a_table_file_is_one_line(
    write: Any, cell: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_table(write([cell]))
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_rows_overrides_names_the_table_and_the_row(planned: Any) -> None:
    with pytest.raises(UserError, match=r"mine: .*unknown key schedule.epohs; nearest: .*epochs"):
        planned(LSR | {"overrides": ["schedule.epohs=3"]})


@pytest.mark.parametrize(
    "override", ["seed=3", "loss=ce", "output_dir=zz", "schedule.batch_size=8"]
)
def test_what_a_cell_or_a_command_sets_is_not_for_a_rows_overrides(
    planned: Any, override: str
) -> None:
    with pytest.raises(UserError, match=r"mine.yaml: cells\[0\].overrides: "):
        planned(LSR | {"overrides": [override]})


def test_a_table_that_is_not_there_is_named_with_its_nearest() -> None:
    with pytest.raises(UserError, match="no such table; nearest: quickstart"):
        find_tables("quikstart")


def test_a_folder_of_tables_is_all_of_them() -> None:
    names = [table.name for table in find_tables("yuan2020")]
    assert "yuan2020/claims" in names
    assert names.index("yuan2020/table2") < names.index("yuan2020/table10")


@pytest.mark.parametrize("override", ["loss.alpha=0.3", "seed=3", "model=resnet8", "+teacher=self"])
def test_what_the_table_sets_is_not_for_the_command_line(planned: Any, override: str) -> None:
    with pytest.raises(UserError, match="is set by the table, cell by cell"):
        planned(LSR, overrides=(override,))


def test_a_plan_has_every_run_once_and_teachers_before_students(planned: Any) -> None:
    plan = planned(KD, KD | {"row": "again"}, DE_KD, LSR)
    ids = [job.run.run_id for job in plan.jobs]
    assert len(ids) == len(set(ids))
    layer_of = {job.run.run_id: job.layer for job in plan.jobs}
    students = [job for job in plan.jobs if job.teacher]
    assert {layer_of[job.teacher] for job in students} == {0}
    assert {job.layer for job in students} == {1}
    assert len({job.teacher for job in students}) == 1


def test_a_teacher_is_the_run_of_its_own_baseline_row(planned: Any) -> None:
    """Another batch size and rate than its student's; and the cell's baseline at seed 1000."""
    plan = planned(KD, seeds=(0,))
    students = [job for job in plan.jobs if job.teacher]
    teacher = next(job for job in plan.jobs if job.run.run_id == students[0].teacher)
    assert teacher.run.config.schedule.batch_size == 32
    assert teacher.run.optimisation.lr == 0.05
    assert students[0].run.config.schedule.batch_size == 64
    alone = plan_run(
        read_config(
            compose_config(
                [
                    "dataset=digits",
                    "schedule=quick",
                    "model=resnet8",
                    "model.width=8",
                    "schedule.batch_size=32",
                    "schedule.lr=0.05",
                    "seed=1000",
                ]
            )
        )
    )
    assert alone.run_id == teacher.run.run_id


@pytest.mark.parametrize("profile", ["paper", "quickstart"])
def test_self_kd_is_taught_by_the_students_own_network_whatever_stands_in(
    planned: Any, profile: str
) -> None:
    size = {} if profile == "paper" else {"profile": _shipped_profile(profile)}
    plan = planned(SELF_KD | {"network": "large"}, seeds=(0,), controls=False, **size)
    (student,) = [job.run for job in plan.jobs if job.teacher]
    assert student.teacher_run is not None
    assert student.config.teacher.name == "self"
    assert student.teacher_run.config.model == student.config.model
    assert student.config.model.options["width"] == (8 if profile == "paper" else 16)


@pytest.mark.parametrize("profile", ["paper", "quickstart"])
def test_each_jobs_command_line_composes_to_the_run_that_was_planned(profile: str) -> None:
    """Plans avoid Hydra; a executor's jobs do not: both must name the same run."""
    request = Request(_shipped_profile(profile), (3,))
    plan = plan_tables(find_tables("yuan2020/claims"), request)
    assert len(plan.jobs) > 30
    for job in plan.jobs:
        assert plan_run(job.job.config()).run_id == job.run.run_id


def test_a_poor_teachers_epoch_is_scaled_to_the_schedule_and_kept(planned: Any) -> None:
    plan = planned(DE_KD)
    cells = _named(plan)
    epochs = {n: c.runs[0].config.teacher.epoch for n, c in cells.items() if c.kind == "method"}
    assert epochs == {"r c as_released": 2, "r c as_written": 2, "r c standard": 2}  # 50 of 200
    teacher = next(job for job in plan.jobs if job.only_teaches)
    assert (teacher.keep, teacher.until) == ((2,), 2)
    assert (teacher.job.until, teacher.job.keep_epochs) == (2, (2,))


def test_a_teacher_that_is_needed_whole_is_not_stopped_but_keeps_the_epoch(planned: Any) -> None:
    teacher = next(job for job in planned(DE_KD, KD).jobs if job.only_teaches)
    assert (teacher.keep, teacher.until) == ((2,), None)


def test_a_complete_baseline_that_did_not_keep_an_epoch_makes_it_again(planned: Any) -> None:
    plan = planned(DE_KD, KD)
    teacher = next(job for job in plan.jobs if job.only_teaches)
    _complete(teacher)
    assert teacher.state() == "incomplete"
    assert teacher.job.until == 2


def test_a_complete_job_that_kept_its_epochs_can_be_started_too(planned: Any) -> None:
    """It repeats nothing: it is the run itself."""
    teacher = next(job for job in planned(DE_KD, KD).jobs if job.only_teaches)
    _complete(teacher)
    kept = store_of(teacher.run.config).run(teacher.run.run_id).kept
    kept.mkdir(parents=True)
    checkpoint_path(kept, 2).touch()
    assert teacher.state() == "complete"
    assert teacher.job.until is None


def test_tables_share_their_runs(write: Any, tmp_path: Path) -> None:
    tables = [read_table(write([cell], name)) for cell, name in ((KD, "one"), (DE_KD, "two"))]
    request = Request(Profile(name="paper", means="m"), (0,))
    apart = [len(plan_tables([table], request).jobs) for table in tables]
    together = plan_tables(tables, request)
    # The small baseline, the teacher and the control of both.
    assert len(together.jobs) == sum(apart) - 3


def test_rows_that_become_the_same_run_are_run_once_in_a_mapped_profile() -> None:
    smoke = Request(_shipped_profile("smoke"), (0,))
    plan = plan_tables(find_tables("yuan2020/table1"), smoke)
    assert sum(len(cell.runs) for cell in plan.tables[0].cells) > 2 * len(plan.jobs)


def test_only_chosen_methods_forms_and_controls_are_planned(planned: Any) -> None:
    plan = planned(KD, LSR, forms=("as_written",), methods=("kd",), controls=False)
    assert list(_named(plan)) == ["baseline small", "r c as_written"]


def test_an_omitted_cell_says_why_and_needs_no_run(planned: Any) -> None:
    cell = CELL | {"method": "kd", "network": "huge", "omitted": "no such network here"}
    plan = planned(cell)
    (only,) = plan.tables[0].cells
    assert (only.omitted, only.runs, plan.jobs) == ("no such network here", (), [])


def test_states_follow_the_store_and_what_a_failed_teacher_holds_up(planned: Any) -> None:
    plan = planned(KD, LSR)
    teacher = next(job for job in plan.jobs if job.only_teaches)
    students = {job.run.run_id for job in plan.jobs if job.teacher}
    _fail(teacher)
    for job in plan.jobs:
        if job.layer == 0 and job is not teacher:
            _complete(job)
    found = states(plan)
    assert found[teacher.run.run_id] == "failed"
    assert {found[run_id] for run_id in students} == {"not run"}
    others = {s for run_id, s in found.items() if run_id not in {*students, teacher.run.run_id}}
    assert others == {"complete"}


def test_a_teacher_is_not_needed_once_all_its_students_are_complete(planned: Any) -> None:
    plan = planned(KD)
    for job in plan.jobs:
        if not job.only_teaches:
            _complete(job)
    teacher = next(job for job in plan.jobs if job.only_teaches)
    assert states(plan)[teacher.run.run_id] == "not needed"


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_a_teachers_result_that_cannot_be_believed_is_named_once_and_students_count(
    planned: Any, how: str
) -> None:
    plan = planned(KD)
    for job in plan.jobs:
        _complete(job)
    teacher = next(job.run for job in plan.jobs if job.only_teaches)
    path = store_of(teacher.config).run(teacher.run_id).path / "result.json"
    (table,) = plan.tables
    before = report_table(table, states(plan), None, "a command")
    if how == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()
    after = report_table(table, states(plan), None, "a command")
    (told,) = {*after.caveats} - {*before.caveats}
    assert told.startswith("Of a teacher: ")
    assert str(path) in told
    assert after.cells == before.cells


OWN_SIZE = """
profiles:
  smoke:
    overrides: [dataset=digits, schedule=quick, schedule.epochs=3]
    networks: {NAME: {label: narrow, overrides: [model=resnet8, model.width=2], batch_size: 16}}
"""


def test_a_setting_says_itself_what_a_profile_means_for_it(write: Any, tmp_path: Path) -> None:
    table = write([KD, LSR])
    (tmp_path / "setting.yaml").write_text(SETTING + OWN_SIZE.replace("NAME", "large"))
    request = Request(_shipped_profile("smoke"), seeds=(0,))
    plan = plan_tables([read_table(table)], request)
    runs = [job.run.config for job in plan.jobs]
    found = {(run.model.options["width"], run.schedule.batch_size) for run in runs}
    assert found == {(4, 64), (2, 16)}  # one network is itself, one is stood in for
    assert {run.schedule.epochs for run in runs} == {3}
    teacher = next(job.run.config for job in plan.jobs if job.only_teaches)
    assert teacher.model.options["width"] == 2
    (planned,) = plan.tables
    assert {cell.row for cell in planned.cells if cell.kind == "baseline"} == {"small"}


def test_a_stand_in_for_no_network_of_a_setting_is_told_in_a_line(
    write: Any, tmp_path: Path
) -> None:
    table = write([KD])
    (tmp_path / "setting.yaml").write_text(SETTING + OWN_SIZE.replace("NAME", "lage"))
    with pytest.raises(UserError, match=r"profiles.smoke: lage is no network of the setting"):
        read_table(table)


class _Executor:
    """Says what it was given, and ends each job as it is told to."""

    def __init__(self, plan: Plan, fails: Sequence[str] = ()) -> None:
        self.planned = {planned.job: planned for planned in plan.jobs}
        self.fails = fails
        self.batches: list[list[PlannedJob]] = []

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> list[Crash]:
        found = [self.planned[job] for job in jobs]
        self.batches.append(found)
        for job in found:
            (_fail if job.run.run_id in self.fails else _complete)(job)
        return []


def test_layers_are_launched_in_order_and_complete_runs_never_again(planned: Any) -> None:
    plan = planned(KD, SELF)
    done = [job for job in plan.jobs if job.layer == 0 and not job.only_teaches]
    for job in done:
        _complete(job)
    executor = _Executor(plan)
    outcome = carry_out(plan, executor, lambda _: {}, lambda number, jobs: None)
    launched = [job.run.run_id for batch in executor.batches for job in batch]
    assert not {job.run.run_id for job in done} & set(launched)
    assert [{job.layer for job in batch} for batch in executor.batches] == [{0}, {1}]
    assert outcome.unfinished == []
    carry_out(plan, again := _Executor(plan), lambda _: {}, lambda number, jobs: None)
    assert again.batches == []


def test_a_failure_stops_its_dependents_and_nothing_else(planned: Any) -> None:
    plan = planned(KD, SELF)
    large = next(
        job for job in plan.jobs if Override("model.width", 8) in job.overrides and job.only_teaches
    )
    executor = _Executor(plan, fails=[large.run.run_id])
    outcome = carry_out(plan, executor, lambda _: {}, lambda number, jobs: None)
    held_up = {job.run.run_id for job in plan.jobs if job.teacher == large.run.run_id}
    assert held_up
    assert set(outcome.unfinished) == held_up | {large.run.run_id}
    taught = [job.run.run_id for job in executor.batches[1]]
    assert taught  # the students of the other teacher
    assert not held_up & set(taught)
