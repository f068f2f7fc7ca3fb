"""Tuned on one network, applied to another: the rows, the choice, and what it loses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kdlsr.config import UserError
from kdlsr.metrics import Metrics
from kdlsr.reporting.studies import Studied, studies
from kdlsr.reporting.summarise import summarise
from kdlsr.reporting.summary import Cell, RunSummary
from kdlsr.reporting.table_report import report_table
from kdlsr.reporting.tuning import Grid, Tried, choose, loss_of_tuning_elsewhere
from kdlsr.runs.card import RunCard
from kdlsr.runs.result import AtEpoch, RunResult
from kdlsr.tables.index import profile_named
from kdlsr.tables.plan import Request
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.reading import read_table
from kdlsr.tables.schema import Table
from kdlsr.training.record import EpochRecord


def _grid(validation: np.ndarray[Any, Any], test: np.ndarray[Any, Any]) -> Grid:
    """Points p0, p1, ... with figures (points, seeds)."""
    return {
        f"p{i}": Tried(dict(enumerate(v.tolist())), dict(enumerate(t.tolist())))
        for i, (v, t) in enumerate(zip(validation, test, strict=True))
    }


def _reference(own: Any, other: Any, test: Any) -> list[float]:
    """The loss for each seed, in NumPy: choices by the other seeds."""
    seeds = np.arange(own.shape[1])
    losses = []
    for seed in seeds:
        left = seeds != seed
        here, there = (figures[:, left].mean(1).argmax() for figures in (own, other))
        losses.append(test[here, seed] - test[there, seed])
    return losses


def test_a_seed_is_judged_at_the_points_that_the_other_seeds_chose() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        own, other, test = rng.normal(90, 1, (3, 4, 5))
        found = loss_of_tuning_elsewhere(_grid(own, test), _grid(other, test))
        assert found is not None
        losses = [found.own[seed] - found.elsewhere[seed] for seed in range(5)]
        expected = _reference(own, other, test)
        assert losses == pytest.approx(expected)
        assert found.difference.mean == pytest.approx(np.mean(expected))
        assert 0 <= found.agreeing <= expected.count(0.0)


def test_where_no_point_is_better_no_loss_is_found_though_the_plain_difference_finds_one() -> None:
    rng = np.random.default_rng(1)
    ours, plain, held = [], [], 0
    for _ in range(400):
        luck = rng.normal(0, 0.3, (4, 3))  # of a run, on validation and test alike
        own, test = (luck + rng.normal(0, s, (4, 3)) for s in (0.3, 0.1))
        other = rng.normal(0, 0.4, (4, 3))
        found = loss_of_tuning_elsewhere(_grid(own, test), _grid(other, test))
        assert found is not None
        ours.append(found.difference.mean)
        points = own.mean(1).argmax(), other.mean(1).argmax()
        plain.append(test[points[0]].mean() - test[points[1]].mean())
        interval = found.difference.paired
        held += interval is None or interval.low <= 0 <= interval.high
    assert abs(np.mean(ours)) < 0.03
    assert np.mean(plain) > 0.07
    assert held / 400 > 0.92


def test_the_same_choice_everywhere_loses_nothing_and_claims_nothing() -> None:
    best = np.array([[90.0, 91, 92], [80, 81, 82]])
    found = loss_of_tuning_elsewhere(_grid(best, best), _grid(best + 1, best))
    assert found is not None
    assert (found.difference.mean, found.difference.paired, found.agreeing) == (0, None, 3)


def test_of_equal_points_the_first_is_chosen() -> None:
    same = np.full((3, 2), 90.0)
    assert choose(_grid(same, same), [0, 1]) == "p0"


def test_a_grid_that_lacks_a_run_has_no_loss() -> None:
    whole = _grid(np.ones((2, 3)), np.ones((2, 3)))
    lacking = dict(whole) | {"p1": Tried({0: 1.0}, {0: 1.0})}
    assert loss_of_tuning_elsewhere(whole, lacking) is None
    assert loss_of_tuning_elsewhere(whole, {"p0": whole["p0"]}) is None


# ---------------------------------------------------------------- the table


def test_a_grid_becomes_a_row_for_each_point_and_network() -> None:
    table = read_table("wang2021/digits")
    smoothing = [cell for cell in table.cells if cell.group == "LSR-OS"]
    assert [(cell.network, cell.options) for cell in smoothing[:2]] == [
        ("ResNet8 narrow", {"alpha": 0.1, "tau": 2.0}),
        ("ResNet8 narrow", {"alpha": 0.1, "tau": 4.0}),
    ]
    assert len(smoothing) == 8
    plan = plan_tables([table], Request(profile_named("smoke"), (0,)))
    assert {cell.name for cell in plan.tables[0].cells if cell.group == "LSR"} == {"as_written"}
    assert all(cell.kind != "control" for cell in plan.tables[0].cells)
    assert len(plan.jobs) == 48  # 4 + 4 + 4 + 4 + 8 on each network: scale 1 is the baseline


def _changed(tmp_path: Path, **changes: Any) -> str:
    values = {
        "title": "t", "source": "s", "shows": "s", "setting": "digits", "grade": "D",
        "studies": ["tuned_elsewhere"], "overrides": ["dataset.val_fraction=0.2"],
        "tuned": {
            "networks": ["ResNet8 narrow", "ResNet8 wide"], "claim": "LSR",
            "methods": {"LSR": {"method": "lsr", "grid": {"alpha": [0.1, 0.2]}}},
        },
    }  # fmt: skip
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values | changes))
    return str(path)


def _tuned(**changes: Any) -> dict[str, Any]:
    method = {"method": "lsr", "grid": {"alpha": [0.1, 0.2]}} | changes.pop("method", {})
    networks = ["ResNet8 narrow", "ResNet8 wide"]
    return {"networks": networks, "claim": "LSR", "methods": {"LSR": method}} | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"overrides": []}, "needs a validation split"),
        ({"studies": []}, "go together"),
        ({"tuned": _tuned(networks=["ResNet8 narrow"])}, "takes two networks"),
        ({"tuned": _tuned(claim="LRS")}, "none of the methods"),
        ({"tuned": _tuned(method={"grid": {"alpha": [0.1]}})}, "nothing to choose from"),
        ({"tuned": _tuned(method={"points": [{"alpha": 0.1}]})}, "either a grid or points"),
        ({"tuned": _tuned(method={"grid": {"alhpa": [0.1, 0.2]}})}, "nearest: alpha"),
        ({"tuned": _tuned(method={"forms": ["standard"]})}, "forms='standard' is not possible"),
        ({"tuned": _tuned(networks=["ResNet8 narrow", "ResNet9"])}, "ResNet9 is no network"),
    ],
)
def test_a_mistake_in_a_grid_costs_one_line(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as told:
        read_table(_changed(tmp_path, **changes))
    assert "\n" not in str(told.value)


# ---------------------------------------------------------------- the study


def _run(cell: str, seed: int, validation: float, test: float) -> RunSummary:
    metrics = [Metrics(top1, None, 1.0, 0.5, 1.0, 0.5, 0.1) for top1 in (validation, test)]
    record = EpochRecord(1, 0.1, {"total": 1.0}, metrics[0], metrics[1])
    config = {"seed": seed, "init_seed": seed, "data_seed": seed, "teacher": {"epoch": "last"}}
    run_id = f"{cell}-{seed}"
    card = RunCard(run_id=run_id, cell_id=cell, command=(), numerics=2, identity={}, config=config)
    at = AtEpoch(epoch=1, test=metrics[1])
    result = RunResult(
        run_id=run_id, cell_id=cell, status="complete",
        protocols={"last": at, "best_test": at, "best_val": at},
    )  # fmt: skip
    return RunSummary(card, "complete", history=(record,), result=result)


def _cells(table: Table, accuracy: Any, networks: Any = None) -> list[Cell]:
    """The table's points with made figures: `accuracy(method, network, point, seed)`."""
    made = []
    for network in dict.fromkeys(cell.network for cell in table.cells):
        runs = tuple(_run(f"ce {network}", seed, 80.0 + seed, 80.0 + seed) for seed in range(3))
        made.append(Cell(key=f"baseline {network}", row=network, column="Baseline",
                         name="baseline", kind="baseline", runs=runs))  # fmt: skip
    for cell in table.cells:
        point = [c.column for c in table.cells if (c.group, c.row) == (cell.group, cell.row)]
        number = point.index(cell.column)
        shown = (networks or {}).get(cell.row, cell.row)
        figures = [accuracy(cell.group, cell.row, number, seed) for seed in range(3)]
        runs = tuple(
            _run(f"{cell.column} {shown}", seed, *both) for seed, both in enumerate(figures)
        )
        made.append(Cell(key=f"{cell.row} {cell.column}", group=cell.group, row=cell.row,
                         column=cell.column, name="as_written", kind="method", runs=runs,
                         baseline_key=f"baseline {cell.row}"))  # fmt: skip
    return made


