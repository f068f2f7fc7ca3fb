"""Runs as the store has them: read, selected by the user's patterns, gathered into cells.

Reads `config.yaml` and `result.json` and nothing else. No statistics, no rendering in here.
"""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import yaml

from kdlsr.config import UserError, nearest
from kdlsr.reporting.summary import RunState
from kdlsr.runs.folder import RunFolder, read_json

# In config.yaml, and no part of what makes a cell: seeds, and what moves no number.
_SEEDS = ("seed", "init_seed", "data_seed", "teacher.seed")
_NO_NUMBERS = ("device", "threads", "keep_epochs", "until", "output_dir")
_NO_NUMBERS_BELOW = ("tracker.", "schedule.sgd.")
_SECTIONS = ("dataset", "model", "teacher", "loss", "tracker")  # `loss` is short for `loss.name`
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Flat = Mapping[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True)
class StoredRun:
    """One folder below `runs/`.

    Attributes:
        run_id: its name.
        folder: where it stands.
        state: how far it is.
        config: config.yaml, by dotted key; empty where the run failed before it was written.
        result: result.json; None where there is none (yet).
        cell: its cell_id; of a run without a result, that of the runs of the same config.
    """

    run_id: str
    folder: RunFolder
    state: RunState
    config: Flat
    result: Result | None
    cell: str = ""

    @property
    def seeds(self) -> tuple[Any, Any]:
        """What pairs it with a run of another cell: initialisation and data seed."""
        return self.config.get("init_seed"), self.config.get("data_seed")

    @property
    def taught_by(self) -> str | None:
        """The run_id of its teacher, as its result has it."""
        teacher = (self.result or {}).get("teacher") or {}
        return cast(str | None, teacher.get("run_id"))


@dataclass(frozen=True)
class StoredCell:
    """Runs that differ in the seed only, by seed.

    Attributes:
        cell_id: of all of them.
        config: of one of them; the keys that may differ within a cell left out.
        runs: at least one.
    """

    cell_id: str
    config: Flat
    runs: tuple[StoredRun, ...]

    @property
    def complete(self) -> tuple[StoredRun, ...]:
        """Those that count."""
        return tuple(run for run in self.runs if run.state == "complete")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested plain values by dotted key; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def read_runs(output_dir: Path) -> list[StoredRun]:
    """Returns every run below an output folder, by run_id.

    Raises:
        UserError: there are none.
    """
    folder = output_dir / "runs"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    runs = [_read(path) for path in paths if path.is_dir() and not path.name.startswith(".")]
    if not runs:
        raise UserError(f"{folder}: no runs there; output_dir= says where they are")
    return _with_cells(runs)


def _read(path: Path) -> StoredRun:
    folder = RunFolder(path, path.name)
    result, file = read_json(path / "result.json"), path / "config.yaml"
    config = yaml.load(file.read_text(), _Loader) if file.exists() else {}
    state = cast(RunState, result["status"] if result else "incomplete")
    return StoredRun(path.name, folder, state, flatten(config), result)


