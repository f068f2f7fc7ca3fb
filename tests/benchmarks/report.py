"""How the time of a report grows with its cells: four times as many should take four times as long.

    python tests/benchmarks/report.py

Makes cells of three seeds in memory, 1,000 and 4,000 of them, each with a baseline and a control,
and times each part of a report on them in turns. The last line is one JSON object:

    <part>_exponent     log4 of the time of 4,000 cells over that of 1,000: 1 is linear
    all_exponent        likewise, of all parts together
    all_seconds         of 4,000 cells

Figures stop at what a page can hold (`canvas.HIGHEST`), and so grow less.
"""

import argparse
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from machine import describe
from turns import finish

from kdlsr.metrics import Metrics
from kdlsr.reporting.any_runs.choose import filter_runs, find_baselines, gather_cells
from kdlsr.reporting.any_runs.positions import position_cells
from kdlsr.reporting.figures import draw_figures
from kdlsr.reporting.frame import render_csv, render_json
from kdlsr.reporting.page import render_page
from kdlsr.reporting.rendering import render_latex, render_markdown
from kdlsr.reporting.summarise import summarise
from kdlsr.reporting.summary import Cell, Report, RunSummary
from kdlsr.runs.card import RunCard
from kdlsr.runs.folder import RunFolder
from kdlsr.runs.result import AtEpoch, RunResult
from kdlsr.runs.store import StoredRun
from kdlsr.tables.plan import Kind
from kdlsr.training.record import EpochRecord

SMALL, LARGE, SEEDS, EPOCHS = 1000, 4000, 3, 10


def metrics(top1: float) -> Metrics:
    return Metrics(top1, None, 0.1, 0.1, 0.1, 0.9, 0.02)


def config(loss: str, number: int, seed: int) -> dict[str, Any]:
    """About as many keys as a run's config has."""
    return {
        "dataset": {"name": "digits", "subset": None, "val_fraction": 0.0, "split_seed": 0},
        "model": {"name": f"resnet{number % 50}", "width": 16},
        "teacher": {"name": "none", "epoch": "last", "seed": 1000, "overrides": []},
        "loss": {"name": loss, "alpha": number / 1e5, "scale": 1.0},
        "schedule": {f"key{i}": i for i in range(20)} | {"epochs": EPOCHS},
        "seed": seed, "init_seed": seed, "data_seed": seed,
    }  # fmt: skip


def card(cell_id: str, loss: str, number: int, seed: int) -> RunCard:
    return RunCard(
        run_id=f"{cell_id}-s{seed}",
        cell_id=cell_id,
        command=(f"loss={loss}", f"seed={seed}"),
        numerics=2,
        identity={},
        config=config(loss, number, seed),
    )


def run(card: RunCard, top1: float) -> RunSummary:
    ids = {"run_id": card.run_id, "cell_id": card.cell_id}
    protocols = dict.fromkeys(("last", "best_test"), AtEpoch(epoch=EPOCHS, test=metrics(top1)))
    result = RunResult(**ids, status="complete", protocols=protocols)
    history = tuple(
        EpochRecord(epoch, 0.1, {"total": 1 / epoch}, None, metrics(top1 - 5 / epoch))
        for epoch in range(1, EPOCHS + 1)
    )
    return RunSummary(card, "complete", ("loss=kd",), "key: value\n" * 60, history, result)


def cells(count: int) -> list[Cell]:
    """Rows of a baseline, a control and eight methods."""
    found = []
    for number in range(count):
        row, place = divmod(number, 10)
        kind: Kind = ("baseline", "control")[place] if place < 2 else "method"  # type: ignore[assignment]
        runs = (
            run(card(f"cell-{number}", "kd", number, seed), 90 + (number * 7 + seed * 3) % 11 / 3)
            for seed in range(SEEDS)
        )
        found.append(
            Cell(
                key=f"cell-{number}",
                row=f"row {row}",
                column=f"column {place}",
                name=f"cell {place}",
                kind=kind,
                runs=tuple(runs),
                baseline_key=f"cell-{row * 10}" if place else None,
                control_keys=(f"cell-{row * 10 + 1}",) if place > 1 else (),
            )
        )
    return found


def report(count: int) -> Report:
    found = summarise(cells(count), None)
    texts = {"name": "benchmark", "title": "Cells", "first_line": "Invented.", "data": "none"}
    return Report(**texts, command="none", **vars(found))


def stored(count: int) -> list[StoredRun]:
    """Runs of `count` cells as the store has them, a tenth of them of the baseline's loss."""
    found = []
    for number in range(count):
        loss = "kd" if number % 10 else "ce"
        for seed in range(SEEDS):
            made = card(f"cell-{number}", loss, number if number % 10 else number // 10, seed)
            folder = RunFolder(Path("nowhere"), made.run_id)
            found.append(StoredRun(made, folder, "complete", None))
    return found


def any_runs(runs: Sequence[StoredRun]) -> None:
    """Chooses, names and pairs the cells of any runs."""
    found = gather_cells(filter_runs(runs, ["dataset.name=digits"], "runs"))
    position_cells(found, ())
    one = [f"loss.alpha={runs[0].config['loss.alpha']}", "loss.name=ce"]
    find_baselines(found, runs, one, teachers=True)


def parts(count: int) -> dict[str, Callable[[], object]]:
    whole, drafts, runs = report(count), cells(count), stored(count)
    return {
        "summarise": lambda: summarise(drafts, None),
        "any_runs": lambda: any_runs(runs),
        "markdown": lambda: render_markdown(whole),
        "latex": lambda: render_latex(whole),
        "csv": lambda: render_csv(whole),
        "json": lambda: render_json(whole),
        "page": lambda: render_page(whole, {}),
        "figures": lambda: draw_figures(whole),
    }


def seconds(part: Callable[[], object]) -> float:
    begun = time.process_time()
    part()
    return time.process_time() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(describe())
    small, large = parts(SMALL), parts(LARGE)
    gc.freeze()  # what was made here is no part of a report's work
    results, totals = {}, [0.0, 0.0]
    for name in small:
        seconds(small[name])  # imports, templates, fonts
        pairs = [(seconds(small[name]), seconds(large[name])) for _ in range(rounds)]
        few, many = (statistics.median(times) for times in zip(*pairs, strict=True))
        print(f"{name}: {few:.2f} s, {many:.2f} s")
        results[f"{name}_exponent"] = math.log(many / few, LARGE / SMALL)
        totals = [totals[0] + few, totals[1] + many]
    results["all_exponent"] = math.log(totals[1] / totals[0], LARGE / SMALL)
    results["all_seconds"] = totals[1]
    finish(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
