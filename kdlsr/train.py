"""Trains one network, or sweeps over many: `python -m kdlsr.train loss=tfkd_reg model=resnet18`.

Only parses, calls and prints; torch is not imported before there is something to train.
"""

import sys
from typing import TYPE_CHECKING, Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdlsr.config import RunFailed, UserError
from kdlsr.config.compose import (
    shipped_folder,
)
from kdlsr.config.entry import EXIT_FAILED, EXIT_OK, parse_arguments, run_entry_point

if TYPE_CHECKING:
    from kdlsr.runs.plan import Run
    from kdlsr.runs.result import RunResult


def train_job(config: DictConfig) -> "RunResult | None":
    """Completes the run that a composed config describes; returns its result.

    This is the function that a launcher calls, in this process or in another one.
    """
    return _complete(_plan(config))


def _plan(config: DictConfig) -> "Run":
    from kdlsr.config.schema import read_config
    from kdlsr.runs.plan import plan_run

    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    return plan_run(read_config(plain))


def _complete(run: "Run") -> "RunResult | None":
    """Completes a run, or brings it as far as `until`; returns its result, if it has one."""
    from kdlsr.progress.terminal import TerminalWatcher
    from kdlsr.runs.execute import checkpoint_of, complete_run
    from kdlsr.runs.launch import cores_per_job
    from kdlsr.runs.session import Session

    hydra_config = HydraConfig.get()
    is_sweep = str(hydra_config.mode).endswith("MULTIRUN")
    launcher = cast(dict[str, Any], OmegaConf.to_container(hydra_config.launcher, resolve=False))
    with TerminalWatcher() as watcher:
        session = Session(watcher, cores_per_job(launcher) if is_sweep else None)
        if run.config.until is not None:
            checkpoint_of(run, run.config.until, session)
            return None
        return complete_run(run, session)


def _train_one() -> int:
    """Runs Hydra's main for everything but `-m`: a run, --help, --cfg, --info, ..."""
    ended: list[Exception] = []

    def job(config: DictConfig) -> None:
        try:
            _train_and_print(config)
        except (UserError, RunFailed, OmegaConfBaseException) as error:
            ended.append(error)  # raised inside, Hydra would print a line of its own

    conf = str(shipped_folder("conf"))
    hydra.main(version_base="1.3", config_path=conf, config_name="train")(job)()
    if ended:
        raise ended[0]
    return EXIT_OK


def _train_and_print(config: DictConfig) -> None:
    from rich.console import Console

    from kdlsr.reporting.console import print_result

    if config.rows is not None or HydraConfig.get().sweeper.params:
        raise UserError("rows and +sweep=... need -m")
    run = _plan(config)
    result = _complete(run)
    console = Console(highlight=False, soft_wrap=True)
    if result:
        print_result(console, run, result)
    else:
        until, epochs = run.config.until, run.config.schedule.epochs
        console.print(
            f"{run.run_id}: {until} of {epochs} epochs; without until={until} it goes on",
            markup=False,
        )


def _sweep(overrides: list[str]) -> int:
    """Plans every job of `-m`, runs those that are not complete, and prints the cells."""
    from rich.console import Console

    from kdlsr.reporting.console import print_sweep
    from kdlsr.runs.launch import plan_sweep

    # By its own name: a launcher that pickles the job finds it in any process.
    from kdlsr.train import train_job as job

    sweep = plan_sweep(overrides, "train")
    console = Console(highlight=False)
    console.print(f"{len(sweep.jobs)} runs")
    sweep.launch(job)
    for crash in sweep.crashes:
        console.print(crash, markup=False, style="red")
    return EXIT_FAILED if print_sweep(console, sweep.jobs) else EXIT_OK


def _main() -> int:
    arguments = parse_arguments()
    if arguments.multirun and (arguments.cfg or arguments.info):
        raise UserError("-m starts a sweep; --cfg and --info show one run: take one of them")
    if arguments.multirun and not (arguments.help or arguments.hydra_help):
        return _sweep(arguments.overrides)
    return _train_one()


def main() -> None:
    """The entry point: exits with 0, 1 (a run failed), 2 (a mistake), 130 or 143."""
    sys.exit(run_entry_point(_main))


if __name__ == "__main__":
    main()
