"""From a planned table and the store to a report's values: statistics of what is complete."""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, cast

from kdlsr.config.schema import RunConfig
from kdlsr.reporting.statistics import (
    Difference,
    Estimate,
    compatibility,
    corrected,
    difference,
    estimate,
)
from kdlsr.reporting.summary import (
    MEASURES,
    PROTOCOLS,
    CellState,
    CellSummary,
    Comparison,
    Report,
    RunState,
    RunSummary,
    Target,
)
from kdlsr.runs.execute import store_of
from kdlsr.runs.folder import RunFolder
from kdlsr.runs.plan import Run
from kdlsr.tables.planning import PlannedCell, PlannedTable

ONE_TEACHER = (
    "All students of a teacher learn from one and the same network (its own seed), so a deviation "
    "over seeds is conditional on that teacher: how much another teacher would change is not in it."
)
OPTIMISTIC = (
    "best_test lets the test set choose the epoch, as the papers do: it is optimistic. "
    "Differences are judged at {protocol}."
)
ONE_SEED = "With n = 1 there is no deviation and no test: nothing is claimed."
FAMILY = (
    "A method beats (or is below) another cell where Welch's 95 % interval lies on one side of 0 "
    "and p stays below 0.05 after Holm's correction over the {count} differences of this table."
)
COMPATIBLE = (
    "Compatible with the paper: |ours - paper| at most max(0.4, t sqrt(s^2/n + s_paper^2/3)) at "
    "best_test, which is what the paper reports; where it prints no deviation, ours stands in, and "
    "where it does not say over how many runs, three are taken."
)
MIXED = "Some runs were made in sessions of different device types, threads or torch versions."
Result = dict[str, Any]
Results = Mapping[str, Result]


def summarise(
    planned: PlannedTable, states: Mapping[str, RunState], protocol: str | None, command: str
) -> Report:
    """Returns the report of a table: what is complete counts, all else is marked.

    Args:
        planned: the table with its runs.
        states: of the runs, by run_id.
        protocol: by which differences are judged; None: `best_val` where the runs have a
            validation split, else `last`.
        command: what makes this report again.
    """
    folders = _folders(planned)
    results = {run_id: r for run_id, f in folders.items() if (r := _complete_result(f))}
    protocols = available_protocols(results.values())
    judged = protocol or ("best_val" if "best_val" in protocols else "last")
    comparisons = _comparisons(planned.cells, results, judged)
    cells = tuple(
        _cell(cell, planned, states, folders, results, judged, comparisons)
        for cell in planned.cells
    )
    table, profile = planned.table, planned.request.profile
    data = describe_data(_first_config(planned))
    return Report(
        name=planned.report_name,
        title=table.title,
        first_line=f"Profile {profile.name} ({data}; {_seeds(planned)}): {profile.means}.",
        protocol=judged,
        protocols=protocols,
        data=data,
        environment=environments(f for i, f in folders.items() if i in results),
        command=command,
        cells=cells,
        source=table.source,
        shows=table.shows,
        caveats=_caveats(planned, results, comparisons, judged),
        notes=(*table.notes, *planned.setting.notes),
        figure=table.figure,
        hand_made=vars(table.hand_made) if table.hand_made else None,
    )


def _folders(planned: PlannedTable) -> dict[str, RunFolder]:
    runs = (run for cell in planned.cells for run in cell.runs.values())
    return {run.run_id: store_of(run.config).run(run.run_id) for run in runs}


def _complete_result(folder: RunFolder) -> Result | None:
    result = folder.result()
    complete = result is not None and result.status == "complete"
    return result.to_json() if result is not None and complete else None


def _first_config(planned: PlannedTable) -> RunConfig | None:
    runs = (run for cell in planned.cells for run in cell.runs.values())
    first = next(runs, None)
    return first.config if first else None


def _seeds(planned: PlannedTable) -> str:
    return f"n = {len(planned.request.seeds)}"


def available_protocols(results: Iterable[Result]) -> tuple[str, ...]:
    """Returns the protocols that any of the results has; the first two where there is none."""
    found = {name for r in results for name, value in r["protocols"].items() if value}
    return tuple(name for name in PROTOCOLS if name in (found or PROTOCOLS[:2]))


