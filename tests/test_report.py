"""A report on any runs: cells are seeds alone, what is not complete never counts, and the test
set has no part in a search's choice."""

import functools
import json
import math
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY, environment
from made_runs import written
from scipy import stats

from kdlsr.config import UserError
from kdlsr.config.compose import GROUPS, compose_config
from kdlsr.config.overrides import Overrides
from kdlsr.config.schema import read_config
from kdlsr.report import main, report_on
from kdlsr.reporting.any_runs.choices import ReportChoices
from kdlsr.reporting.any_runs.report import report_runs
from kdlsr.reporting.summary import CellSummary, Report
from kdlsr.runs.card import MadeFor
from kdlsr.runs.execute import complete_run
from kdlsr.runs.folder import RunFolder
from kdlsr.runs.plan import Run, card_of, plan_run
from kdlsr.runs.result import RunResult
from kdlsr.runs.session import Session
from kdlsr.runs.store import Store
from kdlsr.training.record import EpochRecord

COMMON = [*TINY, "precision=fp32", "schedule.epochs=2"]
SPLIT = "dataset.val_fraction=0.25"
TAUS, ALPHAS, SEEDS = (2.0, 10.0), (0.1, 0.9), (0, 1)


@functools.cache
def _plan(*overrides: str) -> Run:
    """Plans a tiny run; only the groups are composed, which takes 50 ms a time."""
    given = Overrides.parse([*COMMON, *overrides])
    groups = Overrides(o for o in given if o.key in GROUPS)
    values = Overrides(o for o in given if o.key not in GROUPS)
    return plan_run(read_config(values.apply_to(compose_config(groups.texts()))), given)


def _with_top1(record: EpochRecord, split: str, top1: float) -> EpochRecord:
    metrics = replace(getattr(record, split), top1=top1)
    return replace(record, **{split: metrics})


def _kd(tau: float, alpha: float, seed: int, *more: str) -> Run:
    own = ["loss=kd", "teacher=self", f"loss.tau={tau}", f"loss.alpha={alpha}", f"seed={seed}"]
    return _plan(*own, SPLIT, *more)


class Runs:
    """A store below one folder: a run that was trained, and others made from its files."""

    def __init__(self, root: Path, trained: Path) -> None:
        self.root, self.trained = root, trained

    def folder(self, run: Run) -> RunFolder:
        return Store(self.root).run(run.run_id)

    def add(self, run: Run, made_for: MadeFor = "itself", **top1: float) -> RunFolder:
        """Stores a complete run as the trained one; `val`, `test` are its top-1 at every epoch."""
        folder = self.folder(run)
        shutil.copytree(self.trained, folder.path)
        result = RunFolder(self.trained, self.trained.name).result()
        assert result is not None
        result = replace(
            result,
            run_id=run.run_id,
            cell_id=run.cell_id,
            teacher=result.teacher if run.teacher_run else None,
            protocols=dict(result.protocols or {}),
        )
        if not run.config.dataset.val_fraction:
            result.protocols["best_val"] = None  # type: ignore[index]
        with written(folder) as writer:
            writer.card(card_of(run, made_for))
            writer.result(result)
        for split, value in top1.items():
            self.doctor(run, lambda record, s=split, v=value: _with_top1(record, s, v))
        return folder

    def doctor(self, run: Run, change: Callable[[EpochRecord], EpochRecord]) -> None:
        """Changes every epoch of a run, and its result with them."""
        folder = self.folder(run)
        result, history = folder.result(), [change(record) for record in folder.history()]
        assert result is not None
        tests = {record.epoch: record.test for record in history}
        protocols = {
            name: at and replace(at, test=tests[at.epoch])
            for name, at in (result.protocols or {}).items()
        }
        with written(folder) as writer:
            writer.metrics(history)
            writer.result(replace(result, protocols=protocols))

    def fail(self, run: Run, error: str) -> None:
        """Makes a run one that failed."""
        failed = RunResult(run_id=run.run_id, cell_id=run.cell_id, status="failed", error=error)
        with written(self.folder(run)) as writer:
            writer.result(failed)

    def grid(self, value: Callable[[float, float, int], float]) -> None:
        """Stores a grid of tau x alpha x seeds with these validation figures."""
        for tau, alpha, seed in _points():
            self.add(_kd(tau, alpha, seed), val=value(tau, alpha, seed), test=50.0)

    def report(self, **choices: Any) -> Report:
        return report_runs(ReportChoices(**choices), self.root, "python -m kdlsr.report")