def _with_cells(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Fills in each run's cell; a run without a result belongs to those of the same config."""
    known = {_digest(run.config): run.result["cell_id"] for run in runs if run.result}
    return [
        dataclasses.replace(
            run,
            cell=run.result["cell_id"]
            if run.result
            else known.get(_digest(run.config))
            # Not even a config yet: nothing says what it is but its name.
            or (_digest(run.config) if run.config else run.run_id),
        )
        for run in runs
    ]


def _digest(config: Flat) -> str:
    text = json.dumps(of_a_cell(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def of_a_cell(config: Flat) -> dict[str, Any]:
    """Returns the keys of a config that all runs of a cell agree in."""
    return {
        key: value
        for key, value in config.items()
        if key not in (*_SEEDS, *_NO_NUMBERS) and not key.startswith(_NO_NUMBERS_BELOW)
    }


def known_key(key: str, runs: Iterable[StoredRun], where: str) -> str:
    """Returns a config key in full: `loss` is `loss.name`.

    Raises:
        UserError: no run has it.
    """
    known = {name for run in runs for name in run.config}
    full = f"{key}.name" if key in _SECTIONS else key
    if full not in known:
        raise UserError(f"{where}: no run's config has a key {key}{nearest(key, known)}")
    return full


def _read_filters(filters: Sequence[str], runs: Sequence[StoredRun], where: str) -> dict[str, Any]:
    """Returns the values that each key may have."""
    allowed: dict[str, list[Any]] = {}
    for text in filters:
        key, _, value = text.partition("=")
        name = known_key(key.strip(), runs, where)
        allowed.setdefault(name, []).append(yaml.load(value, _Loader))
    return allowed


def _passes(run: StoredRun, allowed: Mapping[str, Any]) -> bool:
    return all(
        key in run.config and any(_equal(run.config[key], value) for value in values)
        for key, values in allowed.items()
    )


def _equal(ours: Any, given: Any) -> bool:
    """Compares as a command line means it: 1 is 1.0, but neither is true."""
    return bool(ours == given) and isinstance(ours, bool) == isinstance(given, bool)


def filter_runs(runs: Sequence[StoredRun], filters: Sequence[str], where: str) -> list[StoredRun]:
    """Returns the runs whose config passes all `key=value`; equal keys are alternatives.

    Args:
        runs: to choose from.
        filters: at least one.
        where: what the filters were given as, for messages.

    Raises:
        UserError: a key that no run has, or nothing passes.
    """
    allowed = _read_filters(filters, runs, where)
    found = [run for run in runs if _passes(run, allowed)]
    if not found:
        raise UserError(
            f"{where}={_listed(filters)}: none of {len(runs)} runs{_met(runs, allowed)}"
        )
    return found


def _met(runs: Sequence[StoredRun], allowed: Mapping[str, Any]) -> str:
    """Says what values there are of the first key that alone passes none."""
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
    found = [r for r in runs if not globs or any(fnmatchcase(r.run_id, g) for g in globs)]
    if not found:
        raise UserError(f"runs={_listed(globs)}: none of {len(runs)} runs{_near(globs, runs)}")
    return filter_runs(found, filters, "runs") if filters else found


def _listed(patterns: Sequence[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"[{','.join(patterns)}]"


def _near(globs: Sequence[str], runs: Sequence[StoredRun]) -> str:
    ids = [run.run_id for run in runs]
    word = max(globs, key=len).replace("*", "")
    close = difflib.get_close_matches(word, ids, n=3, cutoff=0.4)
    return ("; nearest: " if close else "; there is ") + ", ".join(close or ids[:3])


def without_teachers(
    chosen: Sequence[StoredRun], runs: Sequence[StoredRun], patterns: Sequence[str]
) -> list[StoredRun]:
    """Leaves out runs that only teach others, which would count as one more seed of a cell.

    A run only teaches if a run of the store has it as teacher and no chosen run that is not a
    teacher has its seed. One whose run_id stands in `patterns` in full is kept.

    Raises:
        UserError: nothing is left.
    """
    teachers = _teachers(runs)
    seeds = {run.config.get("seed") for run in chosen if run.run_id not in teachers}
    kept = [
        run
        for run in chosen
        if run.run_id not in teachers or run.run_id in patterns or run.config.get("seed") in seeds
    ]
    if not kept:
        raise UserError(
            f"{len(chosen)} matching and only teaching others: teachers=true brings them in"
        )
    return kept


def _teachers(runs: Sequence[StoredRun]) -> set[str]:
    """Returns who teaches, by the students' results, or by configs where a student has none."""
    named = {run.taught_by for run in runs if run.taught_by}
    untold = [run for run in runs if run.config and run.state != "complete"]
    wanted = {_wanted_teacher(run) for run in untold if run.config["teacher.name"] != "none"}
    return named | {
        run.run_id
        for run in runs
        if run.config.get("teacher.name") == "none" and _as_teacher(run) in wanted
    }


def _wanted_teacher(student: StoredRun) -> tuple[Any, ...]:
    own = student.config.get("teacher.name") == "self"
    model = student.config.get("model.name" if own else "teacher.name")
    return student.config.get("dataset.name"), model, student.config.get("teacher.seed")


def _as_teacher(run: StoredRun) -> tuple[Any, ...]:
    return tuple(run.config.get(key) for key in ("dataset.name", "model.name", "seed"))


def gather_cells(runs: Sequence[StoredRun]) -> list[StoredCell]:
    """Returns the runs' cells, in the order of their first runs."""
    members: dict[str, list[StoredRun]] = {}
    for run in runs:
        members.setdefault(run.cell, []).append(run)
    return [_gather(cell_id, found) for cell_id, found in members.items()]


def _gather(cell_id: str, runs: Sequence[StoredRun]) -> StoredCell:
    config = next((run.config for run in runs if run.config), {})
    ordered = sorted(runs, key=lambda run: (run.config.get("seed", -1), run.run_id))
    return StoredCell(cell_id, of_a_cell(config), tuple(ordered))


def differing_keys(cells: Sequence[StoredCell]) -> list[str]:
    """Returns the config keys in which cells differ, a key that some lack included."""
    keys = {key: None for cell in cells for key in cell.config}
    configs = [cell.config for cell in cells if cell.config]
    return [key for key in keys if len({_text(config, key) for config in configs}) > 1]


def _text(config: Flat, key: str) -> str:
    return json.dumps(config[key]) if key in config else "absent"


def telling_keys(cells: Sequence[StoredCell]) -> dict[str, list[str]]:
    """Returns, for each cell by its id, the keys by which it is told from the others.

    A key of a named section (a loss's tau) tells only cells apart that have the same name
    there: beside cross-entropy, `loss=kd` says enough.
    """
    everywhere = set(differing_keys(cells))
    among: dict[tuple[str, Any], set[str]] = {}
    for section in _SECTIONS:
        peers: dict[Any, list[StoredCell]] = {}
        for cell in cells:
            peers.setdefault(cell.config.get(f"{section}.name"), []).append(cell)
        among |= {(section, name): set(differing_keys(same)) for name, same in peers.items()}

    def tells(cell: StoredCell, key: str) -> bool:
        section = key.partition(".")[0]
        if section not in _SECTIONS or key == f"{section}.name":
            return key in everywhere
        return key in among[section, cell.config.get(f"{section}.name")]

    return {cell.cell_id: [key for key in cell.config if tells(cell, key)] for cell in cells}
