"""submitit: an array of jobs on Slurm, each waited for, whatever becomes of the others."""

import dataclasses
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from kdlsr.config import AtLeast
from kdlsr.runs.executors.job import Capacity, Crash, Job, JobFunction, Worker, died, worker_of

if TYPE_CHECKING:
    import submitit

SLURM_POLL_S = 1.0
Count = Annotated[int, AtLeast(1)]


@dataclass(frozen=True, kw_only=True)
class EveryClusters:
    """What submitit asks for each job on any cluster.

    Attributes:
        submitit_folder: where it keeps its files; `%j` is the job's number.
        timeout_min: of one run.
        cpus_per_task: cores, and so threads, of a run.
        gpus_per_node: GPUs that a run sees.
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
class SlurmSettings(EveryClusters):
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
    """A worker in a process of submitit's, which is queued again."""

    worker: Worker

    def __call__(self, job: Job) -> str | None:
        return self.worker(job)

    def checkpoint(self, job: Job) -> "submitit.helpers.DelayedSubmission":
        """Submits a job again that met its time limit or was preempted: it goes on."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, job)


class SlurmArray:
    """Jobs as one array of Slurm's."""

    def __init__(self, settings: SlurmSettings) -> None:
        self.settings = settings

    @property
    def capacity(self) -> Capacity:
        """As Slurm has it."""
        return Capacity(None, self.settings.cpus_per_task)

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> list[Crash]:
        """Submits the jobs and waits; cancels them when it is interrupted."""
        worker = worker_of(function, self.settings.cpus_per_task)
        executor = _executor(self.settings)
        submitted = executor.map_array(OfSubmitit(worker), jobs)
        try:
            while not all(process.done() for process in submitted):
                time.sleep(SLURM_POLL_S)
        except BaseException:
            for process in submitted:
                process.cancel(check=False)
            raise
        return _crashes(zip(jobs, submitted, strict=True))

    def close(self) -> None:
        """Keeps nothing."""


def _executor(settings: SlurmSettings) -> "submitit.AutoExecutor":
    """Returns submitit's executor, its own parameters under the names that it gives them."""
    import submitit

    values = dataclasses.asdict(settings)
    folder, timeouts = values.pop("submitit_folder"), values.pop("max_num_timeout")
    every_clusters = {f.name for f in dataclasses.fields(EveryClusters)}
    named = {key if key in every_clusters else f"slurm_{key}": v for key, v in values.items()}
    if named["slurm_setup"] is not None:
        named["slurm_setup"] = list(named["slurm_setup"])
    executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=timeouts)
    executor.update_parameters(**named)
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
