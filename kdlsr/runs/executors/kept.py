"""A process that is kept for job after job, as its command sees it: started, given jobs, ended.

What it does with a job is `kept_process`'s; which job it gets, `on_this_machine`'s.
"""

import pickle
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path

from kdlsr.files import opened_log
from kdlsr.machine.processes import start_python
from kdlsr.runs.executors.cards import Card, Memory
from kdlsr.runs.executors.job import Job, Worker

END_S = 30.0  # for a process that was told to stop
DEATH_S = 5.0  # between the end of a process's pipe and its own
GOODBYE = b""
NOTHING_TOLD = Memory()


@dataclass(frozen=True)
class Report:
    """What a process tells of a job that it has carried out.

    Attributes:
        reason: what it raised, in a line; None: nothing.
        memory: of the process's GPU.
        is_last: whether the process is fit for no other.
    """

    reason: str | None
    memory: Memory = NOTHING_TOLD
    is_last: bool = False


@dataclass(frozen=True)
class Given:
    """A job that a process has been given.

    Attributes:
        job: which.
        began: when, by the monotonic clock.
        limit: how many runs its card might have had then.
    """

    job: Job
    began: float
    limit: int


class KeptProcess:
    """One process and what it is doing.

    Attributes:
        card: where it computes.
        suits: what all its jobs have in common, for a process keeps it for good.
        log: what its jobs print.
        given: the job that it has; None: it waits for one.
    """

    def __init__(
        self, card: Card, suits: object, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.card, self.suits, self.log = card, suits, log
        self.given: Given | None = None
        self.connection, theirs = Pipe()
        number = theirs.fileno()
        with opened_log(log) as output:
            self._process = start_python(
                "kdlsr.runs.executors.kept_process",
                [str(number)],
                output,
                environment=environment,
                passed=[number],
            )
        theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether it can still do anything."""
        return self._process.poll() is None

    def give(self, worker: Worker, job: Job) -> None:
        """Has it begin a job.

        Raises:
            OSError: it has died.
        """
        self.connection.send_bytes(pickle.dumps((worker, job)))
        self.given = Given(job, time.monotonic(), self.card.limit)
        self.card.running += 1

    def taken(self) -> Given:
        """Returns the job that it has ended with, and is without one."""
        assert self.given is not None
        given, self.given = self.given, None
        self.card.running -= 1
        return given

    def report(self) -> Report | None:
        """Returns what it tells of its job; None: nothing yet, and it is alive.

        A process that has died is told of in its place.
        """
        was_alive = self.is_alive  # what it said just before its end is not missed
        try:
            if self.connection.poll():
                report = self.connection.recv()
                assert isinstance(report, Report)
                return report
        except (EOFError, OSError):
            was_alive = False
        return None if was_alive else Report(self._death())

    def say_goodbye(self) -> None:
        """Lets it end when it has nothing to do, which is now."""
        with suppress(OSError):  # it is gone
            self.connection.send_bytes(GOODBYE)
        self.connection.close()

    def stop(self) -> None:
        """Has it end amid its job, tidily, as an interruption does."""
        self.connection.close()

    def wait(self, deadline: float) -> None:
        """Waits for its end, and does not wait for ever."""
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _death(self) -> str:
        try:
            code = self._process.wait(DEATH_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"a job's process died: {_of_code(code)}; what it printed is in {self.log}"


def _of_code(code: int) -> str:
    if code >= 0:
        return f"it ended with {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, which the system sends too where memory is short" if code == -9 else name
