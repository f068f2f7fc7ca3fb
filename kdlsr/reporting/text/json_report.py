"""A report as JSON: every cell with all its figures, per run too; for programs to read.

Keys follow `summary` and `statistics`, whose docstrings say what they hold. Left out are a run's
config and history, which stand in its own folder.
"""

import json
from dataclasses import asdict
from typing import Any

from kdlsr.reporting.statistics import Difference, Estimate
from kdlsr.reporting.summarise import command_line
from kdlsr.reporting.summary import CellSummary, Comparison, Report
from kdlsr.reporting.text import words
from kdlsr.reporting.text.csv_table import columns

SCHEMA = 1
_OF_ITS_OWN = ("cells", "first_line")  # written apart from a report's other fields


def render_json(report: Report) -> str:
    """Returns the report, equal for equal reports to the byte.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(report_values(report), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def report_values(report: Report) -> dict[str, Any]:
    """Returns the report as plain values."""
    rest = {name: _plain(value) for name, value in vars(report).items() if name not in _OF_ITS_OWN}
    if report.search is not None:
        rest["search"] = _plain(asdict(report.search))
    return {
        "first_line": report.first_line,
        "schema": SCHEMA,
        **rest,
        "cells": [_cell(cell) for cell in report.cells],
        "table_csv_columns": columns(report),
    }


def _plain(value: Any) -> Any:
    """Returns nested values as JSON gives them back: tuples as lists."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _cell(cell: CellSummary) -> dict[str, Any]:
    return {
        "key": cell.key,
        "group": cell.group,
        "row": cell.row,
        "column": cell.column,
        "name": cell.name,
        "kind": cell.kind,
        "state": cell.state,
        "why": words.shortfall(cell) or None,
        "answer": words.answer(cell) if cell.kind == "method" else None,
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
    return {**_plain(asdict(found)), "n": found.n} if found else None


def _comparison(found: Comparison) -> dict[str, Any]:
    return {"key": found.key, "name": found.name, **_difference(found.difference)}


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "difference": found.mean,
        "verdict": found.verdict,
        "welch": asdict(found.welch) if found.welch else None,
        "p_holm": found.p_holm,
        "paired": asdict(found.paired) if found.paired else None,
    }


def _runs(cell: CellSummary) -> list[dict[str, Any]]:
    """Returns the runs, those that are complete with their own top-1 by protocol."""
    complete = [run.run_id for run in cell.runs if run.state == "complete"]
    top1: dict[str, dict[str, float]] = {run_id: {} for run_id in complete}
    for protocol, found in cell.estimates.items():
        for run_id, value in zip(complete, found.values if found else (), strict=found is not None):
            top1[run_id][protocol] = value
    return [
        {
            "seed": run.seed,
            "run_id": run.run_id,
            "state": run.state,
            "error": run.error,
            "command": command_line(run.overrides),
            "top1": top1.get(run.run_id),
            "teacher": _plain(dict(run.teacher)) if run.teacher else None,
        }
        for run in cell.runs
    ]
