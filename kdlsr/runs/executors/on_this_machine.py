"""Jobs in processes of this machine that are kept: as many at once as its cores and GPUs allow.

Each is waited for, whatever becomes of the others; none is left behind by an interruption.
"""

import datetime
import functools
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Annotated

from kdlsr.config import AtLeast
from kdlsr.config.compose import relative_to_here
from kdlsr.machine.cores import available_cores
from kdlsr.machine.gpus import VISIBLE, visible_gpus
from kdlsr.machine.mps import Mps, NoMps, can_be_started
from kdlsr.runs.executors.cards import Card, JobsPerGpu
from kdlsr.runs.executors.job import Capacity, Crash, Job, JobFunction, Worker, worker_of
from kdlsr.runs.executors.kept import END_S, KeptProcess, Report

MINUTE_S = 60.0
POLL_S = 0.5  # at which a process is looked for that died and left its pipe to another
SHORT_S = 600.0  # a process that has had a longer job is not kept: a new one costs it nothing
MPS_OFF = "hydra.launcher.mps=false is without this line"
Count = Annotated[int, AtLeast(1)]


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """The settings of the launcher `local`.

    Attributes:
        log_folder: where what the runs print goes, a file for each process.
        timeout_min: of one run.
        cpus_per_task: cores, and so threads, of a run.
        gpus_per_node: GPUs that a run sees; None: one, where there are any.
        jobs_per_gpu: runs at once on each of them.
        mps: whether they are under NVIDIA's MPS, where that is to be had.
        device: of the runs; on `cpu` none sees a GPU.
    """

    log_folder: str
    timeout_min: Count = 43200
    cpus_per_task: Count | None = 1
    gpus_per_node: Annotated[int, AtLeast(0)] | None = None
    jobs_per_gpu: JobsPerGpu = "auto"
    mps: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        number = self.device.removeprefix("cuda:")
        if number.isdecimal() and int(number) >= (self.gpus_per_node or 1):
            raise ValueError(
                f"device={self.device}: each run sees its own GPU as cuda:0; say which GPUs there "
                "are by CUDA_VISIBLE_DEVICES"
            )


