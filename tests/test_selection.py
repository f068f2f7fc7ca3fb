"""What choosing on the test set is worth: the statistic, the study, and the table that asks it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdlsr.config import UserError
from kdlsr.metrics import Metrics
from kdlsr.reporting.selecting import Chosen, Grid, climb
from kdlsr.reporting.studies import Studied, studies
from kdlsr.reporting.study import Study
from kdlsr.reporting.summarise import summarise
from kdlsr.reporting.summary import Cell, RunSummary
from kdlsr.runs.card import RunCard
from kdlsr.runs.result import AtEpoch, RunResult
from kdlsr.tables.reading import read_table
from kdlsr.training.record import EpochRecord

Figures = tuple[float, float, float, float]  # last, best_test, best_val, validation


def _grid(figures: np.ndarray[Any, Any]) -> Grid:
    """Of figures (points, seeds, 4)."""
    return {
        f"p{i}": {seed: Chosen(*run) for seed, run in enumerate(point.tolist())}
        for i, point in enumerate(figures)
    }


def test_each_seed_repeats_the_whole_choice() -> None:
    figures = np.random.default_rng(0).normal(90, 1, (4, 5, 4))
    ladder = climb(_grid(figures))
    assert ladder is not None
    test, val, validation = figures[:, :, 1], figures[:, :, 2], figures[:, :, 3]
    seeds = np.arange(5)
    honest = validation.argmax(0)
    assert list(ladder.by_validation.values()) == val[honest, seeds].tolist()
    assert list(ladder.epoch_by_test.values()) == test[honest, seeds].tolist()
    assert list(ladder.all_by_test.values()) == test.max(0).tolist()
    chosen = validation.mean(1).argmax()
    assert ladder.of_means == pytest.approx(test.mean(1).max() - val.mean(1)[chosen])


def test_where_no_point_is_better_the_advantage_is_the_luck_of_the_best_of_so_many() -> None:
    """Of k independent deviates the largest is, in the mean, the k-th normal order statistic."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(300):
        test = rng.normal(90, 0.3, (4, 3))
        figures = np.stack([test, test, test, rng.normal(90, 0.3, (4, 3))], axis=2)
        ladder = climb(_grid(figures))
        assert ladder is not None
        found += [ladder.all_by_test[s] - ladder.by_validation[s] for s in range(3)]
    assert np.mean(found) == pytest.approx(0.3 * 1.029, abs=0.04)  # of 4: 1.02938


def test_seeds_that_lack_a_point_do_not_count() -> None:
    grid = {k: dict(v) for k, v in _grid(np.full((2, 2, 4), 90.0)).items()}
    del grid["p1"][0]
    ladder = climb(grid)
    assert ladder is not None
    assert list(ladder.all_by_test) == [1]
    del grid["p1"][1]
    assert climb(grid) is None


# ---------------------------------------------------------------- the study


def _run(cell: str, seed: int, figures: Figures) -> RunSummary:
    *test, validation = (Metrics(v, None, 1.0, 0.5, 1.0, 0.5, 0.1) for v in figures)
    config = {"seed": seed, "init_seed": seed, "data_seed": seed, "teacher": {"epoch": "last"}}
    run_id = f"{cell}-{seed}"
    card = RunCard(run_id=run_id, cell_id=cell, command=(), numerics=2, identity={}, config=config)
    protocols = dict(zip(("last", "best_test", "best_val"), test, strict=True))
    result = RunResult(
        run_id=run_id,
        cell_id=cell,
        status="complete",
        protocols={name: AtEpoch(epoch=1, test=metrics) for name, metrics in protocols.items()},
    )
    record = EpochRecord(1, 0.1, {"total": 1.0}, validation, test[0])
    return RunSummary(card, "complete", history=(record,), result=result)


def _cell(key: str, figures: list[Figures], **place: Any) -> Cell:
    runs = tuple(_run(key, seed, each) for seed, each in enumerate(figures))
    usual = {"row": "narrow", "column": key, "name": "as_written", "kind": "method"}
    return Cell(key=key, runs=runs, **(usual | place))


def _study(*cells: Cell) -> Study:
    table = read_table("questions/selection")
    found = summarise(cells, None)
    return studies.get("selection")(Studied(found.cells, found.protocol, table))


BASELINE = _cell(
    "baseline",
    [(90.0, 91.0, 90.5, 92.0), (90.2, 91.4, 90.3, 92.2)],
    column="Baseline",
    name="baseline",
    kind="baseline",
)
FIRST = _cell(
    "LSR 0.1",
    [(90.0, 91.5, 91.0, 93.0), (90.0, 91.5, 90.6, 93.0)],
    group="LSR",
    baseline_key="baseline",
)
LUCKY = _cell(
    "LSR 0.2",
    [(90.0, 92.5, 90.0, 91.0), (90.0, 92.1, 90.0, 91.0)],
    group="LSR",
    baseline_key="baseline",
)


def test_the_study_says_what_of_a_gain_is_the_choice() -> None:
    study = _study(BASELINE, FIRST, LUCKY)
    baseline, smoothing = study.values["methods"]
    assert (baseline["method"], smoothing["method"]) == ("Baseline", "LSR")
    assert baseline["advantages"]["the epoch, against the last"]["mean"] == pytest.approx(1.1)
    assert smoothing["by_validation"] == [91.0, 90.6]
    assert smoothing["all_by_test"] == [92.5, 92.1]
    assert smoothing["gains"]["by_validation"] == pytest.approx([0.5, 0.3])
    assert smoothing["gains"]["all_by_test"] == pytest.approx([1.5, 0.7])
    (said,) = (line for line in study.answers if "minus the baseline" in line)
    assert "+0.40" in said
    assert "+1.10" in said
    assert "+0.70 [" in said
    assert study.figures[0].draw().startswith(b"\x89PNG")


def test_a_grid_that_is_not_complete_is_named_and_left_out() -> None:
    study = _study(BASELINE, FIRST, replace(LUCKY, runs=()))
    assert [m["method"] for m in study.values["methods"]] == ["Baseline"]
    assert study.answers[-1] == "Not complete, and so left out: LSR."


def test_of_a_report_of_nothing_run_yet_there_is_nothing_to_say() -> None:
    study = _study(replace(BASELINE, runs=()))
    assert (study.answers, study.figures) == (("Not complete, and so left out: Baseline.",), ())


def test_the_study_without_a_validation_split_is_refused(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "experiments" / "questions" / "selection.yaml").read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace("dataset.val_fraction=0.2", ""))
    with pytest.raises(UserError, match="the study selection needs a validation split"):
        read_table(str(mine))
