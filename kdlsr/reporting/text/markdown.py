"""A report as Markdown (GitHub's): text in, text out; no number is computed here."""

import re
from collections.abc import Iterable, Sequence

from kdlsr.reporting.summarise import command_line
from kdlsr.reporting.summary import CellSummary, Report
from kdlsr.reporting.text import words

_MARKS = re.compile(r"[\\`*~$|<]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=#|\w+;)|(?<=\])\(")
_BLOCK = re.compile(r"^(?:[#>]|[-+](?=[\s-]|$)|\d+(?=[.)](?:\s|$)))")


def render_markdown(report: Report) -> str:
    """Returns the report; its first line says which profile made it."""
    blocks = [
        _paragraph(report.first_line),
        f"# {escape(report.title)}",
        *(_paragraph(text) for text in (report.source, report.shows, words.chosen(report)) if text),
        *_answers(report),
        *_top1(report),
        *_differences(report),
        *_measures(report),
        *_unfinished(report),
        *_list("How to read it", [*report.caveats, words.grades(report)]),
        *_list("Notes", [*report.notes, *_cell_notes(report)]),
        *_list("Made on", report.environment),
        "## Made by",
        _code(report.command),
    ]
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Returns text in which no character means anything to Markdown, in one line."""
    text = words.one_line(text)
    return _MARKS.sub(
        lambda found: {"<": "&lt;", "&": "&amp;"}.get(found[0], "\\" + found[0]), text
    )


def _paragraph(text: str) -> str:
    """Escapes text that begins a block, where more characters mean something."""
    escaped = escape(text)
    found = _BLOCK.match(escaped)
    if found is None:
        return escaped
    at = found.end() if found[0].isdigit() else 0
    return f"{escaped[:at]}\\{escaped[at:]}"


def _code(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}bash\n{text}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """Returns a table; `align` has an l or r for each column. Cells may hold `<br>` of ours."""
    rules = ["---:" if side == "r" else "---" for side in align]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *rows))


def _answers(report: Report) -> list[str]:
    """Returns, per method, whether it beats its baseline and its controls."""
    methods = [cell for cell in report.cells if cell.kind == "method"]
    if not any(words.comparisons(cell) for cell in methods):
        return []
    rows = [
        [
            *_names(cell),
            escape(words.top1(cell, report.protocol)),
            escape(words.versus_baseline(cell)),
            "<br>".join(map(escape, words.versus_controls(cell))) or words.NOTHING,
        ]
        for cell in methods
    ]
    head = [*_HEAD, f"top-1 % ({report.protocol})", "vs baseline", "vs control"]
    return [
        "## Does it beat its baseline, and does it beat its control?",
        _paragraph(words.headline(report)),
        "Differences in points of test top-1 with Welch's 95 % interval; top-1 as mean ± standard "
        "deviation (n).",
        table(head, rows, "llllll"),
    ]


_HEAD = ("row", "column", "cell")


def _names(cell: CellSummary) -> list[str]:
    row = f"{cell.group}: {cell.row}" if cell.group else cell.row
    return [escape(row), escape(cell.column), escape(cell.name)]


def _top1(report: Report) -> list[str]:
    has_target = any(cell.target for cell in report.cells)
    rows = [
        [
            *_names(cell),
            *(escape(words.top1(cell, protocol)) for protocol in report.protocols),
            words.mean_interval(cell.estimates.get(report.protocol)),
            *([words.paper(cell.target), words.compatible(cell.target)] if has_target else []),
        ]
        for cell in report.cells
    ]
    head = [*_HEAD, *report.protocols, f"95 % interval ({report.protocol})"]
    if has_target:
        head += ["paper (grade)", "ours - paper (best_test)"]
    return [
        "## Test top-1, percent",
        "Mean ± standard deviation (n) over seeds, by protocol.",
        table(head, rows, "lll" + "r" * (len(head) - 3)),
    ]


def _differences(report: Report) -> list[str]:
    rows = [
        [
            *_names(cell),
            escape(other.name),
            words.signed(other.difference.mean),
            words.interval(other.difference.welch),
            escape(words.p_value(other.difference.p)),
            escape(words.p_value(other.difference.p_holm)),
            words.interval(other.difference.paired),
            escape(words.p_value(other.difference.paired.p if other.difference.paired else None)),
            words.verdict(other.difference),
        ]
        for cell in report.cells
        for other in words.comparisons(cell)
    ]
    head = [*_HEAD, "minus", "difference", "Welch 95 %", "p", "p (Holm)", "paired 95 %",
            "paired p", "in words"]  # fmt: skip
    title = f"## Differences at {report.protocol}, in points"
    return [title, table(head, rows, "llllrrrrrrl")] if rows else []


def _measures(report: Report) -> list[str]:
    shown = [
        name
        for name in words.MEASURE_NAMES
        if any(cell.measures.get(name) is not None for cell in report.cells)
    ]
    rows = [
        [*_names(cell), *(words.measure(name, cell.measures.get(name)) for name in shown)]
        for cell in report.cells
        if words.has_results(cell)
    ]
    head = [*_HEAD, *(escape(words.MEASURE_NAMES[name]) for name in shown)]
    title = f"## Other measures at {report.protocol}"
    return [title, table(head, rows, "lll" + "r" * len(shown))] if shown else []


def _unfinished(report: Report) -> list[str]:
    """Returns what is not complete, why, and the commands of the runs that failed."""
    lacking = [cell for cell in report.cells if words.shortfall(cell)]
    if not lacking:
        return []
    rows = [[*_names(cell), escape(words.shortfall(cell))] for cell in lacking]
    failed = {
        command_line(run.overrides): None
        for cell in lacking
        for run in cell.runs
        if run.state == "failed"
    }
    found = ["## Not complete", table([*_HEAD, "why"], rows, "llll")]
    return [*found, "The runs that failed:", _code("\n".join(failed))] if failed else found


def _cell_notes(report: Report) -> list[str]:
    return [
        f"{words.place(cell)}, {cell.name}: {cell.note}"
        for cell in report.cells
        if cell.note and cell.state != "omitted"
    ]


def _list(title: str, lines: Iterable[str]) -> list[str]:
    items = [f"- {_paragraph(line)}" for line in lines if line]
    return [f"## {title}", "\n".join(items)] if items else []
