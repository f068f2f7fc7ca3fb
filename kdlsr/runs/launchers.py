"""Ray and submitit, so that each job is waited for, whatever becomes of the others.

The plugins' own `launch` raises at the first job whose process died, while others still run,
starts all local jobs at once, and leaves them behind when it is interrupted. Only what runs
jobs in other processes is here; which jobs, and how they ended, is not.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from kdlsr.config.entry import Terminated
from kdlsr.machine.cores import available_cores

JobFunction = Callable[[DictConfig], object]
Overrides = Sequence[str]
POLL_S = 0.1
CANCEL_S = 30.0  # for jobs that were told to stop


@dataclass(frozen=True)
class InFolder:
    """A job function that runs in the folder where the command was typed.

    A worker of a cluster starts elsewhere, and `outputs/` is relative.
    """

    function: JobFunction
    folder: Path

    def __call__(self, config: DictConfig) -> None:
        """Returns nothing: what came of a run is in the store."""
        os.chdir(self.folder)
        self.function(config)


@dataclass(frozen=True)
class EndsAtSigterm:
    """A job function whose process SIGTERM ends, tidily: submitit has it ignored."""

    function: Callable[[DictConfig], None]

    def __call__(self, config: DictConfig) -> None:
        signal.signal(signal.SIGTERM, _terminate_once)
        self.function(config)


def _terminate_once(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is being tidied up is left in peace
    raise Terminated


def launch_in_processes(
    launcher: Launcher, context: HydraContext, jobs: Sequence[Overrides]
) -> list[str] | None:
    """Runs jobs with Ray or submitit, and waits for all of them.

    An interruption stops those that run before it is passed on.

    Args:
        launcher: a plugin's, set up.
        context: of the composed config.
        jobs: the overrides of each.

    Returns:
        What is known of jobs whose process died, a line each; None for any other launcher,
        which has done nothing.
    """
    name = type(launcher).__name__
    if name == "RayLauncher":
        return _launch_on_ray(launcher, context, jobs)
    if name == "LocalLauncher":
        return _launch_locally(launcher, jobs)
    if name == "SlurmLauncher":
        return _launch_on_slurm(launcher, jobs)
    return None


def _line(overrides: Overrides, error: Exception) -> str:
    """Says in one line what a launcher says of a dead process in many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = (lines[-1] if "Traceback" in str(error) else lines[0]) if lines else ""
    return f"a job's process died: {type(error).__name__}: {told} (the job {' '.join(overrides)})"


# --- submitit -------------------------------------------------------------------------------


def _executor(launcher: Any, **more: Any) -> Any:
    """Returns submitit's executor with the launcher's settings, as the plugin makes it."""
    import submitit

    cluster = launcher._EXECUTOR
    params = {**launcher.params, **more}
    created = {f"{cluster}_max_num_timeout": params.pop("max_num_timeout", None)}
    folder = params.pop("submitit_folder")
    generic = submitit.AutoExecutor._typed_parameters()
    named = {k if k in generic else f"{cluster}_{k}": v for k, v in params.items()}
    known = {k: v for k, v in created.items() if v is not None}
    executor = submitit.AutoExecutor(folder, cluster=cluster, **known)
    executor.update_parameters(**named)
    return executor


def _arguments(index: int, overrides: Overrides) -> tuple[Any, ...]:
    """Returns what the plugin's launcher is called with in a job's own process."""
    job_id = f"job_id_for_{index}"
    return list(overrides), "hydra.sweep.dir", index, job_id, Singleton.get_state()


def _launch_on_slurm(launcher: Any, jobs: Sequence[Overrides]) -> list[str]:
    """Submits one job array."""
    arguments = [_arguments(index, overrides) for index, overrides in enumerate(jobs)]
    submitted = _executor(launcher).map_array(launcher, *zip(*arguments, strict=True))
    try:
        while not all(job.done() for job in submitted):
            time.sleep(10 * POLL_S)
    except BaseException:
        for job in submitted:
            job.cancel(check=False)
        raise
    return _crashes(zip(jobs, submitted, strict=True))


