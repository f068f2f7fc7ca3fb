"""Jobs for Hydra's launcher: a sweep's, or a layer's of a plan; all planned before any starts.

Hydra's own sweeper would start the first job before it has seen the last, and raise the
first failure after the others; here every job is composed and planned before any starts,
and how each ended is read from the store.
"""

import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra._internal.callbacks import Callbacks
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_automatic_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from kdlsr.config import UserError
from kdlsr.config.compose import config_folders, shipped_folder
from kdlsr.config.schema import read_config
from kdlsr.machine.cores import available_cores
from kdlsr.runs.execute import store_of
from kdlsr.runs.launchers import InFolder, JobFunction, launch_in_processes
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.result import RunResult, Status

# Which extra brings which of Hydra's plugins.
EXTRAS = {"hydra_ray_launcher": "ray", "hydra_submitit_launcher": "slurm"}


@dataclass(frozen=True)
class Job:
    """One run of a sweep, the overrides that select it, and the row it belongs to, if any."""

    overrides: tuple[str, ...]
    run: Run
    row: str | None = None


@dataclass(frozen=True)
class ConfiguredLauncher:
    """The launcher that the user configured, for any number of batches of jobs."""

    master: DictConfig
    context: HydraContext

    def launch(self, function: JobFunction, jobs: Sequence[Sequence[str]]) -> list[str]:
        """Runs jobs, each a list of overrides; one that fails does not stop the others.

        Returns:
            What the launcher said of jobs whose process died, a line each.

        Raises:
            UserError: the launcher is not installed.
        """
        if not jobs:
            return []
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.context,
            task_function=InFolder(function, Path.cwd()),
            config=self.master,
        )
        complete = [[*self._chosen(job), *job] for job in jobs]
        try:
            crashes = launch_in_processes(launcher, self.context, complete)
            if crashes is not None:
                return crashes
            launcher.launch(complete, initial_job_idx=0)
        except Exception as error:  # a job's process that died, as a cluster's launcher tells it
            return [f"the launcher: {type(error).__name__}: {error}".splitlines()[0]]
        return []

    def _chosen(self, job: Sequence[str]) -> list[str]:
        """Returns `+cluster=...`, which a job must know: its share of the cores is there."""
        task = cast(list[str], OmegaConf.to_container(self.master.hydra.overrides.task))
        clusters = [o for o in task if o.lstrip("+").partition("=")[0] == "cluster"]
        return [override for override in clusters if override not in job]


def configure_launcher(overrides: Sequence[str], config_name: str) -> ConfiguredLauncher:
    """Composes the launcher (`hydra/launcher=...`, `+cluster=...`) as `-m` would.

    Raises:
        UserError: Hydra refuses it, or it is not installed.
    """
    _drop_options_of_plugins()
    *added, conf = config_folders()
    search_path = create_automatic_config_search_path(None, None, str(conf))
    for folder in added:
        search_path.prepend(provider="command-line", path=f"file://{folder}")
    hydra = Hydra.create_main_hydra2(task_name=config_name, config_search_path=search_path)
    master = hydra.compose_config(
        config_name=config_name,
        overrides=list(overrides),
        run_mode=RunMode.MULTIRUN,
        with_log_configuration=False,
    )
    _check_installed(master)
    context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(master))
    return ConfiguredLauncher(master, context)


def _drop_options_of_plugins() -> None:
    """Leaves conf/hydra/launcher alone to say what its options are.

    Two configs of one name, a file's and a plugin's, are deprecated in Hydra.
    """
    Plugins.instance()  # imports the plugins, which register theirs
    registered = ConfigStore.instance().repo.get("hydra", {}).get("launcher", {})
    for file in (shipped_folder("conf") / "hydra" / "launcher").glob("*.yaml"):
        registered.pop(file.name, None)


def _check_installed(master: DictConfig) -> None:
    target = str(master.hydra.launcher.get("_target_", ""))
    for plugin, extra in EXTRAS.items():
        if f".{plugin}." in target and not _is_installed(plugin):
            name = f"hydra/launcher={master.hydra.runtime.choices['hydra/launcher']}"
            raise UserError(f"{name}: not installed; pip install 'kdlsr[{extra}]'")


def _is_installed(plugin: str) -> bool:
    # Without any plugin there is no hydra_plugins either, and to look below it is an error.
    return all(importlib.util.find_spec(n) for n in ("hydra_plugins", f"hydra_plugins.{plugin}"))


