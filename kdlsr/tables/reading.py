"""The files of `experiments/`, and a user's own, read strictly: tables, settings, profiles."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdlsr.config import UserError, build, nearest
from kdlsr.config.compose import relative_to_here, shipped_folder
from kdlsr.config.schema import gather_options
from kdlsr.config.yaml_file import read_yaml
from kdlsr.tables import methods
from kdlsr.tables.schema import Cell, Table
from kdlsr.tables.setting import Profile, Setting

SUFFIX = ".yaml"
SETTINGS = "settings"  # the folder of experiments/ that holds no tables


def read_profile(values: Mapping[str, Any]) -> Profile:
    """Checks the composed config group `profile`."""
    return build(Profile, values, "profile")


def table_names() -> list[str]:
    """Returns the name of every table file, sorted as a reader counts."""
    root = shipped_folder("experiments")
    files = (file.relative_to(root) for file in root.rglob("*.yaml"))
    others = (SETTINGS, "results", methods.FILE)
    names = [str(f.with_suffix("")) for f in files if f.parts[0] not in others]
    return sorted(names, key=_counting)


def _counting(name: str) -> list[tuple[str, int]]:
    """Sorts table10 after table9, and table4_tiny_imagenet beside table4."""
    return [(words, int(digits or 0)) for words, digits in re.findall(r"(\D*)(\d*)", name)]


def find_tables(chosen: str | Sequence[str]) -> list[Table]:
    """Reads the tables that a user names: files, folders of files, or a user's own `*.yaml`.

    Raises:
        UserError: there is no such table, or its file is wrong.
    """
    known = table_names()
    found: dict[str, None] = {}
    for name in [chosen] if isinstance(chosen, str) else chosen:
        below = [k for k in known if k == name or k.startswith(f"{name.rstrip('/')}/")]
        if name.endswith(SUFFIX):
            below = [name]
        if not below:
            raise UserError(f"table={name}: no such table{nearest(name, known)}")
        found |= dict.fromkeys(below)
    return [read_table(name) for name in found]


def read_table(name: str, through: tuple[str, ...] = ()) -> Table:
    """Reads one file of experiments/, or a user's own, strictly.

    Args:
        name: below experiments/ without suffix, or the path of a `*.yaml`.
        through: the tables whose `cells_from` led here.

    Raises:
        UserError: an unknown key, a wrong value, a network that the setting does not have, a
            hyper-parameter that the loss does not have.
    """
    shown = name if name.endswith(SUFFIX) else f"experiments/{name}"
    read = _with_cells(_with_name(name), shown)
    if "file" in read:
        raise UserError(f"unknown key {shown}.file")
    file = str(relative_to_here(name).resolve()) if name.endswith(SUFFIX) else None
    table = build(Table, read | {"file": file}, shown)
    if table.origin in through:
        raise UserError(f"{shown}: cells_from leads back here: {' -> '.join(through)}")
    if table.tuned is not None:
        rows = tuple(Cell(**row) for row in table.tuned.rows())
        table = dataclasses.replace(table, cells=(*table.cells, *rows))
    for index, cell in enumerate(table.cells):
        cell.check(f"{shown}.cells[{index}]")
    if table.cells_from is not None:
        other = read_table(table.cells_from, (*through, table.origin))
        table = dataclasses.replace(
            table,
            baselines=other.baselines | table.baselines,
            cells=(*other.cells, *table.cells),
            paper_runs=table.paper_runs or other.paper_runs,
        )
    networks = read_setting(table.setting).networks
    for place, used in _networks_used(table):
        if used not in networks:
            where = f"{shown}.{place}"
            raise UserError(
                f"{where}: {used} is no network of setting {table.setting}{nearest(used, networks)}"
            )
    return table


def _with_cells(values: dict[str, Any], where: str) -> dict[str, Any]:
    cells = values.get("cells")
    if not isinstance(cells, list):
        return values
    gathered = [gather_options(Cell, c, f"{where}.cells[{i}]") for i, c in enumerate(cells)]
    return values | {"cells": gathered}


def _networks_used(table: Table) -> list[tuple[str, str]]:
    used = [("baselines", name) for name in table.baselines]
    for index, cell in enumerate(table.cells):
        if cell.omitted is None:
            used.append((f"cells[{index}].network", cell.network))
            used += [(f"cells[{index}].teacher", cell.teacher)] if cell.teacher else []
    return used


def read_setting(name: str) -> Setting:
    """Reads one file of experiments/settings/, or a user's own, strictly."""
    file = name if name.endswith(SUFFIX) else f"{SETTINGS}/{name}"
    shown = name if name.endswith(SUFFIX) else f"experiments/{file}"
    return build(Setting, _with_name(file) | {"name": Path(name).stem}, shown)


def _with_name(name: str) -> dict[str, Any]:
    if name.endswith(SUFFIX):
        path = relative_to_here(name)
        return {"name": path.stem} | read_yaml(path)
    return {"name": name} | read_yaml(shipped_folder("experiments") / f"{name}{SUFFIX}")
