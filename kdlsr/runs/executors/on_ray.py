"""Ray: jobs wherever its cluster has cores and GPUs for them."""

import dataclasses
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from kdlsr.config import AtLeast
from kdlsr.config.entry import Terminated
from kdlsr.runs.executors.job import Capacity, Crash, Job, JobFunction, died, worker_of

POLL_S = 0.1
Count = Annotated[int, AtLeast(0)]


@dataclass(frozen=True, kw_only=True)
class InitSettings:
    """Of `ray.init`: which cluster, or how much of this machine for one of its own.

    `more` is what else it takes.
    """

    address: str | None = None
    num_cpus: Count | None = None
    num_gpus: Count | None = None
    object_store_memory: Count | None = None
    include_dashboard: bool = False
    log_to_driver: bool = False
    logging_level: str | int = "error"
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RemoteSettings:
    """Of each job: its cores, and so threads; its GPUs; how often it is started again.

    `num_gpus` None is a whole one, where there are any; `more` is what else `ray.remote` takes.
    """

    num_cpus: Annotated[float, AtLeast(0)] = 1
    num_gpus: Annotated[float, AtLeast(0)] | None = None
    max_retries: Annotated[int, AtLeast(-1)] = 0
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RayCalls:
    """What Ray is called with."""

    init: InitSettings = field(default_factory=InitSettings)
    remote: RemoteSettings = field(default_factory=RemoteSettings)


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """The settings of the launcher `ray`."""

    ray: RayCalls = field(default_factory=RayCalls)


class OnRay:
    """Hands all jobs to Ray, which starts as many at once as its cores and GPUs allow."""

    def __init__(self, settings: RaySettings) -> None:
        self.settings = settings.ray

    @property
    def capacity(self) -> Capacity:
        """As Ray has it."""
        return Capacity(None, max(1, int(self.settings.remote.num_cpus)))

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> list[Crash]:
        """Waits for all jobs; ends Ray, and with it the workers, when it is interrupted."""
        import ray

        _start(_arguments(self.settings.init))
        options = _arguments(self.settings.remote)
        if options["num_gpus"] is None:
            options["num_gpus"] = int(ray.cluster_resources().get("GPU", 0) > 0)
        worker = worker_of(function, max(1, int(options["num_cpus"])))
        remote = ray.remote(**options)(_work)
        try:
            shared = ray.put(worker)
            return _collect({remote.remote(shared, job): job for job in jobs})
        except BaseException:
            ray.shutdown()
            raise

    def close(self) -> None:
        """Leaves what it keeps to Ray, whose processes end with this one, or are a cluster's."""


def _arguments(settings: InitSettings | RemoteSettings) -> dict[str, Any]:
    values: dict[str, Any] = dataclasses.asdict(settings)
    values |= values.pop("more")
    return values


def _work(worker: JobFunction, job: Job) -> object:
    return worker(job)


def _collect(waiting: dict[Any, Job]) -> list[Crash]:
    import ray

    crashes = []
    while waiting:
        for done in ray.wait(list(waiting), timeout=0)[0]:
            job = waiting.pop(done)
            try:
                reason = ray.get(done)
            except Exception as error:  # Ray passes on whatever ended the process
                reason = died(error)
            if reason is not None:
                crashes.append(Crash(job, reason))
        time.sleep(POLL_S)  # here, and not inside of Ray, signals find this process
    return crashes


def _start(init: dict[str, Any]) -> None:
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