def _launch_locally(launcher: Any, jobs: Sequence[Overrides]) -> list[str]:
    """Runs as many jobs at once as the cores allow, each beside the GPU of its place."""
    launcher.task_function = EndsAtSigterm(launcher.task_function)
    places = max(1, available_cores() // (launcher.params.get("cpus_per_task") or 1))
    executors = [_executor(launcher, **_gpus_of(launcher, place)) for place in range(places)]
    waiting = list(enumerate(jobs))
    running: dict[int, tuple[Overrides, Any]] = {}
    crashes: list[str] = []
    try:
        while waiting or running:
            for place, executor in enumerate(executors):
                if place in running and running[place][1].done():
                    crashes += _crashes([running.pop(place)])
                if place not in running and waiting:
                    index, overrides = waiting.pop(0)
                    job = executor.submit(launcher, *_arguments(index, overrides))
                    running[place] = (overrides, job)
            time.sleep(POLL_S)
    except BaseException:
        _terminate([job for _, job in running.values()])
        raise
    return crashes


def _gpus_of(launcher: Any, place: int) -> dict[str, Any]:
    """Returns which GPUs a local job sees: submitit would hide all, or show all jobs the first."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if all(name.isdecimal() for name in visible):
        gpus = [int(name) for name in visible]
    else:
        gpus = list(range(torch.cuda.device_count()))
    asked = launcher.params.get("gpus_per_node")
    wanted = min(len(gpus), 1 if asked is None else asked)
    if not wanted:
        return {"gpus_per_node": 0}
    chosen = tuple(gpus[(place * wanted + n) % len(gpus)] for n in range(wanted))
    return {"gpus_per_node": wanted, "visible_gpus": chosen}


def _crashes(jobs: Any) -> list[str]:
    """Returns a line for each finished job that has no result: its process died."""
    lines = []
    for overrides, job in jobs:
        try:
            job.results()
        except Exception as error:  # submitit passes on whatever ended the process
            lines.append(_line(overrides, error))
    return lines


def _terminate(jobs: Sequence[Any]) -> None:
    """Ends local jobs. Not by SIGINT, as submitit would: shells let background jobs ignore it."""
    deadline = time.monotonic() + CANCEL_S
    while time.monotonic() < deadline:
        alive = [job for job in jobs if not job.done()]
        if not alive:
            return
        for job in alive:  # again and again: one that has not begun yet ignores it
            job._process.send_signal(signal.SIGTERM)
        time.sleep(5 * POLL_S)


# --- Ray ------------------------------------------------------------------------------------


def _launch_on_ray(launcher: Any, context: HydraContext, jobs: Sequence[Overrides]) -> list[str]:
    """Hands all jobs to Ray, which starts as many at once as its cores and GPUs allow."""
    import ray

    _start_ray(OmegaConf.to_container(launcher.ray_cfg.init, resolve=True))
    options: Any = OmegaConf.to_container(launcher.ray_cfg.remote, resolve=True)
    if options.get("num_gpus") is None:
        options["num_gpus"] = int(ray.cluster_resources().get("GPU", 0) > 0)
    remote = ray.remote(**options)(run_in_worker)
    try:
        shared = ray.put((context, launcher.config, launcher.task_function, Singleton.get_state()))
        waiting = {remote.remote(shared, n, list(job)): job for n, job in enumerate(jobs)}
        return _collect(ray, waiting)
    except BaseException:
        ray.shutdown()  # and with it the workers
        raise


def _collect(ray: Any, waiting: dict[Any, Overrides]) -> list[str]:
    lines = []
    while waiting:
        for done in ray.wait(list(waiting), timeout=0)[0]:
            overrides = waiting.pop(done)
            try:
                ray.get(done)
            except Exception as error:  # Ray passes on whatever ended the process
                lines.append(_line(overrides, error))
        time.sleep(POLL_S)  # here, and not inside of Ray, signals find this process
    return lines


def _start_ray(init: Any) -> None:
    import ray

    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with _signal_handlers_kept():
        try:
            ray.init(**init)
        except SystemExit as ended:  # its own handler of SIGTERM
            raise Terminated from ended


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Puts back the handlers that Ray replaces with its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_in_worker(shared: tuple[Any, ...], index: int, overrides: list[str]) -> None:
    """Composes and runs one job in a worker of Ray; how it ended is in the store."""
    context, master, function, singletons = shared
    setup_globals()
    Singleton.set_state(singletons)
    config = context.config_loader.load_sweep_config(master, overrides)
    with open_dict(config):
        config.hydra.job.id = f"job_id_for_{index}"
        config.hydra.job.num = index
    HydraConfig.instance().set_config(config)
    run_job(
        hydra_context=context,
        task_function=function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
