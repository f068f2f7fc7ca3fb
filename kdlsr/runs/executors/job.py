"""A job as it travels: plain, typed, pickled; and what a worker does with it."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kdlsr.config.compose import add_config_folder, added_config_folder, compose_config
from kdlsr.config.errors import in_a_line
from kdlsr.config.overrides import Overrides
from kdlsr.config.schema import RunConfig, read_config
from kdlsr.machine.interruption import pass_on


@dataclass(frozen=True)
class Job:
    """One run to be brought to completion, or so far as it has to teach.

    Attributes:
        overrides: of `kdlsr.train`.
        keep_epochs: at which it teaches, besides those that the overrides keep.
        until: no further than this epoch.
        only_teaches: whether nobody asked for its own result.
        cores: that it may use; None: all of the machine's.
    """

    overrides: Overrides
    keep_epochs: tuple[int, ...] = ()
    until: int | None = None
    only_teaches: bool = False
    cores: int | None = None

    def config(self) -> RunConfig:
        """Composes the job's config, wherever this is.

        Raises:
            UserError: it is not possible.
        """
        config = read_config(compose_config(self.overrides.texts()))
        kept = tuple(sorted({*config.keep_epochs, *self.keep_epochs}))
        until = config.until if self.until is None else self.until
        return dataclasses.replace(config, keep_epochs=kept, until=until)

    def __str__(self) -> str:
        return f"the job {' '.join(self.overrides.texts())}"


JobFunction = Callable[[Job], object]
Told = Callable[[Exception], object]


@dataclass(frozen=True)
class Crash:
    """A job that ended without doing what it was to do, and what is known of why."""

    job: Job
    reason: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.job})"


@dataclass(frozen=True)
class Capacity:
    """What an executor has for jobs.

    Attributes:
        jobs: how many run at once; those on one GPU share it, and count as one. None: that is a
            cluster's to say.
        cores: that each may use; None: all of this machine's.
    """

    jobs: int | None
    cores: int | None


class Executor(Protocol):
    """Runs jobs; one that fails does not stop the others."""

    @property
    def capacity(self) -> Capacity:
        """What it has for jobs; nothing is started."""

    def close(self) -> None:
        """Ends what was kept for further jobs. An executor that is closed starts anew."""

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> list[Crash]:
        """Returns when all have ended; how, is in the store.

        An interruption stops those that run before it is passed on.

        Returns:
            The jobs that raised, or whose process died.
        """


@dataclass(frozen=True)
class Worker:
    """What is done with a job in any process: where the command was typed, with its options.

    A worker of a cluster starts elsewhere, and `outputs/` is relative.
    """

    function: JobFunction
    folder: Path
    config_folder: Path | None
    cores: int | None

    def __call__(self, job: Job, tell: Told = lambda _: None) -> str | None:
        """Runs a job; returns the reason where it could not, for errors do not travel well."""
        os.chdir(self.folder)
        add_config_folder(self.config_folder)
        return reason_of_failure(self.function, dataclasses.replace(job, cores=self.cores), tell)


def reason_of_failure(function: JobFunction, job: Job, tell: Told = lambda _: None) -> str | None:
    """Calls a function on a job; returns what it raised, in a line, and tells it whole."""
    try:
        function(job)
    except Exception as error:  # of any kind: the other jobs go on
        pass_on(error)
        tell(error)
        return in_a_line(error)
    return None


def worker_of(function: JobFunction, cores: int | None) -> Worker:
    """Returns what runs `function` on a job elsewhere as it would be run here."""
    return Worker(function, Path.cwd(), added_config_folder(), cores)


def died(error: Exception) -> str:
    """Says in one line what an executor says of a dead process in many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # submitit and Ray pass on what the process printed, the last of it last.
    has_output = any(mark in str(error) for mark in ("Traceback", "stream produced:"))
    told = (lines[-1] if has_output else lines[0]) if lines else ""
    return f"a job's process died: {type(error).__name__}: {told}"
