"""Where a report stands, and whose it is: no table's in the place of another's."""

import os
from pathlib import Path

from kdlsr.config import UserError
from kdlsr.files import parse_json


def made_from(table: str, root: Path) -> str:
    """Returns what a report is made from, as it stands in the report, wherever all that is moved.

    Args:
        table: its origin.
        root: the output folder, which the path of a user's own file is relative to.
    """
    return os.path.relpath(table, root.resolve()) if Path(table).is_absolute() else table


def check_place(name: str, origin: str, root: Path) -> None:
    """Refuses to put one table's report in the place of another's, that is there still.

    Args:
        name: of the report.
        origin: what it is made from; "" for a report on any runs.
        root: the output folder.

    Raises:
        UserError: whose report is there, and what to do.
    """
    folder = root / "reports" / name
    try:
        there = parse_json((folder / "report.json").read_bytes())["made_from"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # none, or none that says whose it is
    if not isinstance(there, str) or there in ("", origin):
        return
    if there.endswith(".yaml") and not (root / there).exists():
        return  # the table was moved
    mine = origin or "any runs"
    raise UserError(
        f"{folder} is the report on {there}, not on {mine}: give this one another name, or "
        "remove that one"
    )
