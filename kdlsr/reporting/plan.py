"""The terminal: what a plan would run, in which layer, and what did not come to its end."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from kdlsr.config.compose import relative_to_here
from kdlsr.runs.execute import store_of
from kdlsr.tables.estimate import Times, epochs_left, known_times
from kdlsr.tables.launching import DONE, states
from kdlsr.tables.plan import JobState, Plan, PlannedJob


def print_plan(console: Console, plan: Plan) -> None:
    """Prints each layer's runs, a line for runs that differ in the seed only; starts nothing."""
    found = states(plan)
    total = _Total()
    for table in plan.tables:
        request = table.request
        run_here = sum(1 for cell in table.cells if cell.omitted is None)
        console.print(
            f"{table.table.name} (profile {request.profile.name}): {table.table.title}; "
            f"{run_here} cells x {len(request.seeds)} seeds",
            markup=False,
        )
        for cell in table.cells:
            if cell.omitted is not None:
                console.print(f"  omitted: {cell.key}: {cell.omitted}", markup=False)
    cells = cells_of_runs(plan)
    folders = {relative_to_here(job.run.config.output_dir) for job in plan.jobs}
    times = known_times(folders)
    for number, layer in enumerate(plan.layers):
        title = f"layer {number + 1} of {len(plan.layers)}"
        console.print(_layer(title, layer, cells, found, times, total))
    console.print(total.in_words(), markup=False)


def cells_of_runs(plan: Plan) -> dict[str, list[str]]:
    """Returns the keys of the cells that each run is in, by run_id."""
    cells: dict[str, list[str]] = {}
    for table in plan.tables:
        for cell in table.cells:
            for run in cell.runs.values():
                keys = cells.setdefault(run.run_id, [])
                if cell.key not in keys:
                    keys.append(cell.key)
    return cells


class _Total:
    """How many runs, in which state, and how long the ones to come will take."""

    def __init__(self) -> None:
        self.runs = 0
        self.complete = 0
        self.seconds = 0.0
        self.unknown = 0

    def add(self, state: JobState, seconds: float | None) -> None:
        self.runs += 1
        if state in DONE:
            self.complete += 1
        elif seconds is None:
            self.unknown += 1
        else:
            self.seconds += seconds

    def in_words(self) -> str:
        """Says how much there is to do."""
        left = self.runs - self.complete
        text = f"{self.runs} runs: {self.complete} complete, {left} to run"
        if left > self.unknown:
            text += f", {clock(self.seconds)} one after the other"
        if self.unknown:
            text += f"; {self.unknown} of unknown length (nothing like them was run here yet)"
        return text


def _layer(
    title: str,
    jobs: Sequence[PlannedJob],
    cells: Mapping[str, Sequence[str]],
    found: Mapping[str, JobState],
    times: Times,
    total: _Total,
) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("runs", justify="right", vertical="top")
    table.add_column("what", overflow="fold")
    table.add_column("state", overflow="fold", max_width=14)
    table.add_column("time", justify="right")
    for members in _alike(jobs).values():
        each = times.of_epoch(members[0].run)  # they differ in the seed only
        seconds = [None if each is None else epochs_left(job) * each for job in members]
        for job, each in zip(members, seconds, strict=True):
            total.add(found[job.run.run_id], each)
        left = [s for s, j in zip(seconds, members, strict=True) if found[j.run.run_id] not in DONE]
        table.add_row(
            str(len(members)),
            _name(members[0], cells.get(members[0].run.run_id, [])),
            _states(members, found),
            "-" if not left else "?" if None in left else clock(sum(s or 0 for s in left)),
        )
    return table


def _alike(jobs: Sequence[PlannedJob]) -> dict[tuple[str, bool], list[PlannedJob]]:
    """Groups runs that differ in the seed only, those that only teach apart."""
    groups: dict[tuple[str, bool], list[PlannedJob]] = {}
    for job in jobs:
        groups.setdefault((job.run.cell_id, job.only_teaches), []).append(job)
    return groups


def _name(job: PlannedJob, keys: Sequence[str]) -> str:
    """Names runs by their cells; those that only teach by their network."""
    until = f", until epoch {job.until}" if job.until else ""
    kept = f", keeping epochs {', '.join(map(str, job.keep))}" if job.keep else ""
    model = job.overrides.only("model")
    return f"{' = '.join(keys) or f'teacher {model}'}{until}{kept}"


def _states(jobs: Sequence[PlannedJob], found: Mapping[str, JobState]) -> str:
    counts = Counter(_state(job, found) for job in jobs)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _state(job: PlannedJob, found: Mapping[str, JobState]) -> str:
    state = found[job.run.run_id]
    waits = state == "not run" and job.teacher is not None and found[job.teacher] != "failed"
    return "waits" if waits else state


def clock(seconds: float) -> str:
    """Says a duration: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def print_unfinished(console: Console, plan: Plan, found: Mapping[str, JobState]) -> None:
    """Prints each run that is not complete, the reason, and the command that runs it alone."""
    unfinished = [job for job in plan.jobs if found[job.run.run_id] not in DONE]
    for job in unfinished:
        state = found[job.run.run_id]
        console.print(
            f"{state}: {job.run.run_id}: {_reason(job, state)}",
            markup=False,
            style="red",
            soft_wrap=True,
        )
        if state != "not run":
            console.print(f"  python -m kdlsr.train {job.overrides}", markup=False, soft_wrap=True)
    console.print(f"{len(unfinished)} of {len(plan.jobs)} runs are not complete", style="red")


def _reason(job: PlannedJob, state: JobState) -> str:
    result = store_of(job.run.config).run(job.run.run_id).result()
    if state == "failed" and result:
        return str(result.error)
    if state == "not run":
        return f"its teacher {job.teacher} is not there"
    return "ended without a result (killed?)"
