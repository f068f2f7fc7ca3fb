"""One row of every table and figure, in all forms and with its controls, run to its end."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from kdlsr.config.compose import compose_config
from kdlsr.config.overrides import Overrides
from kdlsr.reporting.publish import write_report
from kdlsr.reporting.table_report import report_table
from kdlsr.runs.execute import checkpoint_of, complete_run
from kdlsr.runs.executors import Crash, Job, JobFunction
from kdlsr.runs.session import Session
from kdlsr.tables.launching import carry_out, states
from kdlsr.tables.plan import Plan, Request
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.reading import find_tables, read_profile, read_table

TABLES = [table.name for table in find_tables("yuan2020")]


class _Planned:
    """Runs jobs here, as they were planned, without composing each again."""

    def __init__(self, plan: Plan) -> None:
        self.planned = {planned.job: planned.run for planned in plan.jobs}

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> list[Crash]:
        for job in jobs:
            run = self.planned[job]
            kept = tuple(sorted({*run.config.keep_epochs, *job.keep_epochs}))
            config = dataclasses.replace(run.config, keep_epochs=kept)
            run = dataclasses.replace(run, config=config)
            if job.until is not None:
                checkpoint_of(run, job.until, Session())
            else:
                complete_run(run, Session())
        return []


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tables: what they share is run once."""
    return tmp_path_factory.mktemp("smoke")


@pytest.mark.parametrize("name", TABLES)
def test_a_row_of_every_table_runs_to_its_report_at_profile_smoke(name: str, outputs: Path) -> None:
    profile = read_profile(compose_config(["profile=smoke"], "reproduce")["profile"])
    tiny = Overrides.parse([f"output_dir={outputs}", "dataset.subset=128", "precision=fp32"])
    table = read_table(name)
    rows = tuple(cell for cell in table.cells if cell.omitted is None)[:1]
    table = dataclasses.replace(table, cells=rows)
    plan = plan_tables([table], Request(profile, (0,), overrides=tiny))
    outcome = carry_out(plan, _Planned(plan), lambda _: {}, lambda number, jobs: None)
    assert outcome.unfinished == []
    report = report_table(plan.tables[0], states(plan), None, "the command")
    assert {cell.state for cell in report.cells} <= {"complete"}
    assert "and of nothing else" in report.first_line
    page = write_report(report, outputs)
    assert report.title in page.read_text()
