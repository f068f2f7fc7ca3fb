"""A plan carried out: layer by layer, what is complete left alone, what cannot start named."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

from kdlsr.runs.executors import Executor, JobFunction
from kdlsr.tables.plan import JobState, Plan, PlannedJob

DONE: tuple[JobState, ...] = ("complete", "not needed")
WILL_RUN: tuple[JobState, ...] = ("failed", "incomplete", "not started")


@dataclass
class Outcome:
    """How a plan's jobs ended.

    Attributes:
        states: by run_id.
        reasons: why jobs ended badly, by run_id, as far as their processes could say so.
    """

    states: dict[str, JobState] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def unfinished(self) -> list[str]:
        """The run_ids of all that is not complete."""
        return [run_id for run_id, state in self.states.items() if state not in DONE]


def carry_out(
    plan: Plan,
    executor: Executor,
    function: JobFunction,
    announce: Callable[[int, Sequence[PlannedJob]], None],
    leave: Set[str] = frozenset(),
) -> Outcome:
    """Runs what is not complete, a layer after the other; a failure stops its dependents only.

    Args:
        plan: tables and jobs.
        executor: runs the jobs of one layer and returns when all have ended.
        function: what is done with a job.
        announce: given the number of a layer and the jobs that are about to start.
        leave: the run_ids of jobs that are not started again.
    """
    outcome = Outcome()
    for number, layer in enumerate(plan.layers):
        found = states(plan, whole=True)
        will_run = [job for job in layer if found[job.run.run_id] in WILL_RUN]
        ready = [job for job in will_run if job.run.run_id not in leave]
        if ready:
            announce(number, ready)
            jobs = {planned.job: planned for planned in ready}
            for crash in executor.run(function, list(jobs)):
                outcome.reasons[jobs[crash.job].run.run_id] = crash.reason
    outcome.states = states(plan)
    return outcome


def states(plan: Plan, *, whole: bool = False) -> dict[str, JobState]:
    """Returns how far each job is, by run_id, as the store has it.

    *Not needed* is one that only teaches, once all that it taught are complete; *not run* one
    whose teacher is not there (it failed, or has not been made yet). `whole`: as for
    `RunFolder.read`, and costs the reading of all logits.
    """
    found = {job.run.run_id: job.state(whole=whole) for job in plan.jobs}
    students: dict[str, list[str]] = {}
    for job in plan.jobs:
        if job.teacher is not None:
            students.setdefault(job.teacher, []).append(job.run.run_id)
    for job in reversed(plan.jobs):  # students before their teachers
        taught = students.get(job.run.run_id, []) if job.only_teaches else []
        if taught and all(found[student] in DONE for student in taught):
            found[job.run.run_id] = "not needed"
    by_id = {job.run.run_id: job for job in plan.jobs}
    for job in plan.jobs:
        waits = job.teacher is not None and not by_id[job.teacher].can_teach()
        if found[job.run.run_id] not in DONE and waits:
            found[job.run.run_id] = "not run"
    return found
