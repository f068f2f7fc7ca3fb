"""A sweep: every job of `-m` composed and planned before any starts, then run by an executor.

How each ended is read from the store.
"""

import contextlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdlsr.config import UserError
from kdlsr.config.command_line import shell_command
from kdlsr.config.compose import compose_config, config_folders
from kdlsr.config.hydra_door import alternatives
from kdlsr.config.overrides import Override, Overrides
from kdlsr.runs.execute import status_of, store_of
from kdlsr.runs.executors import Executor, Job, JobFunction, choose_executor
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.result import RunResult, Status

MOST_JOBS = 100_000
# Of a sweep's overrides, those that say how it is launched, and nothing of its runs.
LAUNCH = ("hydra", "cluster", "rows")


@dataclass(frozen=True)
class SweptRun:
    """One run of a sweep, the job that makes it, and the row it belongs to, if any."""

    job: Job
    run: Run
    row: str | None = None

    @property
    def overrides(self) -> Overrides:
        """What selects it."""
        return self.job.overrides

    @property
    def command(self) -> str:
        """The command that makes it alone. A sweep's file needs `-m`, and its rows are merged."""
        if self.overrides.get("sweep") is None:
            return shell_command("train", self.overrides.texts())
        alone = self.overrides if self.row is None else self.overrides.set("rows", None)
        return shell_command("train", ["-m", *alone.texts()])

    def status(self, *, whole: bool = False) -> Status:
        """Returns how far the run is, as the store has it; `whole` as for `RunFolder.read`."""
        return status_of(self.run, whole=whole)

    def result(self) -> RunResult | None:
        """Returns the run's result (or the record of its failure), as the store has it."""
        return store_of(self.run.config).run(self.run.run_id).result()


@dataclass
class Sweep:
    """A sweep's runs, and what the user configured to run them.

    Attributes:
        runs: each once.
        executor: runs them.
        reasons: why jobs ended badly, by run_id, as far as their processes could say so.
    """

    runs: list[SweptRun]
    executor: Executor
    reasons: dict[str, str] = field(default_factory=dict)

    def launch(self, function: JobFunction) -> None:
        """Runs the jobs that are not complete; a job that fails does not stop the others."""
        # Whole: a run is made ready for years here, not only for the next report.
        waiting = {s.job: s for s in self.runs if s.status(whole=True) != "complete"}
        with contextlib.closing(self.executor):
            crashes = self.executor.run(function, list(waiting))
        for crash in crashes:
            self.reasons[waiting[crash.job].run.run_id] = crash.reason


def plan_sweep(texts: Sequence[str]) -> Sweep:
    """Composes and plans every job of `-m`, starting none.

    Besides comma-separated values and `hydra.sweeper.params`, a sweep may have `rows`: named
    lists of overrides, each crossed with the rest.

    Raises:
        UserError: a job is impossible; the message names it.
    """
    typed = [_alternatives(text) for text in texts]
    first = Overrides.parse(choices[0] for choices in typed)
    for override, choices in zip((Override.parse(c[0]) for c in typed), typed, strict=True):
        if override.section in LAUNCH and len(choices) > 1:
            raise UserError(f"{override.key}: how jobs are launched cannot be swept over")
    config = compose_config(_deciding(first).texts(), with_hydra=True)
    executor = choose_executor(config["hydra"]["launcher"])
    grid = [*_grid_of_file(config["hydra"]["sweeper"], first), *typed]
    rows = _rows(config["rows"])
    jobs = len(rows) * math.prod(map(len, grid))
    if jobs > MOST_JOBS:
        raise UserError(f"{jobs:,} jobs in one sweep; at most {MOST_JOBS:,} are possible")
    runs = [
        _plan_job(row, _merged(common, Overrides.parse(chosen)))
        for (row, common), chosen in itertools.product(rows.items(), itertools.product(*grid))
    ]
    return Sweep(_distinct(runs), executor)


def _alternatives(text: str) -> list[str]:
    found = alternatives(text, config_folders())
    if not found:
        raise UserError(f"{text}: there is no such value to sweep over")
    return found


def _deciding(overrides: Overrides) -> Overrides:
    """Returns the choices of groups and what launches: all that a sweep as a whole depends on."""
    return Overrides(o for o in overrides if "." not in o.key or o.section in LAUNCH)


def _grid_of_file(sweeper: Mapping[str, object], typed: Overrides) -> list[list[str]]:
    """Returns the grid of `hydra.sweeper.params`; what is typed wins over it."""
    if not str(sweeper.get("_target_", "")).endswith(".BasicSweeper"):
        raise UserError("hydra/sweeper: kdlsr expands its sweeps itself; only basic is supported")
    params = sweeper.get("params") or {}
    if not isinstance(params, Mapping):
        raise UserError("hydra.sweeper.params must be a mapping")
    keys = {override.key for override in typed}
    return [_alternatives(f"{key}={value}") for key, value in params.items() if key not in keys]


def _rows(rows: object) -> dict[str | None, Overrides]:
    """Returns the overrides of each row; without rows, those of a nameless one: none."""
    if rows is None:
        return {None: Overrides()}
    if not isinstance(rows, Mapping):
        raise UserError("rows must be a mapping of names to lists of overrides")
    return {str(name): Overrides.from_plain(row, f"rows.{name}") for name, row in rows.items()}


def _merged(row: Overrides, chosen: Overrides) -> Overrides:
    """Returns a job's overrides: what is typed or in the grid wins over its row."""
    keys = {override.key for override in chosen}
    return Overrides([*(o for o in row if o.key not in keys), *chosen.without(*LAUNCH)])


def _plan_job(row: str | None, overrides: Overrides) -> SweptRun:
    job = Job(overrides)
    try:
        config = job.config()
        if config.until is not None:
            raise UserError("until stops one run before its end; a sweep completes its runs")
        return SweptRun(job, plan_run(config, overrides), row)
    except UserError as error:
        raise UserError(f"{error} (in {job})") from error


def _distinct(runs: Sequence[SweptRun]) -> list[SweptRun]:
    """Drops runs that are the same as an earlier one."""
    return list({swept.run.run_id: swept for swept in reversed(runs)}.values())[::-1]