@pytest.fixture
def table(tmp_path: Path) -> Table:
    methods = {
        name: {"method": "lsr", "forms": ["as_written"], "grid": {"alpha": [0.1, 0.2]}}
        for name in ("Robust", "Fragile")
    }
    tuned = {"networks": ["ResNet8 narrow", "ResNet8 wide"], "claim": "Robust", "methods": methods}
    return read_table(_changed(tmp_path, tuned=tuned))


def _fragile(method: str, network: str, point: int, seed: int) -> tuple[float, float]:
    """Fragile's best point differs between the networks, by two points of accuracy."""
    is_best = point == 0 if method == "Robust" else (point == 1) == (network == "ResNet8 wide")
    value = 90.0 + 0.1 * seed + (2.0 + 0.1 * seed if is_best else 0.0)
    return value, value


def test_the_study_finds_which_method_carries_over(table: Table) -> None:
    found = summarise(_cells(table, _fragile), None)
    study = studies.get("tuned_elsewhere")(Studied(found.cells, found.protocol, table))
    losses = {m["method"]: m["loss"]["mean"] for m in study.values["methods"]}
    assert losses == pytest.approx({"Robust": 0.0, "Fragile": 2.1})
    assert len(study.values["pairs"]) == 4
    fragile = next(p for p in study.values["pairs"] if p["method"] == "Fragile")
    assert (fragile["chosen_own"], fragile["chosen_elsewhere"]) == ("alpha 0.1", "alpha 0.2")
    assert any("Fragile loses +2.10" in answer and "loses more" in answer
               for answer in study.answers)  # fmt: skip
    gain = next(m for m in study.values["methods"] if m["method"] == "Robust")["gain_over_ce"]
    assert gain["mean"] == pytest.approx(11.2)


def test_networks_that_one_profile_has_for_both_are_no_pair(table: Table) -> None:
    same = {"ResNet8 narrow": "one", "ResNet8 wide": "one"}
    found = summarise(_cells(table, _fragile, same), None)
    study = studies.get("tuned_elsewhere")(Studied(found.cells, found.protocol, table))
    assert study.values["pairs"] == []
    assert study.answers == ("No grid is complete.",)


def test_a_report_of_nothing_run_yet_says_so(table: Table) -> None:
    (planned,) = plan_tables([table], Request(profile_named("smoke"), (0,))).tables
    states = dict.fromkeys(
        (run.run_id for cell in planned.cells for run in cell.runs), "not started"
    )
    report = report_table(planned, states, None, "command")  # type: ignore[arg-type]
    (study,) = report.studies
    assert study.answers == ("No grid is complete.",)
