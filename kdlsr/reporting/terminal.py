"""A report on a terminal, readable at 80 columns: nothing is cut off, what is long is folded.

Where the files went is printed by who wrote them.
"""

import shlex
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdlsr.reporting import formatting, judged
from kdlsr.reporting.comparison import Comparison
from kdlsr.reporting.summary import CellSummary, Report

WIDTH = 80
_STYLES = {"better": "green", "worse": "red", "equivalent": "cyan"}
_CLAIM_STYLES = {
    "gain shown and survives its control": "green",
    "gain shown, without a control": "green",
    "gain shown and explained by its control": "cyan",
    "no gain": "red",
}
_VERSUS = 24  # columns of `-21.93 [-23.02, -20.85]`, and one more
_SPREAD = 16  # columns of `97.40 ± 0.20 (3)`


def print_report(console: Console, report: Report) -> None:
    """Prints the report, its first line first, its caveats last."""
    _print_paragraph(console, report.first_line)
    _print_paragraph(console, report.title, style="bold")
    _print_answers(console, report)
    _print_top1(console, report)
    _print_unfinished(console, report)
    if formatting.chosen(report):
        _print_paragraph(console, formatting.chosen(report), style="bold")
    for study in report.studies:
        _print_paragraph(console, study.title, style="bold")
        for text in study.answers:
            _print_paragraph(console, text)
    for text in (report.how_decided, *report.caveats, formatting.grades(report)):
        if text:
            _print_paragraph(console, f"- {text}")


def _print_paragraph(console: Console, text: str, style: str = "") -> None:
    """Prints one paragraph, folded at the console's width or at 80 where that is wider."""
    width = min(console.width, WIDTH)
    shown = Text(formatting.one_line(text), style=style, overflow="fold")
    console.print(shown, soft_wrap=False, width=width, highlight=False)


def _print_rows(console: Console, widths: Sequence[int], rows: Iterable[Sequence[Text]]) -> None:
    """Prints rows of equal widths; the first column takes what the others leave."""
    table = Table(
        box=None,
        show_header=False,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        width=min(console.width, WIDTH),
    )
    table.add_column(overflow="fold", ratio=1)
    for width in widths:
        table.add_column(overflow="fold", width=width)
    for row in rows:
        table.add_row(*row)
    console.print(table, soft_wrap=False)


def _print_by_place(
    console: Console,
    head: Sequence[str],
    width: int,
    cells: Iterable[CellSummary],
    values: Callable[[CellSummary], list[Text]],
    named: Callable[[CellSummary], Text] = lambda cell: Text(f"  {cell.name}"),
) -> None:
    """Prints a line per cell below headings that name its group, row and column."""
    widths = [width] * len(head)
    _print_rows(console, widths, [[Text(""), *(Text(name, style="bold") for name in head)]])
    places: dict[str, list[CellSummary]] = {}
    for cell in cells:
        group = f"{cell.group}: " if cell.group else ""
        places.setdefault(f"{group}{formatting.position(cell)}", []).append(cell)
    for heading, members in places.items():
        _print_paragraph(console, heading, style="bold")
        _print_rows(console, widths, [[named(c), *values(c)] for c in members])


def _print_answers(console: Console, report: Report) -> None:
    """Prints, per method, what became of its claim, and what it was held against."""
    methods = [cell for cell in report.cells if cell.kind == "method"]
    if not any(judged.comparisons(cell) for cell in methods):
        return
    console.print()
    _print_paragraph(console, judged.headline(report), style="bold")
    title = f"Differences at {report.protocol}, points, moderated 95 % intervals"
    _print_paragraph(console, title, style="bold")
    _print_by_place(console, ("vs baseline", "vs control"), _VERSUS, methods, _versus, _named)
    console.print()


def _named(cell: CellSummary) -> Text:
    """Returns a cell's name and, on the next line, what became of its claim."""
    name = Text(f"  {cell.name}")
    if cell.claim is None:
        return name
    style = _CLAIM_STYLES.get(cell.claim.verdict, "")
    return Text("\n").join([name, Text(f"  {judged.claim_verdict(cell)}", style=style)])


def _versus(cell: CellSummary) -> list[Text]:
    if not formatting.has_results(cell):
        return [Text(_state(cell)), Text(formatting.NOTHING)]
    several = len(cell.controls) + len(cell.uncompared) > 1
    controls = [_verdict(c, c.name if several else "") for c in cell.controls]
    controls += [Text(other) for other in cell.uncompared]
    baseline = _verdict(cell.baseline) if cell.baseline else Text(formatting.NOTHING)
    return [baseline, Text("\n").join(controls) if controls else Text(formatting.NOTHING)]


def _verdict(found: Comparison, name: str = "") -> Text:
    """Returns a difference with the verdict, and what it is to, on lines of their own."""
    verdict = Text(judged.verdict(found), style=_STYLES.get(found.verdict, ""))
    lines = [Text(judged.figures(found)), verdict]
    return Text("\n").join([Text(f"{name}:"), *lines] if name else lines)


def _print_top1(console: Console, report: Report) -> None:
    has_target = any(cell.target for cell in report.cells)
    head = [*report.protocols, *(["paper (grade)"] if has_target else [])]
    console.print()
    _print_paragraph(console, "Test top-1 %, mean ± standard deviation (n)", style="bold")
    _print_by_place(
        console, head, _SPREAD, report.cells, lambda cell: _values(report, cell, has_target)
    )
    console.print()


def _values(report: Report, cell: CellSummary, has_target: bool) -> list[Text]:
    found = [formatting.top1(cell, protocol) for protocol in report.protocols]
    if not formatting.has_results(cell):
        found = [_state(cell), *[formatting.NOTHING] * (len(found) - 1)]
    if has_target:
        judged = cell.target is not None and cell.target.compatibility is not None
        found.append(formatting.paper(cell.target))
        found[-1] += f"\n{formatting.compatible(cell.target)}" if judged else ""
    return [Text(text) for text in found]


def _state(cell: CellSummary) -> str:
    """Returns in a word why a cell has no value; the reason in full stands below the tables."""
    return formatting.why_incomplete(cell).partition(":")[0] or formatting.NOTHING


def _print_unfinished(console: Console, report: Report) -> None:
    """Prints what is not complete and why, and the commands of the runs that failed."""
    for cell in report.cells:
        why = formatting.why_incomplete(cell)
        if why:
            _print_paragraph(
                console, f"{formatting.position(cell)}, {cell.name}: {why}", style="red"
            )
    for command in formatting.failed_commands(report.cells):
        for line in shell_lines(command, min(console.width, WIDTH) - 2):
            # A word that is longer than a line stays whole, to be copied.
            console.print(f"  {line}", markup=False, soft_wrap=True, highlight=False)


def shell_lines(command: str, width: int) -> list[str]:
    """Breaks a shell command between its words into lines that a shell reads as one command."""
    lines: list[str] = []
    for word in map(shlex.quote, shlex.split(command)):
        if lines and len(lines[-1]) + len(word) + 3 <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}" if lines else word)
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]
