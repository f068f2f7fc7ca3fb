"""Which runs of the store a report is on: their cells, and which of these is held against which.

Chosen by the user's patterns. Reads cards and results and nothing else; no statistics, no
rendering in here.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import Any

from kdlsr.config import UserError, nearest
from kdlsr.config.overrides import Overrides
from kdlsr.config.schema import moves_no_number
from kdlsr.config.yaml_file import parse_yaml
from kdlsr.runs.card import RunCard
from kdlsr.runs.store import StoredRun

# In which the runs of one cell may differ.
_SEEDS = ("seed", "init_seed", "data_seed", "teacher.seed")
Baselines = Mapping[str, "RunsOfCell"]  # by the cell_id of what is held against it
SECTIONS = ("dataset", "model", "teacher", "loss", "tracker")  # `loss` is short for `loss.name`


@dataclass(frozen=True)
class RunsOfCell:
    """Runs that differ in the seed only, by seed; at least one."""

    cell_id: str
    runs: tuple[StoredRun, ...]

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The keys that all of the runs agree in."""
        config = self.runs[0].config
        return {key: value for key, value in config.items() if is_of_cell(key)}

    @property
    def complete(self) -> list[StoredRun]:
        """Those that count."""
        return [run for run in self.runs if run.status == "complete"]


@cache
def is_of_cell(key: str) -> bool:
    """Whether the runs of one cell agree in a key of their configs."""
    return key not in _SEEDS and not moves_no_number(key)


def known_key(key: str, runs: Iterable[StoredRun], where: str) -> str:
    """Returns a config key in full: `loss` is `loss.name`.

    Raises:
        UserError: no run has it.
    """
    known = {name for run in runs for name in run.config}
    full = f"{key}.name" if key in SECTIONS else key
    if full not in known:
        raise UserError(f"{where}: no run's config has a key {key}{nearest(key, known)}")
    return full


def filter_runs(runs: Sequence[StoredRun], filters: Sequence[str], where: str) -> list[StoredRun]:
    """Returns the runs whose config passes all `key=value`; equal keys are alternatives.

    Args:
        runs: to choose from.
        filters: at least one.
        where: what the filters were given as, for messages.

    Raises:
        UserError: a key that no run has, or nothing passes.
    """
    allowed: dict[str, list[Any]] = {}
    for text in filters:
        key, _, value = text.partition("=")
        name = known_key(key.strip(), runs, where)
        allowed.setdefault(name, []).append(parse_yaml(value, f"{where}={text}"))
    found = [run for run in runs if _passes(run, allowed)]
    if not found:
        raise UserError(
            f"{where}={_listed(filters)}: none of {len(runs)} runs{_nearest_values(runs, allowed)}"
        )
    return found


def _passes(run: StoredRun, allowed: Mapping[str, Sequence[Any]]) -> bool:
    return all(
        key in run.config and any(_equal(run.config[key], value) for value in values)
        for key, values in allowed.items()
    )


def _equal(ours: Any, given: Any) -> bool:
    """Compares as a command line means it: 1 is 1.0, but neither is true."""
    return bool(ours == given) and isinstance(ours, bool) == isinstance(given, bool)


def _nearest_values(runs: Sequence[StoredRun], allowed: Mapping[str, Sequence[Any]]) -> str:
    """Returns what values there are of the first key that alone passes none."""
    for key, values in allowed.items():
        if not any(_passes(run, {key: values}) for run in runs):
            there = sorted({str(run.config[key]) for run in runs if key in run.config})
            shown = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
            return f"; {key} is {shown}"
    return " passes all of these at once"


def select_runs(runs: Sequence[StoredRun], patterns: Sequence[str]) -> list[StoredRun]:
    """Returns the runs that match any of the globs and all of the filters.

    Args:
        runs: all of the store.
        patterns: globs over run_ids, and filters, which have a `=`.

    Raises:
        UserError: nothing matches, or a filter's key is unknown.
    """
    filters = [p for p in patterns if "=" in p]
    globs = [p for p in patterns if "=" not in p]
    found = [r for r in runs if not globs or any(fnmatchcase(r.card.run_id, g) for g in globs)]
    if not found:
        raise UserError(
            f"runs={_listed(globs)}: none of {len(runs)} runs{_nearest_ids(globs, runs)}"
        )
    return filter_runs(found, filters, "runs") if filters else found


