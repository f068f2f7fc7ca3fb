"""A report as Markdown and as LaTeX: what the templates `table.md` and `table.tex` are given.

No number is computed here.
"""

import re

from kdlsr.reporting import formatting, judged, templating
from kdlsr.reporting.summary import FURTHER, MEASURES, OF_SOME, TO_TEACHER, CellSummary, Report


def render_markdown(report: Report) -> str:
    """Returns the report; its first line says which profile made it."""
    cells = report.cells
    methods = [cell for cell in cells if cell.kind == "method"]
    lacking = [cell for cell in cells if formatting.why_incomplete(cell)]
    measured = {name for c in cells for name, found in c.measures.items() if found is not None}
    return (
        templating.markdown()
        .get_template("table.md")
        .render(
            report=report,
            answers=methods if any(map(judged.comparisons, methods)) else [],
            has_target=_has_target(report),
            comparisons=[(cell, other) for cell in cells for other in judged.comparisons(cell)],
            measures=[name for name in (*MEASURES, *OF_SOME, *TO_TEACHER) if name in measured],
            further=[name for name in FURTHER if name in measured],
            failed=formatting.failed_commands(lacking),
            cell_notes=tuple(
                f"{formatting.position(cell)}, {cell.name}: {cell.note}"
                for cell in cells
                if cell.note and cell.state != "omitted"
            ),
        )
    )


def render_latex(report: Report) -> str:
    r"""Returns a `booktabs` table for each group, to be `\input`; needs nothing else.

    Its first line, a comment, says which profile made it.
    """
    groups: dict[str | None, list[CellSummary]] = {}
    for cell in report.cells:
        groups.setdefault(cell.group, []).append(cell)
    compares = any(map(judged.comparisons, report.cells))
    has_target = _has_target(report)
    columns = ["row", "column", "cell", *report.protocols]
    columns += ["vs baseline", "vs control"] if compares else []
    columns += ["claim"] if report.claims else []
    columns += ["paper (grade)"] if has_target else []
    return (
        templating.latex()
        .get_template("table.tex")
        .render(
            report=report,
            groups=list(groups.items()),
            label=re.sub(r"[^A-Za-z0-9]+", "-", report.name),
            columns=columns,
            compares=compares,
            has_target=has_target,
        )
    )


def _has_target(report: Report) -> bool:
    return any(cell.target for cell in report.cells)