@dataclass
class Sweep:
    """A sweep's jobs and the launcher that the user configured for them."""

    jobs: list[Job]
    launcher: ConfiguredLauncher
    crashes: list[str] = field(default_factory=list)

    def launch(self, function: JobFunction) -> None:
        """Runs the jobs that are not complete; a job that fails does not stop the others."""
        waiting = [job.overrides for job in self.jobs if job_status(job) != "complete"]
        self.crashes += self.launcher.launch(function, waiting)


def job_status(job: Job) -> Status:
    """Returns how far a job's run is, as the store has it."""
    return store_of(job.run.config).run(job.run.run_id).status()


def job_result(job: Job) -> RunResult | None:
    """Returns a job's result (or the record of its failure), as the store has it."""
    return store_of(job.run.config).run(job.run.run_id).result()


def plan_sweep(overrides: Sequence[str], config_name: str) -> Sweep:
    """Composes and plans every job of `-m`, starting none.

    Besides comma-separated values and `hydra.sweeper.params`, a sweep may have `rows`: named
    lists of overrides, each crossed with the rest.

    Raises:
        UserError: a job is impossible; the message names it.
    """
    launcher = configure_launcher(overrides, config_name)
    master, context = launcher.master, launcher.context
    _check_sweeper(master)
    jobs = [_plan_job(context, master, row, chosen) for row, chosen in _expand(context, master)]
    return Sweep(_distinct(jobs), launcher)


def _check_sweeper(master: DictConfig) -> None:
    name = str(master.hydra.sweeper.get("_target_", ""))
    if not name.endswith(".BasicSweeper"):
        raise UserError("hydra/sweeper: kdlsr expands its sweeps itself; only basic is supported")


def _expand(context: HydraContext, master: DictConfig) -> list[tuple[str | None, list[str]]]:
    """Returns each job's row (None without rows) and overrides."""
    params = [f"{key}={value}" for key, value in (master.hydra.sweeper.params or {}).items()]
    task = cast(list[str], OmegaConf.to_container(master.hydra.overrides.task, resolve=False))
    parser = OverridesParser.create(config_loader=context.config_loader)
    # What the command line sets wins over the sweep file's own grid.
    typed = {override.partition("=")[0] for override in task}
    params = [p for p in params if p.partition("=")[0] not in typed]
    grid = BasicSweeper.split_arguments(parser.parse_overrides([*params, *task]), None)[0]
    rows = OmegaConf.to_container(master.rows) if master.rows is not None else {None: []}
    if not isinstance(rows, dict):
        raise UserError("rows must be a mapping of names to lists of overrides")
    return [
        (row, _merge(cast(list[str], overrides), chosen))
        for (row, overrides), chosen in itertools.product(rows.items(), grid)
    ]


def _merge(row: Sequence[str], chosen: Sequence[str]) -> list[str]:
    typed = {override.partition("=")[0] for override in chosen}
    return [*(o for o in row if o.partition("=")[0] not in typed), *chosen]


def _plan_job(
    context: HydraContext, master: DictConfig, row: str | None, overrides: list[str]
) -> Job:
    config = context.config_loader.load_sweep_config(master, list(overrides))
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    plain.pop("hydra", None)
    try:
        config_of_job = read_config(plain)
        if config_of_job.until is not None:
            raise UserError("until stops one run before its end; a sweep completes its runs")
        return Job(tuple(overrides), plan_run(config_of_job), row)
    except UserError as error:
        raise UserError(f"{error} (in the job {' '.join(overrides)})") from error


def _distinct(jobs: Sequence[Job]) -> list[Job]:
    """Drops jobs that are the same run as an earlier one."""
    return list({job.run.run_id: job for job in reversed(jobs)}.values())[::-1]


def cores_per_job(launcher: Mapping[str, Any]) -> int | None:
    """Returns how many cores the configured launcher leaves to each job; None: all.

    Hydra's own launcher runs one job after the other; joblib's says how many at once,
    submitit's and Ray's how many cores each has.

    Args:
        launcher: the config `hydra.launcher`, plain values.
    """
    ray = launcher.get("ray") or {}
    given = launcher.get("cpus_per_task") or (ray.get("remote") or {}).get("num_cpus")
    if given:
        return max(1, int(given))
    at_once = launcher.get("n_jobs")
    if at_once is None:
        return None
    return max(1, available_cores() // at_once) if at_once > 0 else 1
