"""The terminal: what a plan would run, in which layer, and how long that will take."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from kdlsr.tables.forecast import Forecast, Forecaster, SecondsLeft
from kdlsr.tables.launching import states
from kdlsr.tables.plan import JobState, Plan, PlannedJob, PlannedTable

States = Mapping[str, JobState]


def print_plan(console: Console, plan: Plan, forecaster: Forecaster) -> None:
    """Prints each layer's runs, a line for runs that differ in the seed only; starts none."""
    found = states(plan)
    for table in plan.tables:
        profile = table.request.profile
        run_here = sum(1 for cell in table.cells if cell.omitted is None)
        console.print(
            f"{table.table.name} (profile {profile.name}): {table.table.title}; "
            f"{run_here} cells x {_seeds(table)} seeds",
            markup=False,
        )
        for cell in table.cells:
            if cell.omitted is not None:
                console.print(f"  omitted: {cell.key}: {cell.omitted}", markup=False)
    cells = _cells_of_runs(plan)
    expected = forecaster.of(plan, found)
    for number, layer in enumerate(plan.layers):
        title = f"layer {number + 1} of {len(plan.layers)}"
        console.print(_layer(title, layer, cells, found, expected.seconds))
    console.print(_total(len(plan.jobs), expected), markup=False)
    hours = _hours(plan, expected)
    if hours is not None:
        console.print(hours, markup=False)


def print_at_most(console: Console, looks: str, plan: Plan, forecaster: Forecaster) -> None:
    """Prints what a plan whose seeds are added until decided costs at most.

    Args:
        console: to print on.
        looks: what is looked at next, in words.
        plan: of all seeds that there may be.
        forecaster: tells how long that is.
    """
    console.print(f"the runs above are those of {looks}", markup=False)
    expected = forecaster.of(plan, states(plan))
    console.print(f"at most: {_total(len(plan.jobs), expected)}", markup=False)


def _seeds(table: PlannedTable) -> str:
    counts = {len({run.config.seed for run in cell.runs}) for cell in table.cells if cell.runs}
    low, high = min(counts, default=0), max(counts, default=0)
    return str(high) if low == high else f"{low} to {high}"


def _cells_of_runs(plan: Plan) -> dict[str, list[str]]:
    """Returns the keys of the cells that each run is in, by run_id."""
    cells: dict[str, dict[str, None]] = {}
    for table in plan.tables:
        for cell in table.cells:
            for run in cell.runs:
                cells.setdefault(run.run_id, {})[cell.key] = None
    return {run_id: list(keys) for run_id, keys in cells.items()}


def _total(runs: int, forecast: Forecast) -> str:
    left = forecast.seconds
    known = [seconds for seconds in left.values() if seconds is not None]
    unknown = len(left) - len(known)
    text = f"{runs} runs: {runs - len(left)} complete, {len(left)} to run"
    if known:
        text += f", {_clock(sum(known))} one after the other"
    if forecast.at_once is not None and (forecast.jobs or 1) > 1:
        text += f", {_clock(forecast.at_once)} with {forecast.jobs} at once"
    if forecast.measured:
        text += f" ({forecast.measured} by steps measured here)"
    if unknown:
        text += f"; {unknown} of unknown length (nothing like them was run here yet)"
    return text


def _hours(plan: Plan, forecast: Forecast) -> str | None:
    """Returns what a table of the published size costs here; None: there is none to run."""
    left = [s for s in forecast.seconds.values() if s is not None]
    profiles = {table.request.profile.name for table in plan.tables}
    if profiles != {"paper"} or not left:
        return None
    gpu = any(job.run.device.type == "cuda" for job in plan.jobs)
    hours = sum(left) / 3600
    shown = f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"
    return f"profile paper: {shown} {'GPU' if gpu else 'CPU'} hours here, one run at a time"


def _layer(
    title: str,
    jobs: Sequence[PlannedJob],
    cells: Mapping[str, Sequence[str]],
    found: States,
    left: SecondsLeft,
) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("runs", justify="right", vertical="top")
    table.add_column("what", overflow="fold")
    table.add_column("state", overflow="fold", max_width=14)
    table.add_column("time", justify="right")
    # Those that only teach stand apart.
    alike: dict[tuple[str, bool], list[PlannedJob]] = {}
    for job in jobs:
        alike.setdefault((job.run.cell_id, job.only_teaches), []).append(job)
    for members in alike.values():
        ids = [job.run.run_id for job in members]
        seconds = [left[run_id] for run_id in ids if run_id in left]
        known = [each for each in seconds if each is not None]
        table.add_row(
            str(len(members)),
            _name(members[0], cells.get(ids[0], [])),
            _states(members, found),
            "-" if not seconds else _clock(sum(known)) if known == seconds else "?",
        )
    return table


def _name(job: PlannedJob, keys: Sequence[str]) -> str:
    """Names runs by their cells; those that only teach by their network."""
    until = f", until epoch {job.until}" if job.until else ""
    kept = f", keeping epochs {', '.join(map(str, job.keep))}" if job.keep else ""
    model = job.overrides.only("model")
    return f"{' = '.join(keys) or f'teacher {model}'}{until}{kept}"


def _states(jobs: Sequence[PlannedJob], found: States) -> str:
    counts = Counter(_state(job, found) for job in jobs)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _state(job: PlannedJob, found: States) -> str:
    state = found[job.run.run_id]
    waits = state == "not run" and job.teacher is not None and found[job.teacher] != "failed"
    return "waits" if waits else state


def _clock(seconds: float) -> str:
    """Returns a duration: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
