"""submitit: a process for each job on this machine, or an array of jobs on Slurm.

Each job is waited for, whatever becomes of the others; as many run at once on this machine as its
cores allow, GPUs in turn; none is left behind by an interruption.
"""

import dataclasses
import os
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import torch

from kdlsr.config import AtLeast
from kdlsr.config.entry import Terminated
from kdlsr.machine.cores import available_cores
from kdlsr.machine.interruption import interrupt
from kdlsr.runs.executors.job import Crash, Job, JobFunction, Worker, died, worker_of

if TYPE_CHECKING:
    import submitit

POLL_S = 0.1
SLURM_POLL_S = 1.0
CANCEL_S = 30.0  # for jobs that were told to stop
Count = Annotated[int, AtLeast(1)]


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """What submitit asks for each job, on this machine as on Slurm.

    Attributes:
        submitit_folder: where it keeps its files; `%j` is the job's number.
        timeout_min: of one run.
        cpus_per_task: cores, and so threads, of a run.
        gpus_per_node: GPUs that a run sees; None: one, where there are any.
    """

    submitit_folder: str
    timeout_min: Count = 43200
    cpus_per_task: Count | None = 1
    gpus_per_node: Annotated[int, AtLeast(0)] | None = None
    tasks_per_node: Count = 1
    mem_gb: Annotated[float, AtLeast(0)] | None = None
    nodes: Count = 1
    name: str = "kdlsr"
    stderr_to_stdout: bool = False


@dataclass(frozen=True, kw_only=True)
class SlurmSettings(LocalSettings):
    """What only Slurm knows: submitit's parameters of the same names, after `slurm_`."""

    partition: str | None = None
    qos: str | None = None
    comment: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    gres: str | None = None
    cpus_per_gpu: Count | None = None
    gpus_per_task: Count | None = None
    mem_per_gpu: str | None = None
    mem_per_cpu: str | None = None
    account: str | None = None
    signal_delay_s: Annotated[int, AtLeast(0)] = 120
    max_num_timeout: Annotated[int, AtLeast(0)] = 100
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    array_parallelism: Count = 64
    setup: tuple[str, ...] | None = None


@dataclass(frozen=True)
class OfSubmitit:
    """A worker in a process of submitit's: it is queued again, and SIGTERM ends it tidily."""

    worker: Worker
    ends_at_sigterm: bool

    def __call__(self, job: Job) -> str | None:
        if self.ends_at_sigterm:  # submitit has it ignored
            signal.signal(signal.SIGTERM, _terminate_once)
        return self.worker(job)

    def checkpoint(self, job: Job) -> "submitit.helpers.DelayedSubmission":
        """Submits a job again that met its time limit or was preempted: it goes on."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, job)


def _terminate_once(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is being tidied up is left in peace
    interrupt(Terminated)


class SlurmArray:
    """Jobs as one array of Slurm's."""

    def __init__(self, settings: SlurmSettings) -> None:
        self.settings = settings

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> list[Crash]:
        """Submits the jobs and waits; cancels them when it is interrupted."""
        worker = worker_of(function, self.settings.cpus_per_task)
        executor = _executor("slurm", self.settings)
        submitted = executor.map_array(OfSubmitit(worker, ends_at_sigterm=False), jobs)
        try:
            while not all(process.done() for process in submitted):
                time.sleep(SLURM_POLL_S)
        except BaseException:
            for process in submitted:
                process.cancel(check=False)
            raise
        return _crashes(zip(jobs, submitted, strict=True))


class LocalProcesses:
    """Jobs in processes of this machine, as many at once as its cores allow."""

    def __init__(self, settings: LocalSettings) -> None:
        self.settings = settings

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> list[Crash]:
        """Starts a job wherever a place is free; ends those that run when it is interrupted."""
        cores = self.settings.cpus_per_task
        call = OfSubmitit(worker_of(function, cores), ends_at_sigterm=True)
        places = range(max(1, available_cores() // (cores or 1)))
        executors = [_executor("local", self.settings, **self.gpus_of(place)) for place in places]
        waiting = list(jobs)
        running: dict[int, tuple[Job, Any]] = {}
        crashes: list[Crash] = []
        try:
            while waiting or running:
                for place, executor in enumerate(executors):
                    if place in running and running[place][1].done():
                        crashes += _crashes([running.pop(place)])
                    if place not in running and waiting:
                        job = waiting.pop(0)
                        running[place] = (job, executor.submit(call, job))
                time.sleep(POLL_S)
        except BaseException:
            _terminate([process for _, process in running.values()])
            raise
        return crashes

    def gpus_of(self, place: int) -> dict[str, Any]:
        """Returns which GPUs a job sees: submitit would hide all, or show all jobs the first."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if all(name.isdecimal() for name in visible):
            gpus = [int(name) for name in visible]
        else:
            gpus = list(range(torch.cuda.device_count()))
        asked = self.settings.gpus_per_node
        wanted = min(len(gpus), 1 if asked is None else asked)
        if not wanted:
            return {"gpus_per_node": 0}
        chosen = tuple(gpus[(place * wanted + n) % len(gpus)] for n in range(wanted))
        return {"gpus_per_node": wanted, "local_visible_gpus": chosen}


def _executor(cluster: str, settings: LocalSettings, **more: Any) -> "submitit.AutoExecutor":
    """Returns submitit's executor, its own parameters under the names that it gives them."""
    import submitit

    values = dataclasses.asdict(settings)
    folder, timeouts = values.pop("submitit_folder"), values.pop("max_num_timeout", None)
    every_clusters = {f.name for f in dataclasses.fields(LocalSettings)}
    named = {key if key in every_clusters else f"{cluster}_{key}": v for key, v in values.items()}
    if "slurm_setup" in named and named["slurm_setup"] is not None:
        named["slurm_setup"] = list(named["slurm_setup"])
    known = {} if timeouts is None else {f"{cluster}_max_num_timeout": timeouts}
    executor = submitit.AutoExecutor(folder, cluster=cluster, **known)
    executor.update_parameters(**named | more)
    return executor


def _crashes(processes: Iterable[tuple[Job, "submitit.Job[str | None]"]]) -> list[Crash]:
    """Returns the finished jobs that raised, or have no result: their process died."""
    crashes = []
    for job, process in processes:
        try:
            reasons = [reason for reason in process.results() if reason is not None]
        except Exception as error:  # submitit passes on whatever ended the process
            reasons = [died(error)]
        crashes += [Crash(job, reason) for reason in reasons[:1]]
    return crashes


def _terminate(processes: "Sequence[submitit.Job[str | None]]") -> None:
    """Ends local jobs. Not by SIGINT, as submitit would: shells let background jobs ignore it."""
    deadline = time.monotonic() + CANCEL_S
    while time.monotonic() < deadline:
        alive = [process for process in processes if not process.done()]
        if not alive:
            return
        for process in alive:  # again and again: one that has not begun yet ignores it
            os.kill(int(process.job_id), signal.SIGTERM)  # its number is its process's
        time.sleep(5 * POLL_S)
