r"""A report as LaTeX: a `booktabs` table for each group, to be `\input`; needs nothing else.

Text in, text out; no number is computed here.
"""

import re
from collections.abc import Iterable

from kdlsr.reporting.summary import CellSummary, Report
from kdlsr.reporting.text import words

_MARKS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # textquotedbl needs the T1 encoding
    "`": r"\textasciigrave{}",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{MINUS SIGN}": "$-$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$",
    "ε": r"$\varepsilon$",
    "τ": r"$\tau$",
    "·": r"$\cdot$",
    "∥": r"$\|$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
}


def render_latex(report: Report) -> str:
    """Returns the report; its first line, a comment, says which profile made it."""
    groups = list(dict.fromkeys(cell.group for cell in report.cells))
    tables = [_table(report, number, group) for number, group in enumerate(groups)]
    head = [
        report.first_line,
        rf"Needs \usepackage{{booktabs}}. Made by: {report.command}",
    ]
    comments = [f"% {words.one_line(line)}" for line in head]
    said = (words.headline(report), words.chosen(report), *report.caveats, *report.notes)
    notes = [f"% {words.one_line(line)}" for line in said if line]
    return "\n".join([*comments, *tables, *notes]) + "\n"


def escape(text: str) -> str:
    """Returns text in which no character means anything to LaTeX, in one line."""
    return "".join(_MARKS.get(mark, mark) for mark in words.one_line(text))


def _table(report: Report, number: int, group: str | None) -> str:
    """Returns one group's table; the first group's has the label of the report itself."""
    cells = [cell for cell in report.cells if cell.group == group]
    columns = _columns(report)
    label = re.sub(r"[^A-Za-z0-9]+", "-", report.name) + (f"-{number}" if number else "")
    title = f"{report.title}, {group}" if group else report.title
    caption = f"{escape(f'{title}. {report.first_line}')} {_KEY.format(escape(report.protocol))}"
    lines = [
        r"\begin{table*}[t]",
        r"\centering\small",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{'l' * len(columns)}}}",
        r"\toprule",
        _row(map(escape, columns)),
        r"\midrule",
        *(line for cell in cells for line in _rows(report, cell)),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines)


_KEY = (
    r"Test top-1 in percent, mean $\pm$ standard deviation ($n$); differences at {} with "
    r"Welch's 95\,\% interval."
)


def _columns(report: Report) -> list[str]:
    columns = ["row", "column", "cell", *report.protocols]
    if _compares(report):
        columns += ["vs baseline", "vs control"]
    return [*columns, "paper (grade)"] if _has_target(report) else columns


def _compares(report: Report) -> bool:
    return any(words.comparisons(cell) for cell in report.cells)


def _has_target(report: Report) -> bool:
    return any(cell.target for cell in report.cells)


def _rows(report: Report, cell: CellSummary) -> list[str]:
    """Returns a line per control, the first with all else; why, for a cell without a run."""
    names = [escape(text) for text in (cell.row, cell.column, cell.name)]
    columns = len(_columns(report))
    if not words.has_results(cell):
        why = escape(words.shortfall(cell) or words.NOTHING)
        wide = columns - len(names) - _has_target(report)
        spanned = rf"\multicolumn{{{wide}}}{{l}}{{{why}}}"
        return [_row([*names, spanned, *_paper(report, cell)])]
    values = [*names, *(escape(words.top1(cell, p)) for p in report.protocols)]
    controls = [escape(text) for text in words.versus_controls(cell)] or [words.NOTHING]
    if not _compares(report):
        return [_row([*values, *_paper(report, cell)])]
    first = [*values, escape(words.versus_baseline(cell)), controls[0], *_paper(report, cell)]
    rest = [[""] * (len(values) + 1) + [control] for control in controls[1:]]
    padded = [[*line, *[""] * (columns - len(line))] for line in rest]
    return [_row(line) for line in (first, *padded)]


def _paper(report: Report, cell: CellSummary) -> list[str]:
    if not _has_target(report):
        return []
    held = cell.target.compatibility if cell.target else None
    judged = f", {words.compatible(cell.target)}" if held else ""
    return [escape(f"{words.paper(cell.target)}{judged}")]


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
