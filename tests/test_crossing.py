"""Seeds crossed with teachers: planned, and an interval that holds the teacher's share."""

from pathlib import Path

import made_tables
import numpy as np
import pytest
from made_runs import make_complete

from kdlsr.reporting.crossing import crossed
from kdlsr.reporting.summary import Report
from kdlsr.reporting.table_report import report_table
from kdlsr.tables.index import profile_named
from kdlsr.tables.launching import states
from kdlsr.tables.plan import PlannedCell, Request, TeacherSeeds
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.reading import read_table
from kdlsr.tables.schema import Table

# What statsmodels 0.15 finds: MixedLM with two crossed variance components, REML.
FIVE_BY_THREE = (
    [[69.06, 69.86, 71.22], [69.43, 70.2, 70.91], [69.09, 70.15, 70.56], [68.71, 69.12, 70.33],
     [68.47, 69.8, 70.51]],
    {"mean": 69.828, "error": 0.52228, "seed": 0.087251, "teacher": 0.753368, "rest": 0.063053},
)  # fmt: skip
FOUR_BY_FOUR = (
    [[69.53, 69.78, 69.96, 69.2], [69.39, 70.01, 70.42, 68.66], [69.46, 69.92, 70.04, 68.33],
     [68.59, 69.36, 68.62, 68.03]],
    {"mean": 69.33125, "error": 0.359721, "seed": 0.189408, "teacher": 0.304027, "rest": 0.096648},
)  # fmt: skip


def _values(y: list[list[float]]) -> dict[tuple[int, int], float]:
    return {(s, t): value for s, row in enumerate(y) for t, value in enumerate(row)}


@pytest.mark.parametrize(("y", "expected"), [FIVE_BY_THREE, FOUR_BY_FOUR])
def test_the_components_are_those_of_a_mixed_model(
    y: list[list[float]], expected: dict[str, float]
) -> None:
    found = crossed(_values(y))
    assert found is not None
    ours = {
        "mean": found.mean,
        "error": found.error,
        "seed": found.by_seed,
        "teacher": found.by_teacher,
        "rest": found.rest,
    }
    assert ours == pytest.approx(expected, rel=5e-3)  # it stops its search there


def test_its_interval_holds_the_mean_where_that_of_so_many_independent_runs_does_not() -> None:
    from scipy import special

    rng = np.random.default_rng(0)
    held, naive = 0, 0
    for _ in range(300):
        y = rng.normal(0, 0.4, (4, 1)) + rng.normal(0, 1, (1, 3)) + rng.normal(0, 0.7, (4, 3))
        found = crossed(_values(y.tolist()))
        assert found is not None
        held += abs(found.mean) <= special.stdtrit(found.df, 0.975) * found.error
        naive += abs(y.mean()) <= special.stdtrit(11, 0.975) * y.std(ddof=1) / np.sqrt(12)
    assert held / 300 > 0.93
    assert naive / 300 < 0.8


def test_seeds_that_lack_a_teacher_are_left_out() -> None:
    values = _values(FIVE_BY_THREE[0])
    whole = crossed({k: v for k, v in values.items() if k[0] != 4})
    assert crossed({k: v for k, v in values.items() if k != (4, 2)}) == whole
    assert crossed({k: v for k, v in values.items() if k[1] == 0}) is None
    assert crossed({}) is None


def test_values_that_do_not_vary_have_no_error_and_no_share() -> None:
    found = crossed(_values([[70.1] * 3] * 2))
    assert found is not None
    assert (found.error, found.teacher_share, found.p_teacher) == (0.0, None, None)


# ---------------------------------------------------------------- planned


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    made_tables.write_table(
        tmp_path, made_tables.setting(images=256, small=4, large=8), made_tables.TABLE
    )
    monkeypatch.chdir(tmp_path)
    return read_table("mine.yaml")


def _cells(table: Table, teacher_seeds: TeacherSeeds) -> dict[str, PlannedCell]:
    request = Request(profile_named("paper"), (0, 1), teacher_seeds=teacher_seeds)
    (planned,) = plan_tables([table], request).tables
    return {cell.key: cell for cell in planned.cells}


