"""The terminal: a run's result, a sweep's cells, and what did not come to its end."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

from kdlsr.config.overrides import Override
from kdlsr.metrics import Metrics
from kdlsr.reporting.formatting import NOTHING, number, plus_minus
from kdlsr.reporting.statistics import estimate
from kdlsr.runs.execute import store_of
from kdlsr.runs.plan import Run
from kdlsr.runs.result import PROTOCOLS, RunResult
from kdlsr.runs.sweep import SweptRun

NO_REASONS: Mapping[str, str] = MappingProxyType({})


def print_result(console: Console, run: Run, result: RunResult) -> None:
    """Prints a complete run's test figures, one row per protocol."""
    table = Table(title=run.run_id, title_justify="left", title_style="bold")
    last = result.at("last")
    of_some = ["F1 %"] if last is not None and last.test.f1 is not None else []
    for column in ("protocol", "epoch", "top-1 %", "top-5 %", "NLL", "ECE", *of_some):
        table.add_column(column, justify="left" if column == "protocol" else "right")
    for name in PROTOCOLS:
        chosen = result.at(name)
        if chosen is not None:
            table.add_row(name, str(chosen.epoch), *_figures(chosen.test))
            for other, metrics in chosen.more.items():
                table.add_row(f"  {other}", "", *_figures(metrics))
    console.print(table)
    teacher = result.teacher
    if teacher:
        console.print(
            f"teacher {teacher.name}: top-1 {number(teacher.top1)} %, agreement "
            f"{number(teacher.agreement)} %, KL(teacher||student) {number(teacher.kl, 4)}",
            markup=False,
        )


def _figures(test: Metrics) -> list[str]:
    top5 = NOTHING if test.top5 is None else number(test.top5)
    of_some = [] if test.f1 is None else [number(test.f1)]
    return [number(test.top1), top5, number(test.nll, 4), number(test.ece, 4), *of_some]


def print_sweep(
    console: Console, jobs: Sequence[SweptRun], reasons: Mapping[str, str] = NO_REASONS
) -> int:
    """Prints a sweep's cells, then its unfinished runs; returns how many these are.

    Args:
        console: to print on.
        jobs: the sweep's.
        reasons: as for `print_unfinished`.
    """
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
    unfinished = [(m.run, m.status(), m.command) for m in jobs if m.status() != "complete"]
    print_unfinished(console, unfinished, len(jobs), reasons)
    return len(unfinished)


def _cell_name(job: SweptRun, common: set[Override]) -> str:
    """Names a cell by its row, or by its overrides that are not common to all jobs."""
    if job.row is not None:
        return job.row
    kept = job.overrides.without("seed", "init_seed", "data_seed")
    return " ".join(str(o) for o in kept if o not in common) or job.run.cell_id


def _mean_and_deviation(results: Sequence[RunResult], protocol: str) -> str:
    values = [chosen.test.top1 for r in results if (chosen := r.at(protocol)) is not None]
    if not values:
        return NOTHING
    found = estimate(values)
    return plus_minus(found.mean, found.deviation)


def print_unfinished(
    console: Console,
    unfinished: Sequence[tuple[Run, str, str]],
    count: int,
    reasons: Mapping[str, str] = NO_REASONS,
) -> None:
    """Prints each run that is not complete, the reason, and the command that runs it alone.

    Args:
        console: to print on.
        unfinished: such runs with their states and commands.
        count: of these and all others.
        reasons: by run_id, why a job ended badly just now; else what its run has recorded.
    """
    for run, state, command in unfinished:
        line = f"{state}: {run.run_id}: {reasons.get(run.run_id) or _reason(run, state)}"
        console.print(line, markup=False, style="red", soft_wrap=True)
        if state != "not run":
            console.print(f"  {command}", markup=False, soft_wrap=True)
    if unfinished:
        console.print(f"{len(unfinished)} of {count} runs are not complete", style="red")


def _reason(run: Run, state: str) -> str:
    if state == "not run" and run.teacher_run is not None:
        return f"its teacher {run.teacher_run.run_id} is not there"
    result = store_of(run.config).run(run.run_id).result()
    return (result and result.error) or "ended without a result (killed?)"
