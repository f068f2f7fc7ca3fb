"""The terminal: a run's result, and a sweep's cells with what is not complete."""

import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from kdlsr.config.overrides import Override
from kdlsr.metrics import Metrics
from kdlsr.runs.plan import Run
from kdlsr.runs.result import PROTOCOLS, RunResult
from kdlsr.runs.sweep import SweptRun


def print_result(console: Console, run: Run, result: RunResult) -> None:
    """Prints a complete run's test figures, one row per protocol."""
    table = Table(title=run.run_id, title_justify="left", title_style="bold")
    for column in ("protocol", "epoch", "top-1 %", "top-5 %", "NLL", "ECE"):
        table.add_column(column, justify="left" if column == "protocol" else "right")
    for name in PROTOCOLS:
        chosen = result.at(name)
        if chosen is not None:
            table.add_row(name, str(chosen.epoch), *_figures(chosen.test))
    console.print(table)
    teacher = result.teacher
    if teacher:
        console.print(
            f"teacher {teacher.name}: top-1 {teacher.top1:.2f} %, agreement "
            f"{teacher.agreement:.2f} %, KL(teacher||student) {teacher.kl:.4f}",
            markup=False,
        )


def _figures(test: Metrics) -> list[str]:
    top5 = "-" if test.top5 is None else f"{test.top5:.2f}"
    return [f"{test.top1:.2f}", top5, f"{test.nll:.4f}", f"{test.ece:.4f}"]


def print_sweep(console: Console, jobs: Sequence[SweptRun]) -> int:
    """Prints a sweep's cells, then which jobs failed and how to run those; returns how many."""
    cells: dict[str, list[SweptRun]] = {}
    for job in jobs:
        cells.setdefault(job.run.cell_id, []).append(job)
    common = set.intersection(*(set(job.overrides) for job in jobs))
    has_validation = any(job.run.config.dataset.val_fraction for job in jobs)
    shown = [p for p in PROTOCOLS if p != "best_val" or has_validation]
    table = Table(title="test top-1 %, mean ± standard deviation (n-1)", title_justify="left")
    table.add_column("cell", overflow="fold")
    table.add_column("n", justify="right")
    for protocol in shown:
        table.add_column(protocol, justify="right")
    for members in cells.values():
        results = [r for r in (m.result() for m in members) if r and r.status == "complete"]
        values = [_mean_and_deviation(results, protocol) for protocol in shown]
        table.add_row(_cell_name(members[0], common), str(len(results)), *values)
    console.print(table)
    return _print_unfinished(console, jobs)


def _cell_name(job: SweptRun, common: set[Override]) -> str:
    """Names a cell by its row, or by its overrides that are not common to all jobs."""
    if job.row is not None:
        return job.row
    kept = job.overrides.without("seed", "init_seed", "data_seed")
    return " ".join(str(o) for o in kept if o not in common) or job.run.cell_id


def _mean_and_deviation(results: Sequence[RunResult], protocol: str) -> str:
    values = [chosen.test.top1 for r in results if (chosen := r.at(protocol)) is not None]
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


def _print_unfinished(console: Console, jobs: Sequence[SweptRun]) -> int:
    unfinished = [job for job in jobs if job.status() != "complete"]
    for job in unfinished:
        result = job.result()
        reason = result.error if result else "ended without a result (killed?)"
        told = f"{job.status()}: {job.run.run_id}: {reason}"
        console.print(told, markup=False, style="red", soft_wrap=True)
        console.print(f"  {job.command}", markup=False, soft_wrap=True)
    if unfinished:
        console.print(f"{len(unfinished)} of {len(jobs)} runs are not complete", style="red")
    return len(unfinished)
