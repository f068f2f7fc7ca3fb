"""How long a plan will take here: as runs like its own took, else by measured paces.

Nothing is trained for it but what measures a pace.
"""

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kdlsr.config.compose import relative_to_here
from kdlsr.runs.executors import Capacity
from kdlsr.runs.paces import Measure, Paces, known_paces, pace_key
from kdlsr.runs.plan import Run
from kdlsr.tables.estimate import epochs_left, known_times, seconds_of_epoch
from kdlsr.tables.launching import DONE
from kdlsr.tables.plan import JobState, Plan, PlannedJob

SecondsLeft = Mapping[str, float | None]


@dataclass(frozen=True)
class Forecast:
    """What is left of a plan.

    Attributes:
        seconds: of each run that is not complete, by run_id; None: not known.
        measured: how many of these are of a measured pace.
        jobs: how many run at once; None: not known.
        at_once: seconds of all, with so many at once; None where that or a run is not known.
    """

    seconds: SecondsLeft
    measured: int
    jobs: int | None
    at_once: float | None


@dataclass(frozen=True)
class Forecaster:
    """Tells how long plans will take.

    Attributes:
        capacity: of what will run them.
        tell: takes a line before anything is measured.
        measure: a run's network, given threads and seconds; None: nothing is measured.
    """

    capacity: Capacity
    tell: Callable[[str], None]
    measure: Measure | None = None

    def of(self, plan: Plan, found: Mapping[str, JobState]) -> Forecast:
        """Returns how long what is not complete will take.

        Raises:
            UserError: a network to be measured cannot be built.
        """
        left = [job for job in plan.jobs if found[job.run.run_id] not in DONE]
        times = known_times({relative_to_here(job.run.config.output_dir) for job in plan.jobs})
        of_epoch: dict[str, float | None] = {}  # by cell_id: the seed makes no difference
        for job in left:
            if job.run.cell_id not in of_epoch:
                of_epoch[job.run.cell_id] = seconds_of_epoch(times, job.run)
        unknown = [job for job in left if of_epoch[job.run.cell_id] is None]
        by_pace = self._by_pace(unknown)
        seconds: dict[str, float | None] = {}
        for job in left:
            each, run_id = of_epoch[job.run.cell_id], job.run.run_id
            seconds[run_id] = by_pace[run_id] if each is None else epochs_left(job) * each
        measured = sum(value is not None for value in by_pace.values())
        jobs = self.capacity.jobs
        return Forecast(seconds, measured, jobs, _at_once(plan, seconds, jobs))

    def _by_pace(self, jobs: Sequence[PlannedJob]) -> dict[str, float | None]:
        """Returns each job's seconds by its network's pace.

        A teacher's outputs are made by the first student that sees a view; others read them.
        """
        paces = self._paces([job.run for job in jobs])
        made: set[tuple[object, ...]] = set()
        found: dict[str, float | None] = {}
        for job in jobs:
            run = job.run
            pace, counts = paces.get(self._key(run)), _counts(run)
            if pace is None or counts is None:
                found[run.run_id] = None
                continue
            trained, tested = counts
            each = pace.step * trained / run.config.schedule.batch_size + pace.answer * tested
            answering = _answering(run, made)
            if answering is not None:
                teaching = paces.get(self._key(answering))
                each += teaching.answer * trained if teaching else 0.0
            found[run.run_id] = epochs_left(job) * each
        return found

    def _paces(self, runs: Sequence[Run]) -> Paces:
        """Returns the paces of some runs' networks and of those that teach them."""
        if not runs or self.measure is None:
            return {}
        teachers = [run.teacher_run for run in runs if run.teacher_run is not None]
        root = relative_to_here(runs[0].config.output_dir)
        asked = {run.cell_id: run for run in (*runs, *teachers)}  # the seed makes no difference
        return known_paces(asked.values(), root, self.capacity.cores, self.tell, self.measure)

    def _key(self, run: Run) -> str:
        return pace_key(run, self.capacity.cores)


def _answering(run: Run, made: set[tuple[object, ...]]) -> Run | None:
    """Returns whose network answers each of a run's training views besides; None: nobody's.

    Args:
        run: in a plan.
        made: which outputs of teachers the runs before it have made; extended here.
    """
    if run.teacher is None or not run.loss.needs_teacher:
        return None
    if run.teacher.own_past:
        return run
    outputs = (run.teacher.name, run.teacher.epoch, run.config.data_seed)
    if outputs in made:
        return None
    made.add(outputs)
    return run.teacher_run


def _counts(run: Run) -> tuple[int, int] | None:
    """Returns how many samples an epoch trains on, and how many it evaluates; None: not known."""
    data, facts = run.config.dataset, run.facts
    if facts.train is None or facts.test is None:
        return None
    held_out = round(facts.train * data.val_fraction)
    trained = min(data.subset or facts.train, facts.train - held_out)
    return trained, facts.test + held_out + (trained if run.config.train_metrics else 0)


def _at_once(plan: Plan, seconds: SecondsLeft, jobs: int | None) -> float | None:
    """Returns the length of all layers, one after the other, each begun in its order."""
    if jobs is None or None in seconds.values():
        return None
    total = 0.0
    for layer in plan.layers:
        ends = [0.0] * jobs
        for job in layer:
            heapq.heappush(ends, heapq.heappop(ends) + (seconds.get(job.run.run_id) or 0.0))
        total += max(ends)
    return total