def _points() -> list[tuple[float, float, int]]:
    return [(tau, alpha, seed) for tau in TAUS for alpha in ALPHAS for seed in SEEDS]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one student of kd and its teacher, both trained."""
    output = tmp_path_factory.mktemp("trained")
    complete_run(_kd(2.0, 0.1, 0, f"output_dir={output}"), Session())
    return output


@pytest.fixture
def runs(tmp_path: Path, trained: Path) -> Runs:
    return Runs(tmp_path, trained / "runs" / _kd(2.0, 0.1, 0).run_id)


def _by_name(report: Report) -> Mapping[str, CellSummary]:
    return {cell.name: cell for cell in report.cells}


def test_what_was_trained_is_reported_without_its_teacher(trained: Path) -> None:
    choices = ReportChoices(output_dir=str(trained))
    report = report_runs(choices, trained, "command")
    student = _kd(2.0, 0.1, 0)
    teacher = student.teacher_run
    assert teacher is not None
    assert [cell.key for cell in report.cells] == [student.cell_id]
    result = json.loads((trained / "runs" / student.run_id / "result.json").read_text())
    for protocol in ("last", "best_test", "best_val"):
        found = report.cells[0].estimates[protocol]
        assert found is not None
        assert found.mean == result["protocols"][protocol]["test"]["top1"]
    assert any("teachers=true" in caveat for caveat in report.caveats)
    everyone = report_runs(ReportChoices(teachers=True), trained, "command")
    assert {c.key for c in everyone.cells} == {student.cell_id, teacher.cell_id}
    named = report_runs(ReportChoices(runs=teacher.run_id), trained, "command")
    assert [cell.key for cell in named.cells] == [teacher.cell_id]


def test_a_teacher_is_no_further_seed_of_the_baseline(runs: Runs) -> None:
    student = _kd(2.0, 0.1, 0)
    teacher = student.teacher_run
    assert teacher is not None
    runs.add(student)
    runs.add(teacher, "teaching", test=99.0)
    runs.add(_plan(SPLIT, "seed=0"), test=40.0)
    assert teacher.cell_id == _plan(SPLIT).cell_id
    found = _by_name(runs.report())["loss=ce"].estimates["last"]
    assert found is not None
    assert found.values == (40.0,)
    both = _by_name(runs.report(teachers=True))["loss=ce"].estimates["last"]
    assert both is not None
    assert sorted(both.values) == [40.0, 99.0]


def test_only_complete_runs_count_and_the_others_are_marked(runs: Runs) -> None:
    for seed, top1 in ((0, 40.0), (1, 60.0), (2, 99.0), (3, 99.0)):
        runs.add(_plan(f"seed={seed}"), test=top1)
    failed, cut = _plan("seed=2"), _plan("seed=3")
    runs.fail(failed, "full")
    (runs.folder(cut).path / "result.json").unlink()
    report = runs.report()
    (cell,) = report.cells
    found = cell.estimates["last"]
    assert found is not None
    assert found.values == (40.0, 60.0)
    assert found.deviation == pytest.approx(statistics.stdev([40, 60]))
    assert [(run.card.seed, run.state) for run in cell.runs] == [
        (0, "complete"), (1, "complete"), (2, "failed"), (3, "incomplete")
    ]  # fmt: skip
    assert cell.runs[2].error == "full"
    assert cell.state == "failed"
    assert "4 runs (1 failed, 1 incomplete: not counted) in 1 cell" in report.first_line


def test_what_is_no_run_or_a_copy_costs_one_line_that_names_it_and_nothing_else(
    runs: Runs,
) -> None:
    for seed, top1 in ((0, 40.0), (1, 60.0)):
        runs.add(_plan(f"seed={seed}"), test=top1)
    shutil.copytree(runs.folder(_plan("seed=0")).path, runs.root / "runs" / "a-copy")
    (runs.root / "runs" / "foreign").mkdir()
    (runs.root / "runs" / "damaged").mkdir()
    (runs.root / "runs" / "damaged" / "run.json").write_text("{")
    report = runs.report()
    (cell,) = report.cells
    assert [run.run_id for run in cell.runs] == [_plan(f"seed={s}").run_id for s in (0, 1)]
    for folder in ("a-copy", "foreign", "damaged"):
        assert sum(f"runs/{folder}" in caveat for caveat in report.caveats) == 1


def test_a_result_that_cannot_be_believed_does_not_count_and_is_named(runs: Runs) -> None:
    for seed in (0, 1):
        runs.add(_plan(f"seed={seed}"))
    (runs.folder(_plan("seed=1")).path / "result.json").write_text('{"schema": 1}')
    report = runs.report()
    assert [run.state for run in report.cells[0].runs] == ["complete", "incomplete"]
    assert sum("result.json" in caveat for caveat in report.caveats) == 1


def test_grouping_never_averages_over_anything_but_the_seed(runs: Runs) -> None:
    runs.grid(lambda tau, alpha, seed: 50)
    report = runs.report(group_by=("loss.tau",), search=False)
    assert len(report.cells) == 4
    assert all(len(cell.runs) == len(SEEDS) for cell in report.cells)
    # In the order of numbers, and told apart by what the rows leave out.
    assert [(cell.row, cell.name) for cell in report.cells] == [
        ("loss.tau=2", "loss.alpha=0.1"), ("loss.tau=2", "loss.alpha=0.9"),
        ("loss.tau=10", "loss.alpha=0.1"), ("loss.tau=10", "loss.alpha=0.9"),
    ]  # fmt: skip


def test_filters_and_globs_choose_runs(runs: Runs) -> None:
    for loss, model in (("ce", 8), ("lsr", 8), ("ce", 20), ("lsr", 20), ("tfkd_reg", 8)):
        runs.add(_plan(f"loss={loss}", f"model=resnet{model}", "model.width=4"))

    def chosen(*patterns: str) -> set[tuple[str, str]]:
        cells = runs.report(runs=patterns).cells
        configs = [yaml.safe_load(cell.runs[0].config) for cell in cells]
        return {(c["loss"]["name"], c["model"]["name"]) for c in configs}

    assert chosen("*-lsr-*") == {("lsr", "resnet8"), ("lsr", "resnet20")}
    assert chosen("loss=lsr", "loss=ce", "model=resnet8") == {("lsr", "resnet8"), ("ce", "resnet8")}
    assert chosen("*resnet20*", "loss.name=ce") == {("ce", "resnet20")}
    assert len(chosen("model.width=4.0")) == 5


def test_the_difference_to_a_baseline_is_welchs_within_network_and_data(runs: Runs) -> None:
    ours, other = (52.0, 53.5, 55.0), (50.0, 51.0, 50.5)
    for seed in range(3):
        runs.add(_plan("loss=lsr", f"seed={seed}"), test=ours[seed])
        runs.add(_plan(f"seed={seed}"), test=other[seed])
        runs.add(_plan("loss=lsr", "model=resnet20", f"seed={seed}"), test=10.0)
    report = runs.report(baseline="loss=ce")
    kinds = {(cell.row, cell.name): cell.kind for cell in report.cells}
    assert sorted(kinds.values()) == ["baseline", "cell", "method"]
    method = next(cell for cell in report.cells if cell.kind == "method")
    assert method.baseline is not None
    found, expected = method.baseline.difference, stats.ttest_ind(ours, other, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert found.mean == pytest.approx(statistics.fmean(ours) - statistics.fmean(other))
    assert found.welch is not None
    assert (found.welch.low, found.welch.high) == pytest.approx((interval.low, interval.high))
    assert found.paired is not None
    assert found.paired.p == pytest.approx(stats.ttest_rel(ours, other).pvalue)
    assert method.baseline.key == _plan().cell_id
    alone = next(cell for cell in report.cells if cell.kind == "cell")
    assert alone.baseline is None


def test_runs_of_unequal_seeds_are_not_paired(runs: Runs) -> None:
    for seed, top1 in ((0, 50.0), (1, 52.0)):
        runs.add(_plan("loss=lsr", f"seed={seed}"), test=top1)
        runs.add(_plan(f"seed={seed + 2}"), test=top1 - 1)
    method = _by_name(runs.report(baseline="loss=ce"))["loss=lsr"]
    assert method.baseline is not None
    assert method.baseline.difference.welch is not None
    assert method.baseline.difference.paired is None


def test_a_baseline_that_was_not_chosen_is_brought_in_with_all_its_seeds(runs: Runs) -> None:
    runs.add(_plan("loss=lsr"))
    for seed in SEEDS:
        runs.add(_plan(f"seed={seed}"))
    cells = _by_name(runs.report(runs="loss=lsr", baseline="loss=ce"))
    assert len(cells["loss=ce"].runs) == len(SEEDS)
    assert cells["loss=lsr"].baseline is not None


def test_two_baselines_of_one_network_are_refused_by_what_differs(runs: Runs) -> None:
    runs.add(_plan("loss=lsr"))
    runs.add(_plan())
    runs.add(_plan("loss.scale=0.1"))
    with pytest.raises(UserError, match=r"2 cells .* they differ in loss\.scale"):
        runs.report(baseline="loss=ce")
    assert runs.report(baseline=("loss=ce", "loss.scale=1"))


def test_the_best_point_is_the_best_mean_over_seeds_on_the_validation_split(runs: Runs) -> None:
    # One seed of (10, 0.9) is the best single run; the best mean is (2, 0.9)'s.
    values = {(2.0, 0.9): (71.0, 72.0), (10.0, 0.9): (60.0, 80.0)}
    runs.grid(lambda tau, alpha, seed: values.get((tau, alpha), (50.0, 50.0))[seed])
    report = runs.report()  # seen to be a search: tau and alpha are all that differs
    assert report.search is not None
    assert report.figure == "heat_map"
    assert report.search.best == _kd(2.0, 0.9, 0).cell_id
    assert {(p.tau, p.alpha): p.value for p in report.search.points} == {
        (2.0, 0.1): 50.0, (10.0, 0.1): 50.0, (2.0, 0.9): 71.5, (10.0, 0.9): 70.0
    }  # fmt: skip
    assert "Best point: tau=2, alpha=0.9" in report.notes[0]


def test_a_runs_validation_figure_is_that_of_its_best_epoch(runs: Runs) -> None:
    runs.grid(lambda tau, alpha, seed: 50)
    for seed in SEEDS:
        runs.doctor(
            _kd(10.0, 0.1, seed), lambda r: _with_top1(r, "val", 64.0) if r.epoch == 1 else r
        )
    search = runs.report().search
    assert search is not None
    assert search.best == _kd(10.0, 0.1, 0).cell_id
    assert max(p.value or 0 for p in search.points) == 64.0


def test_the_test_set_plays_no_part_in_the_choice(runs: Runs) -> None:
    runs.grid(lambda tau, alpha, seed: 70 if (tau, alpha) == (2.0, 0.9) else 60)
    before = runs.report(search=True)
    for seed in SEEDS:  # result.json and metrics.jsonl: on test another point wins by far
        runs.doctor(_kd(2.0, 0.9, seed), lambda r: _with_top1(r, "test", 1.0))
        runs.doctor(_kd(10.0, 0.1, seed), lambda r: _with_top1(r, "test", 99.0))
    after = runs.report(search=True)
    changed = after.by_key[_kd(10.0, 0.1, 0).cell_id].estimates["best_val"]
    assert changed is not None
    assert changed.mean == 99.0
    assert after.search == before.search
    assert after.notes == before.notes
    for seed in SEEDS:
        runs.doctor(_kd(10.0, 0.1, seed), lambda r: _with_top1(r, "val", 71.0))
    moved = runs.report(search=True).search
    assert before.search is not None
    assert moved is not None
    assert before.search.best == _kd(2.0, 0.9, 0).cell_id
    assert moved.best == _kd(10.0, 0.1, 0).cell_id


@pytest.mark.parametrize(
    ("best", "chosen"),
    [
        ([(2.0, 0.1), (10.0, 0.1), (2.0, 0.9), (10.0, 0.9)], (2.0, 0.1)),
        ([(10.0, 0.1), (2.0, 0.9)], (10.0, 0.1)),
        ([(10.0, 0.9), (2.0, 0.9)], (2.0, 0.9)),
    ],
)
def test_ties_go_to_the_smaller_alpha_then_to_the_smaller_tau(
    runs: Runs, best: list[tuple[float, float]], chosen: tuple[float, float]
) -> None:
    runs.grid(lambda tau, alpha, seed: 60 + seed / 3 if (tau, alpha) in best else 50)
    search = runs.report().search
    assert search is not None
    assert search.best == _kd(*chosen, 0).cell_id


def test_a_point_that_lacks_a_seed_is_shown_and_not_chosen(runs: Runs) -> None:
    runs.grid(lambda tau, alpha, seed: 70 if (tau, alpha) == (2.0, 0.9) else 60 + alpha)
    runs.fail(_kd(2.0, 0.9, 1), "not finite")
    runs.add(_kd(10.0, 0.9, 7), val=1.0)  # a seed that only one point has counts for none
    report = runs.report()
    assert report.search is not None
    values = {(p.tau, p.alpha): p.value for p in report.search.points}
    assert values[2.0, 0.9] == 70.0
    assert values[10.0, 0.9] == pytest.approx(60.9)
    assert report.search.best == _kd(10.0, 0.9, 0).cell_id
    assert any("tau=2 alpha=0.9" in note and "not to be chosen" in note for note in report.notes)


def test_without_a_validation_split_nothing_is_chosen(runs: Runs) -> None:
    for tau, alpha in ((2.0, 0.1), (10.0, 0.9)):
        runs.add(_kd(tau, alpha, 0, "dataset.val_fraction=0"))
    report = runs.report()
    assert report.search is None
    assert any("no validation split" in caveat for caveat in report.caveats)
    with pytest.raises(UserError, match=r"no validation split.*dataset\.val_fraction=0\.1"):
        runs.report(search=True)


def test_a_search_refuses_what_differs_in_more_than_tau_and_alpha(runs: Runs) -> None:
    runs.grid(lambda tau, alpha, seed: 50)
    runs.add(_plan(SPLIT))
    assert runs.report().search is None
    with pytest.raises(UserError, match=r"differ in .*loss\.name"):
        runs.report(search=True)
    # A baseline is no point of the grid.
    compared = runs.report(search=True, baseline="loss=ce")
    assert compared.search is not None
    assert len(compared.search.points) == 4
    assert len(compared.cells) == 5


def test_the_command_of_the_best_point_trains_it_at_full_length(runs: Runs) -> None:
    sweep = ["schedule=search70", "schedule.epochs=70", 'teacher.overrides=["schedule=cifar200"]']
    for tau, alpha in ((2.0, 0.1), (4.0, 0.9)):  # kd's defaults are the best: said all the same
        for seed in SEEDS:
            runs.add(_kd(tau, alpha, seed, *sweep), val=tau + alpha)
    note = runs.report().notes[1]
    command = shlex.split(note.partition(": ")[2])
    assert command[:4] == ["python", "-m", "kdlsr.train", "-m"]
    assert command[-1] == "seed=0,1"
    assert {"loss.tau=4.0", "loss.alpha=0.9", "schedule=cifar200"} <= set(command)
    config = read_config(compose_config([*command[4:-1], "seed=1"]))
    expected = compose_config([
        *TINY, "precision=fp32", "loss=kd", "teacher=self", "loss.tau=4.0", "loss.alpha=0.9",
        "seed=1", "schedule=cifar200",
    ])  # fmt: skip
    assert plan_run(config).run_id == plan_run(read_config(expected)).run_id
    assert config.schedule.epochs == 200
    assert config.dataset.val_fraction == 0


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=kd", "teacher=resnet20", "loss.form=as_released", "loss.multiplier=2", "seed=3"],
        ["loss=kd", "teacher=self", 'teacher.overrides=["loss=lsr","loss.alpha=0.2"]'],
        ["loss=kd", "teacher=self", "teacher.epoch=1", "teacher.seed=7", "data_seed=5"],
        ["loss=ce", "teacher=self", "start=teacher"],
        ["loss=tfkd_self", "loss.tau=6"],
        ["loss=tfkd_reg", "loss.form=as_released", "seed=2"],
        ["loss=lsr_os"],
        ["loss=lsr_os_tc"],
        ["model=plain_cnn", "model.dropout=0.25"],
        ["schedule=cifar200", "schedule.milestones=[3,4]", "schedule.sgd.lr=0.05"],
        ["schedule.optimizer=adam", "schedule.lr=1e-05", "dataset.views=none"],
        ["schedule.weight_decay=0", "dataset.mean=[0.5]", "dataset.std=[0.25]"],
    ],
)
def test_the_command_of_a_run_makes_it_again_wherever_and_however_it_was_made(
    runs: Runs, overrides: list[str]
) -> None:
    given = {o.partition("=")[0] for o in overrides}
    common = [o for o in COMMON if not {o.partition("=")[0], o.partition(".")[0]} & given]
    made_here = ["device=cpu", "threads=1", f"output_dir={runs.root}", "tracker=none"]
    command = Overrides.parse([*common, *overrides, *made_here])
    run = plan_run(read_config(compose_config(command.texts())), command)
    runs.add(run)
    (cell,) = runs.report(output_dir="elsewhere").cells
    *again, into = cell.runs[0].overrides
    assert into == "output_dir=elsewhere"
    assert not {o.partition("=")[0] for o in again} & {"device", "threads", "tracker"}
    assert plan_run(read_config(compose_config(again))).run_id == run.run_id


def test_value_chooses_the_protocol_and_a_measure(runs: Runs) -> None:
    for seed in SEEDS:
        run, nll = _plan(f"seed={seed}"), 1.5 + seed
        runs.add(run, test=50.0)
        runs.doctor(run, lambda r, nll=nll: replace(r, test=replace(r.test, nll=nll)))
    assert runs.report(value="best_test").protocol == "best_test"
    report = runs.report(value="last.nll")
    (cell,) = report.cells
    assert report.protocol == "last"
    assert cell.note is not None
    deviation = math.sqrt(0.5)
    assert f"NLL at last: 2.0000 ± {deviation:.4f} (2)" in cell.note
    with pytest.raises(UserError, match="value=best_val: none of these runs has a validation"):
        runs.report(value="best_val")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["runs=*-lsr-*"], r"runs=\*-lsr-\*: none of 1 runs; "),
        (["runs=[loss=cee]"], r"none of 1 runs; loss\.name is ce$"),
        (["runs=[los.name=ce]"], r"no run's config has a key los\.name; nearest: loss\.name"),
        (["group_by=[modle.name]"], r"group_by: .* modle\.name; nearest: model\.name"),
        (["group_by=seed"], "group_by=seed: runs of one cell may differ in it"),
        (["value=best_tset"], "value=best_tset: no such protocol; nearest: best_test"),
        (["value=last.nl"], "value=last.nl: no such measure; nearest: nll"),
        (["baseline=ce"], "baseline=ce is not possible; expected filters"),
        (["grup_by=[loss]"], "unknown key grup_by; nearest: group_by"),
        (["name=../elsewhere"], "name='../elsewhere' is not possible"),
        (["search=perhaps"], "search='perhaps' is not possible; expected true or false or null"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    runs: Runs, typed: list[str], message: str
) -> None:
    runs.add(_plan())
    with pytest.raises(UserError, match=message) as raised:
        report_on([*typed, f"output_dir={runs.root}"])
    assert "\n" not in str(raised.value)
    assert not (runs.root / "reports").exists()


def test_the_command_writes_the_report_and_says_where(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.grid(lambda tau, alpha, seed: tau + alpha)
    assert report_on(["runs=[loss=kd]", "name=grid", f"output_dir={runs.root}"]) == 0
    page = runs.root / "reports" / "grid" / "index.html"
    said = capsys.readouterr().out
    assert page.is_file()
    assert said.rstrip().endswith(str(page))
    assert "Best point: tau=10, alpha=0.9" in said
    report = json.loads(page.with_name("report.json").read_text())
    assert len(report["cells"]) == len(TAUS) * len(ALPHAS)
    assert report["command"] == (
        f"python -m kdlsr.report 'runs=[loss=kd]' name=grid output_dir={runs.root}"
    )


def test_help_answers_without_torch(tmp_path: Path) -> None:
    code = (
        "import atexit, sys; from kdlsr.report import main; "
        "atexit.register(lambda: print('torch' in sys.modules)); main()"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for word in ("group_by", "baseline", "best_val", "The test set plays no part", "Exit codes"):
        assert word in shown
    assert shown.split()[-1] == "False"


def test_where_no_runs_are_is_said_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["kdlsr-report", "runs=*"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it: here it is undone again
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    expected = "kdlsr: outputs/runs: no runs there; output_dir= says where they are\n"
    assert capsys.readouterr().err == expected
