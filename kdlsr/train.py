"""Trains one network, or sweeps over many: `python -m kdlsr.train loss=tfkd_reg model=resnet18`.

Only parses, calls and prints; torch is not imported before there is something to train.
"""

if __name__ == "__main__":  # Ctrl-C may come while the rest is imported
    from kdlsr.machine.interruption import end_at_interruption

    end_at_interruption()

import dataclasses
import sys
from typing import TYPE_CHECKING

from kdlsr.config import UserError
from kdlsr.config.command_line import CommandLine, read_command_line, shell_command
from kdlsr.config.compose import compose_config
from kdlsr.config.entry import EXIT_FAILED, EXIT_OK, run_entry_point
from kdlsr.config.overrides import Overrides, SeveralValues
from kdlsr.config.schema import read_config

if TYPE_CHECKING:
    from kdlsr.runs.card import MadeFor
    from kdlsr.runs.executors import Job
    from kdlsr.runs.plan import Run
    from kdlsr.runs.result import RunResult
    from kdlsr.runs.session import Session


def train_job(job: "Job") -> "RunResult | None":
    """Completes the run of a job, or brings it as far as it has to teach; returns its result.

    This is the function that an executor calls, in this process or in another one.
    """
    from kdlsr.runs.plan import plan_run
    from kdlsr.runs.session import Session

    run = plan_run(job.config(), job.overrides)
    return _complete(run, Session(cores=job.cores), "teaching" if job.only_teaches else "itself")


def _complete(run: "Run", session: "Session", made_for: "MadeFor" = "itself") -> "RunResult | None":
    """Completes a run, or brings it as far as `until`; returns its result, if it has one."""
    from kdlsr.progress.terminal import TerminalWatcher
    from kdlsr.runs.execute import checkpoint_of, complete_run

    with TerminalWatcher() as watcher:
        session = dataclasses.replace(session, watcher=watcher)
        if run.config.until is not None:
            checkpoint_of(run, run.config.until, session, made_for)
            return None
        return complete_run(run, session, made_for)


def _train_one(line: CommandLine) -> int:
    """Trains what the command line says, and prints its result."""
    overrides = _single_values(line)
    config = compose_config(overrides.texts(), with_hydra=True)
    if config["rows"] is not None or config.pop("hydra")["sweeper"].get("params"):
        raise UserError("rows and +sweep=... need -m")
    checked = read_config(config)
    from kdlsr.machine.screen import open_screen
    from kdlsr.reporting.console import print_result
    from kdlsr.runs.plan import plan_run
    from kdlsr.runs.session import Session

    run = plan_run(checked, overrides.without("hydra", "cluster"))
    result = _complete(run, Session(asked_for=run.run_id))
    console = open_screen(soft_wrap=True)
    if result:
        print_result(console, run, result)
    else:
        onwards = shell_command("train", overrides.without("until").texts())
        until, epochs = run.config.until, run.config.schedule.epochs
        console.print(
            f"{run.run_id}: {until} of {epochs} epochs; this goes on:\n  {onwards}",
            markup=False,
        )
    return EXIT_OK


def _single_values(line: CommandLine) -> Overrides:
    try:
        return Overrides.parse(line.overrides)
    except SeveralValues as error:
        raise UserError(f"{error.text} is several values: add -m to sweep over them") from error


def _sweep(line: CommandLine) -> int:
    """Plans every job of `-m`, runs those that are not complete, and prints the cells."""
    from kdlsr.machine.screen import open_screen
    from kdlsr.reporting.console import print_sweep
    from kdlsr.runs.sweep import plan_sweep
    from kdlsr.tracking import awaits_a_run

    # By its own name: an executor that pickles the job finds it in any process.
    from kdlsr.train import train_job as function

    sweep = plan_sweep(line.overrides)
    for swept in sweep.runs:
        tracker = swept.run.config.tracker
        if awaits_a_run(tracker.name, tracker.options):
            raise UserError(f"tracker={tracker.name}: its agent waits for one run; drop -m")
    console = open_screen()
    console.print(f"{len(sweep.runs)} runs")
    sweep.launch(function)
    return EXIT_FAILED if print_sweep(console, sweep.runs, sweep.reasons) else EXIT_OK


def _main() -> int:
    line = read_command_line(sys.argv[1:])
    if line.multirun and line.shows:
        raise UserError("-m starts a sweep; --cfg and --info show one run: take one of them")
    if line.helps or line.shows:
        line.show("train")
        return EXIT_OK
    return _sweep(line) if line.multirun else _train_one(line)


def main() -> None:
    """The entry point: exits with 0, 1 (a run failed), 2 (a mistake), 130 or 143."""
    sys.exit(run_entry_point(_main))


if __name__ == "__main__":
    main()