def _listed(patterns: Sequence[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"[{','.join(patterns)}]"


def _nearest_ids(globs: Sequence[str], runs: Sequence[StoredRun]) -> str:
    ids = [run.card.run_id for run in runs]
    word = max(globs, key=len).replace("*", "")
    close = difflib.get_close_matches(word, ids, n=3, cutoff=0.4)
    return ("; nearest: " if close else "; there is ") + ", ".join(close or ids[:3])


def without_teachers(chosen: Sequence[StoredRun], patterns: Sequence[str]) -> list[StoredRun]:
    """Leaves out runs that only teach others, which are no seeds of anybody's cell.

    One whose run_id stands in `patterns` in full is kept.

    Raises:
        UserError: nothing is left.
    """
    kept = [run for run in chosen if run.card.made_for != "teaching" or run.card.run_id in patterns]
    if not kept:
        raise UserError(
            f"{len(chosen)} matching and only teaching others: teachers=true brings them in"
        )
    return kept


def gather_cells(runs: Iterable[StoredRun]) -> list[RunsOfCell]:
    """Returns the runs' cells, in the order of their first runs."""
    members: dict[str, list[StoredRun]] = {}
    for run in runs:
        members.setdefault(run.card.cell_id, []).append(run)
    return [
        RunsOfCell(cell_id, tuple(sorted(found, key=lambda r: (r.card.seed, r.card.run_id))))
        for cell_id, found in members.items()
    ]


def moving(card: RunCard) -> Overrides:
    """Returns the overrides that make a run, but for where and how it was made."""
    return Overrides(o for o in Overrides.parse(card.command) if not moves_no_number(o.key))


def differing_keys(cells: Sequence[RunsOfCell]) -> list[str]:
    """Returns the config keys in which cells differ, a key that some lack included."""
    values: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for cell in cells:
        for key, value in cell.config.items():
            values.setdefault(key, set()).add(repr(value))
            counts[key] = counts.get(key, 0) + 1
    return [key for key in values if len(values[key]) > 1 or counts[key] < len(cells)]


def find_baselines(
    cells: Sequence[RunsOfCell],
    every: Sequence[StoredRun],
    filters: Sequence[str],
    teachers: bool,
) -> Baselines:
    """Returns the baseline of each cell that has one; of a baseline, itself.

    A baseline has its cell's network and data set. It is looked for among the cells, then in
    all of the store; where several match, those of the cell's own schedule come first.

    Args:
        cells: to be held against something.
        every: all runs.
        filters: that a baseline passes; none: nothing is compared.
        teachers: whether runs that only teach others count.

    Raises:
        UserError: nothing passes the filters, or several cells are left.
    """
    if not filters:
        return {}
    if any("=" not in text for text in filters):
        raise UserError(f"baseline={filters[0]} is not possible; expected filters, as [loss=ce]")
    passing = filter_runs(every, filters, "baseline")
    kept = passing if teachers else without_teachers(passing, filters)
    chosen = {cell.cell_id: cell for cell in cells}
    candidates: dict[str, list[RunsOfCell]] = {}
    for cell in gather_cells(kept):
        candidates.setdefault(_sections(cell, "model", "dataset"), []).append(
            chosen.get(cell.cell_id, cell)
        )
    found = {}
    for cell in cells:
        alike = candidates.get(_sections(cell, "model", "dataset"), [])
        if alike:
            found[cell.cell_id] = _baseline(cell, alike)
    return found | {baseline.cell_id: baseline for baseline in found.values()}


def _baseline(cell: RunsOfCell, alike: Sequence[RunsOfCell]) -> RunsOfCell:
    own = [c for c in alike if c.cell_id == cell.cell_id]
    schedule = _sections(cell, "schedule", "precision")
    closer = own or [c for c in alike if _sections(c, "schedule", "precision") == schedule] or alike
    if len(closer) > 1:
        keys = ", ".join(differing_keys(closer)[:4]) or "the version of the code"
        raise UserError(
            f"baseline: {len(closer)} cells of the same network and data set match "
            f"({', '.join(c.cell_id for c in closer[:3])}); they differ in {keys}: add one of these"
        )
    return closer[0]


def _sections(cell: RunsOfCell, *names: str) -> str:
    """Returns sections of a cell's config as one text."""
    return repr(sorted((k, v) for k, v in cell.config.items() if k.partition(".")[0] in names))
