"""A report's cells as plain values, for programs to read: nested for JSON, flat for CSV.

The flat columns are picked out of the nested cells, so that all say the same; the tracker's table
is the flat one. Keys follow `summary` and `statistics`, whose docstrings say what they hold. Left
out are a run's config and history, which stand in its own folder.
"""

import csv
import functools
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kdlsr.reporting import formatting
from kdlsr.reporting.claims import seeds, tested
from kdlsr.reporting.comparison import Claim, Comparison
from kdlsr.reporting.statistics import Estimate
from kdlsr.reporting.summary import (
    FURTHER,
    MEASURES,
    OF_SOME,
    TO_TEACHER,
    CellSummary,
    Report,
    RunSummary,
)
from kdlsr.runs.result import PROTOCOLS

SCHEMA = 2
Value = str | float | int | bool | None


@dataclass(frozen=True)
class Column:
    """A column of the flat table: what it holds, and where that is in a nested cell."""

    meaning: str
    path: tuple[str | int, ...]

    def pick(self, cell: Mapping[str, Any]) -> Value:
        """Returns its value in a cell; None where nothing is known, of a list how many it has."""
        value: Any = cell
        for step in self.path:
            if value is None or (isinstance(step, int) and step >= len(value)):
                return None
            value = value[step] if isinstance(step, int) else value.get(step)
        return len(value) if isinstance(value, list) else value


# Path in a nested cell, or in a part of one: meaning.
_CELL = {
    "key": "unique in the table",
    "group": "the part of the table it is in",
    "row": "heading of its row",
    "column": "heading of its column",
    "name": "baseline, a form, or what a control is",
    "kind": "baseline, method, control or cell",
    "state": "complete, partial, failed, not run or omitted",
    "why": "why it is not complete",
    "runs": "how many runs it has",
}
_ESTIMATE = {
    "mean": "mean over its complete runs",
    "deviation": "standard deviation over them, n - 1 in the denominator",
    "n": "how many they are",
}
_HALF_WIDTH = {"half_width": "of the mean's 95 % interval (Student's t)"}
_COMPARISON = {
    "key": "the key of the cell that is subtracted",
    "difference": "mean top-1 of this cell minus that one's, points",
    "moderated.low": "of the moderated 95 % interval",
    "moderated.high": "of the moderated 95 % interval",
    "moderated.df": "degrees of freedom of the moderated error",
    "moderated.p": "of no difference, two-sided, moderated",
    "p_holm": "that p after Holm's correction in its family",
    "p_equivalence_holm": "of a difference of the margin or more, likewise",
    "verdict": "better, worse, equivalent, undecided, or described (not tested)",
    "seeds_needed": "how many seeds a cell would decide it, where it is undecided",
    "welch.low": "of Welch's 95 % interval",
    "welch.high": "of Welch's 95 % interval",
    "welch.df": "Welch-Satterthwaite's degrees of freedom",
    "welch.p": "Welch's, two-sided",
    "paired.low": "of the 95 % interval of the differences by seed",
    "paired.high": "of the 95 % interval of the differences by seed",
    "paired.p": "two-sided",
}
_CLAIM = {
    "verdict": "what became of the claim that it gains",
    "why": "on what that rests",
    "seeds_needed": "how many seeds a cell would decide it, where it is undecided",
    "gain": "the paper's gain over its baseline, points",
    "grade": "of evidence for it",
}
_PAPER = {
    "accuracy": "the paper's top-1, percent",
    "deviation": "as printed",
    "grade": "of evidence: P primary, S secondary, V read off a figure, D derived",
    "compatibility.difference": "ours minus the paper's at its protocol, points",
    "compatibility.tolerance": "the largest difference that is compatible",
    "compatibility.compatible": "true or false",
}
# What a spreadsheet would compute; `-` alone is a dash.
_MEANS_A_FORMULA = re.compile(r"[=@+]|-.")
_UNNAMED = ("moderated.", "compatibility.")  # in the name of a column


def columns(report: Report) -> dict[str, Column]:
    """Returns the columns of the flat table by name, in their order.

    All reports have the same but for `control_2`, `control_3`, ..., which follow where a cell of
    the report has so many controls, and for those of OF_SOME
    and FURTHER, which are there where a cell has one.
    """
    found = _columns(_CELL, "", ())
    for protocol in PROTOCOLS:
        about = f"test top-1 at {protocol}, percent: "
        found |= _columns(_ESTIMATE, protocol, ("top1", protocol), about)
        found |= _columns(_HALF_WIDTH, protocol, ("top1", protocol))
    of_some = [name for name in OF_SOME if any(name in c.measures for c in report.cells)]
    for name in (*MEASURES, *of_some, *TO_TEACHER):
        measure = f"{formatting.measure_name(name)} at {report.protocol}: "
        found |= _columns(_ESTIMATE, name, ("measures", name), measure)
    for name in FURTHER:
        if any(name in cell.measures for cell in report.cells):
            meaning = f"{formatting.measure_name(name)} after the last epoch: "
            found |= _columns(_ESTIMATE, name, ("measures", name), meaning)
    most = max((len(cell.controls) for cell in report.cells), default=0)
    controls = {f"control_{i + 1}": ("controls", i) for i in range(max(1, most))}
    compared: dict[str, tuple[str | int, ...]] = {"baseline": ("baseline",), **controls}
    for name, path in compared.items():
        found |= _columns(_COMPARISON, name, path, f"against its {name} at {report.protocol}: ")
    found |= _columns(_CLAIM, "claim", ("claim",))
    found |= _columns(_PAPER, "paper", ("paper",))
    return found | {"note": Column("what is to be known of the cell", ("note",))}


