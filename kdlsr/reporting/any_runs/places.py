"""Where the cells of any runs stand in a table and what they are called, by their configs.

Words and order only: no figure of a run is read here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kdlsr.config.overrides import write_value
from kdlsr.reporting.any_runs.stored import StoredCell, telling_keys

# What a reader looks for first in a name; other keys follow in the config's order.
_FIRST = ("loss.name", "loss.form", "loss.tau", "loss.alpha", "teacher.name")


@dataclass(frozen=True)
class Place:
    """Where a cell stands in the table, and what it is called there."""

    group: str | None
    row: str
    column: str
    name: str


def place_cells(cells: Sequence[StoredCell], group_by: Sequence[str]) -> dict[str, Place]:
    """Says where each cell stands: its row by `group_by`, its name by what else tells it."""
    telling = telling_keys(cells)
    several = len({cell.config.get("dataset.name") for cell in cells}) > 1
    places = {}
    for cell in cells:
        keys = [key for key in telling[cell.cell_id] if key not in group_by]
        network = _label(cell, ["model.name", *_below(keys, "model")], bare=True)
        data = _label(cell, ["dataset.name", *_below(keys, "dataset")], bare=True)
        rest = sorted(
            (k for k in keys if k.partition(".")[0] not in ("model", "dataset")),
            key=lambda k: _FIRST.index(k) if k in _FIRST else len(_FIRST),
        )
        name = _label(cell, rest) or str(cell.config.get("loss.name", cell.cell_id))
        if group_by:
            row = _label(cell, group_by) or "-"
            places[cell.cell_id] = Place(data if several else None, row, network, name)
        else:
            places[cell.cell_id] = Place(None, network or "-", data or "-", name)
    return _distinct(places)


def _below(keys: Sequence[str], section: str) -> list[str]:
    return [k for k in keys if k.startswith(f"{section}.") and k != f"{section}.name"]


def _label(cell: StoredCell, keys: Sequence[str], bare: bool = False) -> str:
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


def _distinct(places: dict[str, Place]) -> dict[str, Place]:
    """Adds the end of the cell_id where two cells would have the same place and name."""
    seen = list(places.values())
    return {
        cell_id: place
        if seen.count(place) == 1
        else Place(place.group, place.row, place.column, f"{place.name} {cell_id[-10:]}")
        for cell_id, place in places.items()
    }


def natural_order(text: str) -> list[tuple[int, float, str]]:
    """Sorts tau=4 before tau=10, and 0.05 before 0.1."""
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)
    return [(1, float(p), "") if i % 2 else (0, 0.0, p) for i, p in enumerate(parts)]
