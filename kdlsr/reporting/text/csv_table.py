"""A report as CSV: one line per cell, raw numbers at full precision, for programs to read.

The first line is a comment that says which profile made it, the second the header: in pandas,
`read_csv(path, skiprows=1)`. What is not known is empty. `columns` says what each column holds.
"""

import csv
import io
from collections.abc import Mapping

from kdlsr.reporting.statistics import Difference, Estimate
from kdlsr.reporting.summary import MEASURES, PROTOCOLS, CellSummary, Comparison, Report
from kdlsr.reporting.text import words

Value = str | float | int | bool | None
_PLACE = {
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
_DIFFERENCE = {
    "key": "the key of the cell that is subtracted",
    "difference": "mean top-1 of this cell minus that one's, points",
    "low": "of Welch's 95 % interval",
    "high": "of Welch's 95 % interval",
    "df": "Welch-Satterthwaite's degrees of freedom",
    "p": "Welch's, two-sided",
    "p_holm": "after Holm's correction over all differences of the table",
    "paired_low": "of the 95 % interval of the differences by seed",
    "paired_high": "of the 95 % interval of the differences by seed",
    "paired_p": "two-sided",
    "verdict": "beats, below, no difference shown or unclaimed",
}
_PAPER = {
    "paper_accuracy": "the paper's top-1, percent",
    "paper_deviation": "as printed",
    "paper_grade": "of evidence: P primary, S secondary, V read off a figure, D derived",
    "paper_difference": "ours minus the paper's at best_test, points",
    "paper_tolerance": "the largest difference that is compatible",
    "paper_compatible": "true or false",
    "note": "what is to be known of the cell",
}


def render_csv(report: Report) -> str:
    """Returns the table, its first line a comment."""
    text = io.StringIO()
    text.write(f"# {words.one_line(report.first_line)}\n")
    writer = csv.DictWriter(text, list(columns(report)), lineterminator="\n")
    writer.writeheader()
    for record in records(report):
        writer.writerow({name: _shown(value) for name, value in record.items()})
    return text.getvalue()


def records(report: Report) -> list[dict[str, Value]]:
    """Returns a row per cell, each with all of `columns`; None where nothing is known."""
    nothing: dict[str, Value] = dict.fromkeys(columns(report))
    return [nothing | _record(cell) for cell in report.cells]


def columns(report: Report) -> dict[str, str]:
    """Returns the name and meaning of each column, in their order.

    All reports have the same but for `control_2`, `control_3`, ..., which follow where a cell of
    the report has so many controls.
    """
    found = dict(_PLACE)
    for protocol in PROTOCOLS:
        found |= _prefixed(protocol, _ESTIMATE, f"test top-1 at {protocol}, percent: ")
        found[f"{protocol}_half_width"] = "of the mean's 95 % interval (Student's t)"
    for name in (*MEASURES, "agreement", "kl"):
        found |= _prefixed(name, _ESTIMATE, f"{words.MEASURE_NAMES[name]} at {report.protocol}: ")
    most = max((len(cell.controls) for cell in report.cells), default=0)
    for name in ("baseline", *_control_names(max(1, most))):
        found |= _prefixed(name, _DIFFERENCE, f"against its {name} at {report.protocol}: ")
    return found | _PAPER


def _prefixed(prefix: str, names: Mapping[str, str], meaning: str) -> dict[str, str]:
    return {f"{prefix}_{name}": meaning + text for name, text in names.items()}


def _control_names(count: int) -> list[str]:
    return [f"control_{number}" for number in range(1, count + 1)]


def _record(cell: CellSummary) -> dict[str, Value]:
    found: dict[str, Value] = {
        "key": cell.key,
        "group": cell.group,
        "row": cell.row,
        "column": cell.column,
        "name": cell.name,
        "kind": cell.kind,
        "state": cell.state,
        "why": words.shortfall(cell) or None,
        "runs": len(cell.runs),
        "note": cell.note,
    }
    for protocol, estimate in cell.estimates.items():
        found |= _estimate(protocol, estimate)
        found[f"{protocol}_half_width"] = estimate.half_width if estimate else None
    for name, estimate in cell.measures.items():
        found |= _estimate(name, estimate)
    if cell.baseline:
        found |= _comparison("baseline", cell.baseline)
    for name, control in zip(_control_names(len(cell.controls)), cell.controls, strict=True):
        found |= _comparison(name, control)
    return found | _paper(cell)


def _estimate(prefix: str, found: Estimate | None) -> dict[str, Value]:
    if found is None:
        return {}
    return {
        f"{prefix}_mean": found.mean,
        f"{prefix}_deviation": found.deviation,
        f"{prefix}_n": found.n,
    }


def _comparison(prefix: str, found: Comparison) -> dict[str, Value]:
    values = {"key": found.key, **_difference(found.difference)}
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _difference(found: Difference) -> dict[str, Value]:
    welch, paired = found.welch, found.paired
    return {
        "difference": found.mean,
        "low": welch.low if welch else None,
        "high": welch.high if welch else None,
        "df": welch.df if welch else None,
        "p": found.p,
        "p_holm": found.p_holm,
        "paired_low": paired.low if paired else None,
        "paired_high": paired.high if paired else None,
        "paired_p": paired.p if paired else None,
        "verdict": found.verdict,
    }


def _paper(cell: CellSummary) -> dict[str, Value]:
    target = cell.target
    if target is None:
        return {}
    held = target.compatibility
    return {
        "paper_accuracy": target.accuracy,
        "paper_deviation": target.deviation,
        "paper_grade": target.grade,
        "paper_difference": held.difference if held else None,
        "paper_tolerance": held.tolerance if held else None,
        "paper_compatible": held.compatible if held else None,
    }


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return words.one_line(value)
    return "" if value is None else repr(value)
