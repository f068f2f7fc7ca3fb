"""The index of `experiments/`: what each table shows, what it costs, where it has been run.

Counts runs as a plan does and estimates time from arithmetic alone; how long runs really took
is `estimate`'s to say. Nothing here starts a run.

`python -m kdlsr.tables.index` brings experiments/README.md up to date.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdlsr.config import UserError
from kdlsr.config.compose import shipped_folder
from kdlsr.config.overrides import Overrides
from kdlsr.config.yaml_file import read_yaml
from kdlsr.files import write_whole
from kdlsr.runs.plan import Run
from kdlsr.tables.plan import PlannedJob, Request
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.reading import read_profile, read_setting, read_table, table_names
from kdlsr.tables.schema import Table
from kdlsr.tables.setting import Profile, Setting

if TYPE_CHECKING:
    from rich.console import Console

SEEDS = 3
SUSTAINED = 20e12  # floating-point operations per second: assumed, not measured
# Of one training step, in forward passes: forward, gradient of the inputs, of the weights.
PASSES = 3
Cost = tuple[PlannedJob, float | None]  # a run, and its GPU hours where its networks are known
BEGIN, END = "<!-- index: begin -->", "<!-- index: end -->"


@dataclass(frozen=True)
class IndexRow:
    """One table's line.

    Attributes:
        name, shows: the table's.
        runs: at the table's own profile with `SEEDS` seeds, all forms and controls; None where it
            cannot be planned without its data, which is not here.
        teachers: how many of them only teach; None likewise.
        hours: estimated GPU hours; None where a network's MACs are not known.
        run_at: the table's.
    """

    name: str
    shows: str
    runs: int | None
    teachers: int | None
    hours: float | None
    run_at: Mapping[str, str]


def index_rows(tables: Sequence[Table]) -> list[IndexRow]:
    """Returns a row per table and one for all of the papers' tables, whose runs are shared."""
    costs = {table.name: _costs(table) for table in tables}
    rows = [_row_of(table, costs[table.name]) for table in tables]
    at_paper = (costs[table.name] for table in tables if table.profile == "paper")
    papers = [found for found in at_paper if found is not None]
    if len(papers) < 2:
        return rows
    together: dict[str, Cost] = {}
    for run_id, cost in itertools.chain.from_iterable(found.items() for found in papers):
        known = together.get(run_id, cost)
        # A teacher may be needed to its end by one table and for its first epochs by another.
        together[run_id] = max(known, cost, key=lambda c: c[1] or 0)
    return [*rows, _row("together", "profile=paper: each run once", together.values(), {})]


def _row_of(table: Table, costs: Mapping[str, Cost] | None) -> IndexRow:
    if costs is None:
        return IndexRow(table.name, table.shows, None, None, None, table.run_at)
    return _row(table.name, table.shows, costs.values(), table.run_at)


def _costs(table: Table) -> dict[str, Cost] | None:
    """Plans a table with one seed, and returns what each of its runs costs, by run_id.

    None where even a plan needs files, which an index neither asks for nor downloads. Its cells
    are planned tiny all the same.
    """
    setting = read_setting(table.setting)
    is_of_files = setting.needs_files and table.profile != "smoke"
    profile = profile_named("smoke" if is_of_files else table.profile)
    plan = plan_tables([table], Request(profile, seeds=(0,)))
    if is_of_files:
        return None
    return {job.run.run_id: (job, gpu_hours(job, setting)) for job in plan.jobs}


def _row(name: str, shows: str, costs: Collection[Cost], run_at: Mapping[str, str]) -> IndexRow:
    # All seeds share a teacher; of what stands in a cell there is one for each seed.
    counted = [(1 if job.only_teaches else SEEDS, hours) for job, hours in costs]
    known = [copies * hours for copies, hours in counted if hours is not None]
    return IndexRow(
        name=name,
        shows=shows,
        runs=sum(copies for copies, _ in counted),
        teachers=sum(job.only_teaches for job, _ in costs),
        hours=sum(known) if len(known) == len(counted) else None,
        run_at=run_at,
    )


