"""Seeds until decided: which runs are wanted, what is decided when, and that it stays."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import made_tables
import pytest
from made_runs import make_complete, make_failed

from kdlsr import reproduce
from kdlsr.reporting.looking import Rule, Seen
from kdlsr.reporting.until_decided import LookedPlan, look_at_plan
from kdlsr.runs.plan import Run
from kdlsr.tables.index import profile_named
from kdlsr.tables.launching import Outcome, states
from kdlsr.tables.plan import Plan, Request
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.reading import read_table

TABLE = (
    made_tables.TABLE
    + """
  - {row: weak, column: LSR, method: lsr, network: small, alpha: 0.1, forms: [as_written]}
  - {row: weak, column: LSR strong, method: lsr, network: small, alpha: 0.5, forms: [as_written]}
"""
).replace("tau: 4, alpha: 0.9,", "tau: 4, alpha: 0.9, forms: [standard],")
RULE = Rule((3, 4, 6))
DECIDED = "weak LSR strong as_written"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made_tables.write_table(tmp_path, made_tables.setting(images=256, small=4, large=8), TABLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def plan(folder: Path) -> Plan:
    request = Request(profile_named("paper"), tuple(range(6)))
    return plan_tables([read_table("mine.yaml")], request)


def _top1(run: Run) -> float:
    """LSR of alpha 0.5 gains ten points, the others nothing; deviations of about a point."""
    gain = 10 * (run.config.loss.options.get("alpha") == 0.5)
    noise = (7 * run.config.seed + 3 * len(run.config.loss.name)) % 11 / 5
    return 60 + gain + noise


def _complete(runs: Iterable[Run]) -> None:
    for run in runs:
        make_complete(run, _top1(run))


def _jobs(plan: Plan) -> list[Run]:
    return [job.run for job in plan.jobs]


def _seeds(looked: LookedPlan) -> dict[str, int]:
    (table,) = looked.plan.tables
    return {cell.key: len(cell.runs) for cell in table.cells}


def _seen(looked: LookedPlan, ours: str = DECIDED) -> Seen:
    (table,) = looked.looked.values()
    seen = table.seen("claims", (ours, "baseline small"))
    assert seen is not None
    return seen


def test_the_first_look_wants_its_seeds_of_every_cell_and_the_next_those_of_what_is_open(
    plan: Plan,
) -> None:
    first = look_at_plan(plan, None, RULE)
    assert set(_seeds(first).values()) == {3}
    assert "look 1 of 3, n = 3" in first.in_words
    _complete(_jobs(first.plan))
    second = look_at_plan(plan, None, RULE)
    assert (_seen(second).decision.verdict, _seen(second).look) == ("better", 1)
    assert _seeds(second) == {key: 3 if key == DECIDED else 4 for key in _seeds(first)}
    assert len(_jobs(second.plan)) < len(_jobs(plan))


def test_a_decision_is_a_function_of_the_seeds_of_its_look(plan: Plan) -> None:
    _complete(_jobs(look_at_plan(plan, None, RULE).plan))
    before = _seen(look_at_plan(plan, None, RULE))
    (table,) = plan.tables
    for cell in table.cells:  # another table's, say
        for run in cell.runs[3:]:
            make_complete(run, 20.0 + run.config.seed)
    after = look_at_plan(plan, None, RULE)
    assert _seen(after) == before
    assert after.looked["mine"].looks == 3
    assert _seen(after, "weak LSR as_written").seeds == 6


def test_a_look_waits_for_what_is_not_there_and_for_what_failed_until_it_was_tried(
    plan: Plan,
) -> None:
    *others, last = _jobs(look_at_plan(plan, None, RULE).plan)
    _complete(others)
    assert look_at_plan(plan, None, RULE).looked["mine"].looks == 0
    make_failed(last, ValueError("on purpose"))
    assert look_at_plan(plan, None, RULE, tried=set()).looked["mine"].looks == 0
    tried = look_at_plan(plan, None, RULE, tried={last.run_id})
    assert tried.looked["mine"].looks == 1
    assert tried == look_at_plan(plan, None, RULE)


def test_what_could_not_be_compared_is_not_decided(plan: Plan) -> None:
    _complete(_jobs(plan))
    (table,) = plan.tables
    pairs = sum(1 + len(cell.control_keys) for cell in table.cells if cell.kind == "method")
    after = look_at_plan(plan, "best_val", RULE)  # there is no split for validation
    assert after.in_words == f"mine: {pairs} comparisons could not be made"


def test_a_protocol_that_no_run_has_is_refused_before_any_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert _reproduce(monkeypatch, "protocol=best_val", *AUTO) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "protocol=best_val: the runs of mine have no validation split" in line
    assert not (folder / "outputs" / "runs").exists()


def _reproduce(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reproduce", "table=mine.yaml", *overrides])
    with pytest.raises(SystemExit) as ended:
        reproduce.main()
    return int(str(ended.value.code))


AUTO = ("seeds=auto", "looks=[3,4,6]")


def test_one_command_adds_seeds_until_decided_and_its_report_says_at_which_look(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    looks: list[int] = []

    def run_all(_: Any, __: Any, plan: Plan, leave: Any = frozenset()) -> Outcome:
        new = [run for run in _jobs(plan) if run.run_id not in leave]
        looks.append(len(new))
        _complete(new)
        return Outcome(states(plan))

    monkeypatch.setattr(reproduce, "_run_all", run_all)
    assert _reproduce(monkeypatch, *AUTO, "mode=plan", "measure=false") == 0
    said = capsys.readouterr().out
    assert "look 1 of 3, n = 3" in said
    assert "at most: 31 runs" in said
    assert _reproduce(monkeypatch, *AUTO) == 0
    assert looks == [16, 4, 8]
    page = folder / "outputs" / "reports" / "mine"
    made = {path.name: path.read_bytes() for path in page.iterdir()}
    report = json.loads(made["report.json"])
    cells = {cell["key"]: cell for cell in report["cells"]}
    assert [len(cells[key]["runs"]) for key in (DECIDED, "baseline small")] == [3, 6]
    assert cells[DECIDED]["baseline"]["looked_at"] == 3
    assert b"better at n = 3" in made["table.md"]
    assert b"in looks at 3, 4, 6 seeds a cell" in made["table.md"]
    assert "n = 3 to 6" in report["first_line"]
    assert _reproduce(monkeypatch, *AUTO, "mode=report") == 0
    assert {path.name: path.read_bytes() for path in page.iterdir()} == made


def test_a_report_in_the_middle_of_a_look_says_how_many_seeds_there_are(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    *others, _ = _jobs(look_at_plan(plan, None, RULE).plan)
    _complete(others)
    assert _reproduce(monkeypatch, *AUTO, "mode=report") == 0
    report = json.loads((folder / "outputs/reports/mine/report.json").read_text())
    assert "; n = 2 to 3, 1 of " in report["first_line"]


@pytest.mark.parametrize("looks", ["[5,3]", "[1,3]", "[]", "[3,3]"])
def test_looks_that_do_not_rise_cost_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, looks: str
) -> None:
    assert _reproduce(monkeypatch, "seeds=auto", f"looks={looks}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "looks" in line
    assert not (folder / "outputs").exists()