def describe_data(config: RunConfig | None) -> str:
    """Says in words what was trained on and for how long."""
    if config is None:
        return "no runs"
    subset = f", {config.dataset.subset:,} training images" if config.dataset.subset else ""
    held_out = config.dataset.val_fraction
    split = f", {100 * held_out:g} % held out for validation" if held_out else ""
    return f"{config.dataset.name}{subset}{split}, {config.schedule.epochs} epochs"


def environments(folders: Iterable[RunFolder]) -> tuple[str, ...]:
    """Returns one line for each hardware and set of versions that runs were made on."""
    found = set()
    for folder in folders:
        path = folder.path / "environment.json"
        if path.exists():
            for session in json.loads(path.read_text())["sessions"]:
                found.add(_environment_line(session))
    return tuple(sorted(found))


def _environment_line(session: Mapping[str, Any]) -> str:
    threads = session["threads"]
    return (
        f"{session['device']} ({session['device_type']}, {threads} thread"
        f"{'s' if threads > 1 else ''} a run, {session['precision']}), torch {session['torch']}, "
        f"kdlsr {session['kdlsr']}"
    )


def top1(results: Sequence[Result], protocol: str) -> Estimate | None:
    """Returns the mean over runs of test top-1 at a protocol, in percent."""
    chosen = [r["protocols"][protocol] for r in results]
    values = [float(p["test"]["top1"]) for p in chosen if p is not None]
    return estimate(values) if values else None


def measures(results: Sequence[Result], protocol: str) -> dict[str, Estimate | None]:
    """Returns what else is known of the runs at a protocol; agreement and kl with a teacher."""
    found: dict[str, Estimate | None] = {}
    tests = [p["test"] for r in results if (p := r["protocols"][protocol]) is not None]
    for name in MEASURES:
        values = [float(test[name]) for test in tests if test[name] is not None]
        found[name] = estimate(values) if values else None
    for name in ("agreement", "kl"):
        values = [float(r["teacher"][name]) for r in results if r["teacher"]]
        if values:
            found[name] = estimate(values)
    return found


def values_by_seed(runs: Mapping[int, Run], results: Results, protocol: str) -> dict[int, float]:
    """Returns the top-1 of the complete runs, by seed."""
    found = {}
    for seed, run in runs.items():
        chosen = results[run.run_id]["protocols"][protocol] if run.run_id in results else None
        if chosen is not None:
            found[seed] = float(chosen["test"]["top1"])
    return found


_Pair = tuple[frozenset[str], frozenset[str]]


def _comparisons(
    cells: Sequence[PlannedCell], results: Results, protocol: str
) -> dict[_Pair, Difference]:
    """Returns each difference of the table once, however many cells have the same runs."""
    by_key = {cell.key: cell for cell in cells}
    found: dict[_Pair, Difference] = {}
    for cell in cells:
        ours = values_by_seed(cell.runs, results, protocol)
        for key in _compared_with(cell):
            other = values_by_seed(by_key[key].runs, results, protocol)
            pair = _pair(cell, by_key[key])
            if ours and other and pair[0] != pair[1]:
                found[pair] = difference(ours, other)
    return corrected(found)


def _compared_with(cell: PlannedCell) -> list[str]:
    return [key for key in (cell.baseline, *cell.controls) if key is not None]


def _pair(ours: PlannedCell, other: PlannedCell) -> _Pair:
    ids = [frozenset(run.run_id for run in cell.runs.values()) for cell in (ours, other)]
    return ids[0], ids[1]


def _cell(
    cell: PlannedCell,
    planned: PlannedTable,
    states: Mapping[str, RunState],
    folders: Mapping[str, RunFolder],
    results: Results,
    protocol: str,
    comparisons: Mapping[_Pair, Difference],
) -> CellSummary:
    complete = [results[run.run_id] for run in cell.runs.values() if run.run_id in results]
    by_key = {other.key: other for other in planned.cells}

    def against(key: str | None) -> Comparison | None:
        if key is None:
            return None
        found = comparisons.get(_pair(cell, by_key[key]))
        return Comparison(key, by_key[key].name, found) if found else None

    lacking = [by_key[key] for key in _compared_with(cell) if against(key) is None]
    shown = available_protocols(results.values())
    return CellSummary(
        key=cell.key,
        group=cell.group,
        row=cell.row,
        column=cell.column,
        name=cell.name,
        kind=cell.kind,
        state=_cell_state(cell, states),
        runs=tuple(_run(cell, seed, run, states, folders) for seed, run in cell.runs.items()),
        estimates={name: top1(complete, name) if complete else None for name in shown},
        measures=measures(complete, protocol) if complete else {},
        baseline=against(cell.baseline),
        controls=tuple(c for key in cell.controls if (c := against(key))),
        uncompared=tuple(f"{other.name}: {_why_not(cell, other, states)}" for other in lacking),
        target=_target(cell, planned, complete),
        teacher_epoch=_numbered_epoch(cell),
        note=cell.omitted or cell.note,
    )