def profile_named(name: str) -> Profile:
    """Reads an option of the config group `profile`.

    Raises:
        UserError: there is none of that name.
    """
    path = shipped_folder("conf") / "profile" / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"profile={name}: no such file in {path.parent}")
    return read_profile(read_yaml(path))


def gpu_hours(job: PlannedJob, setting: Setting) -> float | None:
    """Estimates one run's GPU hours [D] from arithmetic alone.

    (3 passes x MACs of the student + the teacher's MACs where one answers live) x 2 operations
    x images x epochs, at `SUSTAINED`. Evaluation and loading are left out.

    Returns:
        None where the MACs of a network of the run are not known.
    """
    run = job.run
    own = macs_of(run, setting)
    taught_by = run.teacher_run if run.loss.needs_teacher else None
    other = macs_of(taught_by, setting) if taught_by else 0.0
    if own is None or other is None:
        return None
    epochs = job.until or run.config.schedule.epochs
    return 2 * (PASSES * own + other) * setting.train_images * epochs / SUSTAINED / 3600


def macs_of(run: Run, setting: Setting) -> float | None:
    """Returns the MACs of a run's network as its setting has them; None where it does not."""
    model = run.config.model
    selected = set(Overrides.of("model", model.name, model.options))
    if run.config.dataset.name != setting.overrides.get("dataset"):
        return None  # a mapped profile's images have another size
    found = [n.macs for n in setting.networks.values() if selected.issuperset(n.overrides)]
    return found[0] if found else None


def render_index(rows: Sequence[IndexRow]) -> str:
    """Renders the index as a Markdown table."""
    lines = [
        f"| table | shows | runs, {SEEDS} seeds | of which only teach | GPU hours [D] | run at |",
        "|---|---|---:|---:|---:|---|",
    ]
    for row in rows:
        name = f"`{row.name}`" if row.name in table_names() else row.name
        run_at = "; ".join(f"{profile}: {where}" for profile, where in row.run_at.items())
        counts = _count(row.runs), _count(row.teachers)
        cells = (name, row.shows, *counts, _hours(row), run_at or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _hours(row: IndexRow) -> str:
    if row.hours is None:
        return "-"
    return f"{row.hours:,.0f}" if row.hours >= 10 or row.hours == 0 else f"{row.hours:.1f}"


def print_index(console: "Console", tables: Sequence[Table] | None = None) -> None:
    """Prints the index of some tables, of all unless they are given; readable at 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid

    with console.status("counting runs"):
        rows = index_rows(_all_tables() if tables is None else tables)
    title = "python -m kdlsr.reproduce table=..."
    grid = Grid(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    grid.add_column("table", overflow="fold", max_width=22)
    grid.add_column("shows", overflow="fold", ratio=1)
    for heading in ("runs", "only\nteach", "GPU\nhours"):
        grid.add_column(heading, justify="right", no_wrap=True)
    grid.add_column("run at", overflow="fold", max_width=10)
    for row in rows:
        run_at = ", ".join(row.run_at) or "-"
        counts = _count(row.runs), _count(row.teachers)
        grid.add_row(row.name, row.shows, *counts, _hours(row), run_at)
    console.print(grid, markup=False)
    console.print(
        f"Runs: all forms and controls, {SEEDS} seeds, at each table's own profile; - where they "
        "cannot be counted without the data set's files. GPU hours [D]: "
        f"from the networks' arithmetic at an assumed {SUSTAINED / 1e12:g} TFLOP/s, teachers "
        "answering live; - where that is not known."
    )


def _all_tables() -> list[Table]:
    return [read_table(name) for name in table_names()]


def updated(readme: str, rows: Sequence[IndexRow]) -> str:
    """Returns the text of experiments/README.md with the index between its markers renewed."""
    before, _, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the README has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{render_index(rows)}\n{END}{after}"


def _update_readme(path: Path) -> None:
    write_whole(path, updated(path.read_text(), index_rows(_all_tables())))


if __name__ == "__main__":
    _update_readme(shipped_folder("experiments") / "README.md")