def _columns(
    meanings: Mapping[str, str], name: str, path: tuple[str | int, ...], about: str = ""
) -> dict[str, Column]:
    found = {}
    for key, meaning in meanings.items():
        own = functools.reduce(str.removeprefix, _UNNAMED, key).replace(".", "_")
        column = Column(about + meaning, (*path, *key.split(".")))
        found[f"{name}_{own}" if name else own] = column
    return found


def records(report: Report) -> list[dict[str, Value]]:
    """Returns a row per cell, each with all of `columns`; None where nothing is known."""
    wanted = columns(report)
    return [
        {name: column.pick(cell) for name, column in wanted.items()}
        for cell in map(_cell, report.cells)
    ]


def render_csv(report: Report) -> str:
    """Returns the table at full precision; what is not known is empty.

    The first line is a comment that says which profile made it, the second the header: in pandas,
    `read_csv(path, skiprows=1)`.
    """
    text = io.StringIO()
    text.write(f"# {formatting.one_line(report.first_line)}\n")
    writer = csv.DictWriter(text, list(columns(report)), lineterminator="\n")
    writer.writeheader()
    for record in records(report):
        writer.writerow({name: _shown(value) for name, value in record.items()})
    return text.getvalue()


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        text = formatting.one_line(value)
        return f"'{text}" if _MEANS_A_FORMULA.match(text) else text
    return "" if value is None else repr(value)


def render_json(report: Report) -> str:
    """Returns the report, equal for equal reports to the byte.

    Raises:
        ValueError: a number is not finite.
    """
    apart = ("cells", "first_line", "search", "studies")
    rest = {f.name: getattr(report, f.name) for f in fields(report) if f.name not in apart}
    values = {
        "first_line": report.first_line,
        "schema": SCHEMA,
        **rest,
        "search": asdict(report.search) if report.search else None,
        "studies": {study.name: dict(study.values) for study in report.studies},
        "cells": [_cell(cell) for cell in report.cells],
        "table_csv_columns": {name: c.meaning for name, c in columns(report).items()},
    }
    return json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _cell(cell: CellSummary) -> dict[str, Any]:
    return {
        "key": cell.key,
        "group": cell.group,
        "row": cell.row,
        "column": cell.column,
        "name": cell.name,
        "kind": cell.kind,
        "state": cell.state,
        "why": formatting.why_incomplete(cell) or None,
        "claim": _claim(cell.claim) if cell.claim else None,
        "top1": {name: _estimate(found) for name, found in cell.estimates.items()},
        "measures": {name: _estimate(found) for name, found in cell.measures.items()},
        "baseline": _comparison(cell.baseline) if cell.baseline else None,
        "controls": [_comparison(control) for control in cell.controls],
        "uncompared": list(cell.uncompared),
        "paper": asdict(cell.target) if cell.target else None,
        "teacher_epoch": cell.teacher_epoch,
        "note": cell.note,
        "runs": _runs(cell),
    }


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return {**asdict(found), "n": found.n} if found else None


def _claim(found: Claim) -> dict[str, Any]:
    return asdict(found) | {"seeds_needed": seeds(found.seeds_needed)}


def _comparison(found: Comparison) -> dict[str, Any]:
    difference = found.difference
    return {
        "key": found.key,
        "name": found.name,
        "difference": difference.mean,
        **tested(found),
        "moderated": asdict(found.interval) if found.interval else None,
        "welch": asdict(difference.welch) if difference.welch else None,
        "paired": asdict(difference.paired) if difference.paired else None,
    }


def _runs(cell: CellSummary) -> list[dict[str, Any]]:
    """Returns the runs, those that are complete with their own top-1 by protocol."""
    return [
        {
            "seed": run.card.seed,
            "run_id": run.run_id,
            "state": run.state,
            "error": run.error,
            "command": formatting.command_line(run.overrides),
            "top1": _top1(run, cell.estimates),
            "teacher": run.result.to_json()["teacher"] if run.taught and run.result else None,
        }
        for run in cell.runs
    ]


def _top1(run: RunSummary, protocols: Iterable[str]) -> dict[str, float] | None:
    if run.result is None or not run.is_complete:
        return None
    return {name: at.test.top1 for name in protocols if (at := run.result.at(name))}
