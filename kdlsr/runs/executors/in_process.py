"""One job after the other, in this process."""

from collections.abc import Sequence

from kdlsr.runs.executors.job import Capacity, Crash, Job, JobFunction, reason_of_failure


class InProcess:
    """Runs jobs here; each may use all cores."""

    capacity = Capacity(jobs=1, cores=None)

    def run(self, function: JobFunction, jobs: Sequence[Job]) -> list[Crash]:
        """Runs each job in turn; an interruption ends the first and is passed on."""
        reasons = [(job, reason_of_failure(function, job)) for job in jobs]
        return [Crash(job, reason) for job, reason in reasons if reason is not None]

    def close(self) -> None:
        """Keeps nothing."""