def _pairs(cell: PlannedCell) -> list[tuple[int, int]]:
    return [(run.config.seed, run.config.teacher.seed) for run in cell.runs]


def test_a_taught_cell_has_each_seed_with_each_teacher_and_others_each_seed_once(
    table: Table,
) -> None:
    one, three, each = (_cells(table, seeds) for seeds in (1, 3, "each"))
    assert one.keys() == three.keys() == each.keys()
    taught = [key for key, cell in one.items() if cell.runs[0].teacher_run]
    assert 0 < len(taught) < len(one)
    for key, cell in one.items():
        if key not in taught:
            assert three[key].runs == each[key].runs == cell.runs
            continue
        assert _pairs(three[key]) == [(s, t) for s in (0, 1) for t in (1000, 1001, 1002)]
        assert _pairs(each[key]) == [(0, 1000), (1, 1001)]
        # The first teacher's runs are those that there are without any of this.
        ids = [run.run_id for run in cell.runs]
        assert [r.run_id for r in three[key].runs if r.config.teacher.seed == 1000] == ids
        assert each[key].runs[0] == cell.runs[0]
        assert {run.cell_id for run in three[key].runs} == {cell.runs[0].cell_id}
        assert three[key].runs[1].command.get("teacher.seed") == 1001
        assert cell.runs[0].command.get("teacher.seed") is None


# ---------------------------------------------------------------- reported


def _report(table: Table, teacher_seeds: TeacherSeeds) -> Report:
    """Of runs whose teachers differ by a point from one to the next, seeds and the rest by 0.1."""
    request = Request(profile_named("paper"), (0, 1, 2), ("standard",), teacher_seeds=teacher_seeds)
    plan = plan_tables([table], request)
    (planned,) = plan.tables
    for run in {run.run_id: run for cell in planned.cells for run in cell.runs}.values():
        seed, teacher = run.config.seed, run.config.teacher.seed - 1000 if run.teacher_run else 0
        make_complete(run, 60 + teacher + 0.1 * seed + 0.1 * (seed * teacher % 2))
    return report_table(planned, states(plan), "last", "command")


def test_the_report_says_how_much_is_the_teachers_and_its_intervals_hold_it(table: Table) -> None:
    one, three = _report(table, 1), _report(table, 3)
    assert [study.name for study in one.studies] == []
    (study,) = three.studies
    (figures,) = study.values["cells"]
    assert (figures["seeds"], figures["teachers"]) == (3, 3)
    assert figures["teacher_share"] > 0.95
    assert "is its teacher's" in study.answers[0]
    taught = three.by_key["weak KD standard"]
    found, baseline = taught.estimates["last"], taught.baseline
    assert found
    assert found.n == 9
    assert found.half_width == pytest.approx(4.303 / np.sqrt(3), rel=0.02)  # t of 2, 3 teachers
    assert baseline
    assert baseline.interval
    assert baseline.interval.df < 3
    assert baseline.difference.paired
    assert baseline.difference.paired.df < 3
    narrow = one.by_key["weak KD standard"].baseline
    assert narrow
    assert narrow.interval
    width, before = (b.interval.high - b.interval.low for b in (baseline, narrow) if b.interval)
    assert width > 5 * before
    assert "n = 3 x 3 teachers" in three.first_line
    assert any("crossed with teachers" in line for line in three.caveats)
    assert any("one and the same network" in line for line in one.caveats)


def test_a_teacher_for_each_seed_is_in_every_deviation(table: Table) -> None:
    report = _report(table, "each")
    found = report.by_key["weak KD standard"].estimates["last"]
    assert found
    assert found.values == pytest.approx((60.0, 61.2, 62.2))
    assert found.deviation == pytest.approx(np.std((60.0, 61.2, 62.2), ddof=1))
    assert any("a teacher of its own" in line for line in report.caveats)
    assert "each with a teacher of its own" in report.first_line
