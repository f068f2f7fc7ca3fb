"""Where the cells of any runs stand in a table and what they are called, by their configs.

Names and order only: no figure of a run is read here.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdlsr.config.overrides import write_value
from kdlsr.reporting.any_runs.choose import SECTIONS, RunsOfCell, differing_keys

# What a reader looks for first in a name; other keys follow in the config's order.
_FIRST = ("loss.name", "loss.form", "loss.tau", "loss.alpha", "teacher.name")


@dataclass(frozen=True)
class Position:
    """Where a cell stands in the table, and what it is called there."""

    group: str | None
    row: str
    column: str
    name: str


def position_cells(cells: Sequence[RunsOfCell], group_by: Sequence[str]) -> dict[str, Position]:
    """Returns where each cell stands: its row by `group_by`, its name by what else differs."""
    distinguishing = distinguishing_keys(cells)
    several = len({cell.config["dataset.name"] for cell in cells}) > 1
    found = {}
    for cell in cells:
        keys = [key for key in distinguishing[cell.cell_id] if key not in group_by]
        network = _label(cell, ["model.name", *_below(keys, "model")], bare=True)
        data = _label(cell, ["dataset.name", *_below(keys, "dataset")], bare=True)
        rest = sorted(
            (k for k in keys if k.partition(".")[0] not in ("model", "dataset")),
            key=lambda k: _FIRST.index(k) if k in _FIRST else len(_FIRST),
        )
        name = _label(cell, rest) or str(cell.config["loss.name"])
        if group_by:
            row = _label(cell, group_by) or "-"
            found[cell.cell_id] = Position(data if several else None, row, network, name)
        else:
            found[cell.cell_id] = Position(None, network, data, name)
    counts = Counter(found.values())
    return {
        cell_id: at if counts[at] == 1 else replace(at, name=f"{at.name} {cell_id[-10:]}")
        for cell_id, at in found.items()
    }


def distinguishing_keys(cells: Sequence[RunsOfCell]) -> dict[str, list[str]]:
    """Returns, for each cell by its id, the keys that distinguish it from the others.

    A key of a named section (a loss's tau) distinguishes only cells that have the same name
    there: beside cross-entropy, `loss=kd` is enough.
    """
    everywhere = set(differing_keys(cells))
    among: dict[tuple[str, Any], set[str]] = {}
    for section in SECTIONS:
        peers: dict[Any, list[RunsOfCell]] = {}
        for cell in cells:
            peers.setdefault(cell.config.get(f"{section}.name"), []).append(cell)
        among |= {(section, name): set(differing_keys(same)) for name, same in peers.items()}

    def distinguishes(cell: RunsOfCell, key: str) -> bool:
        section = key.partition(".")[0]
        if section not in SECTIONS or key == f"{section}.name":
            return key in everywhere
        return key in among[section, cell.config.get(f"{section}.name")]

    return {cell.cell_id: [k for k in cell.config if distinguishes(cell, k)] for cell in cells}


def _below(keys: Sequence[str], section: str) -> list[str]:
    return [k for k in keys if k.startswith(f"{section}.") and k != f"{section}.name"]


def _label(cell: RunsOfCell, keys: Sequence[str], bare: bool = False) -> str:
    """Returns `loss=kd loss.tau=4` of the keys that a cell has; `bare`: a first name alone."""
    parts = []
    for key in keys:
        if key not in cell.config or (key == "teacher.name" and cell.config[key] == "none"):
            continue
        if bare and key.endswith(".name"):
            parts.append(str(cell.config[key]))
        else:
            parts.append(f"{key.removesuffix('.name')}={_shown(cell.config[key])}")
    return " ".join(parts)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else write_value(value).strip('"')


def natural_order(text: str) -> list[tuple[int, float, str]]:
    """Sorts tau=4 before tau=10, and 0.05 before 0.1."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)
    return [(1, float(p), "") if i % 2 else (0, 0.0, p) for i, p in enumerate(parts)]
