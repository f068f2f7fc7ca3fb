"""The page's table of results: per cell top-1 by protocol, the differences, the paper's value.

Verdicts are words with a sign of their own; colour only repeats them.
"""

from collections.abc import Sequence

from kdlsr.reporting.page.markup import Markup, element, join, typeset
from kdlsr.reporting.statistics import Difference
from kdlsr.reporting.summary import CellSummary, Comparison, Report, Target
from kdlsr.reporting.text import words

_SIGNS = {
    "beats": "\u25b2",
    "below": "\u25bc",
    "no difference shown": "\u25cb",
    "unclaimed": "\u2013",
}


def results_table(report: Report) -> Markup:
    """Returns the table, its rows headed by group and row; narrow screens see one card a cell."""
    columns = _columns(report)
    head = element("tr", *(element("th", name, scope="col") for name in columns))
    bodies = []
    for place, cells in places(report):
        rows = [_cell_row(report, index, cell, columns) for index, cell in cells]
        heading = element("th", place, colspan=str(len(columns)), scope="rowgroup")
        bodies.append(element("tbody", element("tr", heading, class_="place"), *rows))
    table = element("table", element("thead", head), *bodies, class_="results")
    return element("div", table, class_="wide")


def _columns(report: Report) -> list[str]:
    """Returns the headings; what no cell has has no column."""
    cells = report.cells
    return [
        "cell",
        "n",
        *report.protocols,
        *(["minus baseline"] if any(cell.baseline for cell in cells) else []),
        *(["minus control"] if any(cell.controls for cell in cells) else []),
        *(["paper"] if any(cell.target for cell in cells) else []),
    ]


def places(report: Report) -> list[tuple[str, list[tuple[int, CellSummary]]]]:
    """Returns the cells, each with its index, below the heading of their group and row."""
    found: dict[str, list[tuple[int, CellSummary]]] = {}
    for index, cell in enumerate(report.cells):
        place = " \u00b7 ".join(part for part in (cell.group, cell.row) if part)
        found.setdefault(place, []).append((index, cell))
    return list(found.items())


def anchor(index: int) -> str:
    """Returns the name by which a link reaches a cell's details."""
    return f"cell-{index}"


def cell_name(cell: CellSummary) -> str:
    """Returns what a cell is within its row: its column and form, or its own name."""
    if cell.kind in ("baseline", "control"):
        return cell.name if cell.kind == "baseline" else f"control: {cell.name}"
    return f"{cell.column} \u00b7 {cell.name}" if cell.name != cell.column else cell.name


def _cell_row(report: Report, index: int, cell: CellSummary, columns: Sequence[str]) -> Markup:
    link = element("a", cell_name(cell), href=f"#{anchor(index)}")
    cells = [element("td", link, state_badge(cell), class_="name")]
    if not words.has_results(cell):
        lack = element("span", words.shortfall(cell) or words.NOTHING, class_="muted")
        cells.append(element("td", lack, colspan=str(len(columns) - 1)))
        return element("tr", *cells)
    cells.append(_labelled("n", _n(cell, report.protocol)))
    cells += [_labelled(name, _top1(cell, name)) for name in report.protocols]
    if "minus baseline" in columns:
        compared = (cell.baseline,) if cell.baseline else ()
        cells.append(_labelled("minus baseline", _comparisons(compared, named=False)))
    if "minus control" in columns:
        lacking = (element("div", other, class_="second") for other in cell.uncompared)
        controls = join(_comparisons(cell.controls, named=True), *lacking)
        cells.append(_labelled("minus control", controls))
    if "paper" in columns:
        cells.append(_labelled("paper", _paper(cell.target)))
    return element("tr", *cells)


def _labelled(label: str, content: str) -> Markup:
    """Returns a table cell that carries its heading, for screens on which it stands alone."""
    if not content:
        return element("td")
    style = "n" if label == "n" else None
    return element("td", element("div", content), class_=style, data_label=label)


def _n(cell: CellSummary, protocol: str) -> str:
    found = cell.estimates.get(protocol)
    n, wanted = found.n if found else 0, len(cell.runs)
    return str(n) if n == wanted else f"{n} of {wanted}"


def _top1(cell: CellSummary, protocol: str) -> Markup:
    found = cell.estimates.get(protocol)
    if found is None:
        return element("span", words.NOTHING, class_="muted")
    deviation = "" if found.deviation is None else f" \u00b1 {words.number(found.deviation)}"
    return element("span", words.number(found.mean), deviation, class_="value")


def state_badge(cell: CellSummary) -> Markup:
    """Returns a mark of a cell that is not complete."""
    if cell.state == "complete":
        return Markup("")
    style = "badge fault" if cell.state == "failed" else "badge"
    return join(" ", element("span", cell.state, class_=style))


def verdict_badge(difference: Difference) -> Markup:
    """Returns the verdict in words, with a sign and a colour of its own."""
    style = difference.verdict if difference.verdict in ("beats", "below") else "open"
    sign = element("span", _SIGNS[difference.verdict], aria_hidden="true")
    return element("span", sign, " ", words.verdict(difference), class_=f"badge {style}")


def _comparisons(compared: Sequence[Comparison], named: bool) -> Markup:
    return join(*(_comparison(c, named) for c in compared))


def _comparison(comparison: Comparison, named: bool) -> Markup:
    found = comparison.difference
    mean = element("span", typeset(words.signed(found.mean)), class_="mean")
    first = element("div", mean, verdict_badge(found), class_="value")
    below = []
    if named:
        below.append(element("span", comparison.name, class_="second"))
    if found.welch:
        interval = f"{typeset(words.interval(found.welch))}, p {words.p_value(found.p_holm)}"
        below.append(element("span", interval, class_="second"))
    return element("div", first, *below, class_="comparison")


def _paper(target: Target | None) -> Markup:
    if target is None:
        return Markup("")
    deviation = "" if target.deviation is None else f" \u00b1 {words.number(target.deviation)}"
    grade = element("abbr", target.grade, title=words.GRADES.get(target.grade, "grade"))
    value = element("span", words.number(target.accuracy), deviation, " ", grade, class_="value")
    held = target.compatibility
    if held is None:
        return join(value, element("span", words.compatible(target), class_="second"))
    style = "compatible" if held.compatible else "differs"
    verdict = "compatible" if held.compatible else "not compatible"
    judged = element("span", verdict, class_=f"badge {style}")
    gap = f"ours {typeset(words.signed(held.difference))}, within {words.number(held.tolerance)}"
    return join(element("div", value), judged, element("span", gap, class_="second"))