def _why_not(cell: PlannedCell, other: PlannedCell, states: Mapping[str, RunState]) -> str:
    """Says why a cell has no difference to another one."""
    ours, theirs = _pair(cell, other)
    if ours == theirs:
        return "the very same runs"
    return _cell_state(other if _cell_state(cell, states) == "complete" else cell, states)


def _cell_state(cell: PlannedCell, states: Mapping[str, RunState]) -> CellState:
    if cell.omitted is not None:
        return "omitted"
    return state_of_cell({states[run.run_id] for run in cell.runs.values()})


def state_of_cell(states: Set[RunState]) -> CellState:
    """Returns what the states of its runs make of a cell."""
    if states == {"complete"}:
        return "complete"
    if "failed" in states:
        return "failed"
    return "partial" if "complete" in states else "not run"


def _numbered_epoch(cell: PlannedCell) -> int | None:
    run = next(iter(cell.runs.values()), None)
    if run is None or run.teacher is None:
        return None
    epoch = run.config.teacher.epoch
    return epoch if isinstance(epoch, int) else None


def _run(
    cell: PlannedCell,
    seed: int,
    run: Run,
    states: Mapping[str, RunState],
    folders: Mapping[str, RunFolder],
) -> RunSummary:
    state = states[run.run_id]
    overrides = (*cell.overrides.texts(), f"seed={seed}")
    return read_run(folders[run.run_id], run.run_id, seed, state, overrides)


def read_run(
    folder: RunFolder, run_id: str, seed: int, state: RunState, overrides: tuple[str, ...]
) -> RunSummary:
    """Reads what a report shows of one run."""
    found = folder.result()
    result = found.to_json() if found else None
    config, metrics = folder.path / "config.yaml", folder.path / "metrics.jsonl"
    history = metrics.read_text().splitlines() if metrics.exists() else []
    return RunSummary(
        seed=seed,
        run_id=run_id,
        state=state,
        error=result.get("error") if result else None,
        overrides=overrides,
        config=config.read_text() if config.exists() else "",
        history=tuple(json.loads(line) for line in history),
        teacher=result.get("teacher") if result else None,
    )


def _target(cell: PlannedCell, planned: PlannedTable, complete: Sequence[Result]) -> Target | None:
    """Returns the paper's value; ours is held against it only at the paper's own size."""
    if cell.paper is None:
        return None
    paper = cell.paper
    ours = top1(complete, "best_test") if complete else None
    held = None
    if ours is not None and planned.request.is_published_size:
        held = compatibility(ours.values, paper.accuracy, paper.deviation)
    assert cell.grade is not None
    return Target(paper.accuracy, paper.deviation, cell.grade, held, paper.note)


def _caveats(
    planned: PlannedTable,
    results: Results,
    comparisons: Mapping[_Pair, Difference],
    protocol: str,
) -> tuple[str, ...]:
    runs = [run for cell in planned.cells for run in cell.runs.values()]
    said = [OPTIMISTIC.format(protocol=protocol)] if runs else []
    if len(planned.request.seeds) == 1:
        said.append(ONE_SEED)
    elif comparisons:
        count = sum(1 for d in comparisons.values() if d.p is not None)
        said.append(FAMILY.format(count=count))
    if any(run.teacher is not None for run in runs):
        said.append(ONE_TEACHER)
    if planned.request.is_published_size and any(c.paper for c in planned.cells):
        said.append(COMPATIBLE)
    if any(r["environment"] == "mixed" for r in results.values()):
        said.append(MIXED)
    return tuple(said)


def as_states(states: Mapping[str, str]) -> dict[str, RunState]:
    """Returns a plan's states as a report has them; what only teaches is in no cell."""
    return cast(dict[str, RunState], {k: v for k, v in states.items() if v != "not needed"})