class OnThisMachine:
    """Gives each job to a process that has none, and starts as many of those as are needed."""

    def __init__(self, settings: LocalSettings) -> None:
        self.settings = settings
        self._places = max(1, available_cores() // (settings.cpus_per_task or 1))
        self._processes: list[KeptProcess] = []
        self._started = 0
        self._mps: Mps | None = None

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> list[Crash]:
        """Runs the jobs; ends those that run when it is interrupted."""
        worker = worker_of(function, self.settings.cpus_per_task)
        waiting, crashes = deque(jobs), list[Crash]()
        try:
            while waiting or any(self._busy()):
                self._begin(worker, waiting)
                self._wait()
                for process in list(self._busy()):
                    crashes += self._end(process, waiting)
        except BaseException:
            self._stop_all()
            raise
        return crashes

    def close(self) -> None:
        """Ends the processes, which have nothing to do, and MPS."""
        for process in self._processes:
            process.say_goodbye()
        self._wait_for_ends()

    @property
    def capacity(self) -> Capacity:
        """As many jobs as there are places, or GPUs."""
        jobs = sum(1 if card.gpus else card.limit for card in self.cards)
        return Capacity(min(jobs, self._places), self.settings.cpus_per_task)

    @functools.cached_property
    def cards(self) -> list[Card]:
        """Where runs compute: the visible GPUs in turn."""
        gpus = () if self.settings.device == "cpu" else visible_gpus()
        asked = self.settings.gpus_per_node
        wanted = min(len(gpus), 1 if asked is None else asked)
        if not wanted:
            return [Card((), self._places)]
        groups = range(len(gpus) // wanted)
        jobs = self.settings.jobs_per_gpu
        return [Card(gpus[g * wanted : (g + 1) * wanted], jobs) for g in groups]

    def _busy(self) -> Iterator[KeptProcess]:
        return (process for process in self._processes if process.given is not None)

    def _begin(self, worker: Worker, waiting: deque[Job]) -> None:
        """Gives out jobs as long as there is a place for one."""
        while waiting and sum(card.running for card in self.cards) < self._places:
            card = min(self.cards, key=lambda card: card.running / card.limit)
            if not card.has_room:
                return
            process = self._process_for(waiting[0], card)
            try:
                process.give(worker, waiting[0])
            except OSError:  # it has died just now, without a job
                self._drop(process)
                continue
            waiting.popleft()

    def _process_for(self, job: Job, card: Card) -> KeptProcess:
        suits = job.overrides.get("deterministic")  # CUDA's libraries keep it for good
        free = [p for p in self._processes if p.given is None and p.card is card]
        for process in free:
            if process.is_alive and process.suits == suits:
                return process
        for process in free:
            self._drop(process)
        self._started += 1
        process = KeptProcess(card, suits, self._log(), self._environment_of(card))
        self._processes.append(process)
        return process

    def _log(self) -> Path:
        folder = relative_to_here(self.settings.log_folder)
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        return folder.absolute() / f"{now}-{os.getpid()}-{self._started}.log"

    @functools.cached_property
    def environment(self) -> Mapping[str, str]:
        """What processes are told beside this one's variables; MPS is started, if it is to be."""
        gpus = [name for card in self.cards for name in card.gpus]
        shared = gpus and self.settings.jobs_per_gpu != 1
        if not (shared and self.settings.mps and can_be_started()):
            return {}
        try:
            self._mps = Mps(gpus)
        except NoMps as reason:
            sys.stderr.write(f"kdlsr: without NVIDIA's MPS: {reason} ({MPS_OFF})\n")
            return {}
        return self._mps.environment

    def _environment_of(self, card: Card) -> Mapping[str, str]:
        shared = self.environment  # MPS is there from now on, or is not
        gpus = self._mps.as_clients_name(card.gpus) if self._mps else card.gpus
        return {**shared, VISIBLE: ",".join(gpus)}  # before torch is imported

    def _wait(self) -> None:
        """Returns when a process has something to tell, or may have died."""
        wait([process.connection for process in self._busy()], POLL_S)

    def _end(self, process: KeptProcess, waiting: deque[Job]) -> list[Crash]:
        """Sees whether a process is through with its job, and what came of it."""
        report = process.report() or self._overdue(process)
        if report is None:
            return []
        given = process.taken()
        card, memory = process.card, report.memory
        card.learn(memory)
        too_many = sum(other.card is card for other in self._processes) > card.limit
        is_fit = process.is_alive and not report.is_last
        if too_many or not is_fit or time.monotonic() - given.began > SHORT_S:
            self._drop(process)
        if memory.was_short and card.gives_way(card.running, given.limit):
            waiting.appendleft(given.job)
            return []
        return [] if report.reason is None else [Crash(given.job, report.reason)]

    def _overdue(self, process: KeptProcess) -> Report | None:
        """Ends a process whose job has taken too long."""
        assert process.given is not None
        minutes = self.settings.timeout_min
        if time.monotonic() - process.given.began < MINUTE_S * minutes:
            return None
        process.stop()
        process.wait(time.monotonic() + END_S)
        return Report(f"it took longer than hydra.launcher.timeout_min={minutes} allows")

    def _drop(self, process: KeptProcess) -> None:
        process.say_goodbye()
        self._processes.remove(process)

    def _stop_all(self) -> None:
        for process in self._processes:
            process.stop()
        self._wait_for_ends()

    def _wait_for_ends(self) -> None:
        deadline = time.monotonic() + END_S
        for process in self._processes:
            process.wait(deadline)
        self._processes.clear()
        if self._mps is not None:
            self._mps.end()
        self._mps = None
        self.__dict__.pop("environment", None)
