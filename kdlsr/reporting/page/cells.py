"""The page's second half: every cell with its curves and figures, every run with its config."""

from kdlsr.reporting.page.curves import cell_curves
from kdlsr.reporting.page.markup import Markup, element, join, typeset
from kdlsr.reporting.page.results import anchor, cell_name, places, state_badge, verdict_badge
from kdlsr.reporting.summarise import command_line
from kdlsr.reporting.summary import CellSummary, Comparison, Report, RunSummary
from kdlsr.reporting.text import words


def cell_sections(report: Report) -> Markup:
    """Returns a closed section for each cell, in the table's order, under its row's heading."""
    parts = []
    for place, cells in places(report):
        parts += [element("h3", place), *(_cell(report, index, cell) for index, cell in cells)]
    return join(*parts)


def _cell(report: Report, index: int, cell: CellSummary) -> Markup:
    parts = [element("summary", cell_name(cell), state_badge(cell))]
    if cell.note:
        parts.append(element("p", cell.note))
    if cell.target and cell.target.note:
        parts.append(element("p", "Of the paper's value: ", cell.target.note))
    if lack := words.shortfall(cell):
        parts.append(element("p", lack[0].upper(), lack[1:], class_="fault"))
    parts += [cell_curves(cell), _comparisons(cell), _measures(report, cell)]
    parts += [_run(run) for run in cell.runs]
    return element("details", *parts, class_="cell", id=anchor(index))


def _comparisons(cell: CellSummary) -> Markup:
    compared = words.comparisons(cell)
    if not compared:
        return Markup("")
    columns = ("minus", "difference", "Welch 95 %", "p", "p (Holm)", "paired 95 %", "paired p", "")
    head = element("tr", *(element("th", name, scope="col") for name in columns))
    body = element("tbody", *(_comparison(c) for c in compared))
    return element("div", element("table", element("thead", head), body), class_="wide")


def _comparison(comparison: Comparison) -> Markup:
    found = comparison.difference
    shown = (
        words.signed(found.mean),
        words.interval(found.welch),
        words.p_value(found.p),
        words.p_value(found.p_holm),
        words.interval(found.paired),
        words.p_value(found.paired.p if found.paired else None),
    )
    numbers = [element("td", element("span", typeset(text), class_="value")) for text in shown]
    verdict = element("td", verdict_badge(found))
    return element("tr", element("td", comparison.name), *numbers, verdict)


def _measures(report: Report, cell: CellSummary) -> Markup:
    """Returns top-1 with its interval by protocol, then what else was measured."""
    shown = [(f"top-1 % at {name}", words.top1(cell, name)) for name in report.protocols]
    shown = [(name, text) for name, text in shown if cell.estimates.get(name[11:])]
    judged = cell.estimates.get(report.protocol)
    if judged and judged.half_width is not None:
        shown.append((f"95 % interval at {report.protocol}", words.mean_interval(judged)))
    for name, found in cell.measures.items():
        if found is not None:
            shown.append((words.MEASURE_NAMES.get(name, name), words.measure(name, found)))
    if not shown:
        return Markup("")
    rows = [join(element("dt", name), element("dd", text)) for name, text in shown]
    caption = f"Mean \u00b1 standard deviation (n); beside top-1 at {report.protocol}"
    return join(element("p", caption, class_="small"), element("dl", *rows, class_="facts"))


def _run(run: RunSummary) -> Markup:
    state = element("span", run.state, class_="fault") if run.state == "failed" else run.state
    head = join(f"seed {run.seed}, ", state, ": ", element("code", run.run_id))
    parts = [element("summary", head)]
    if run.error:
        parts.append(element("p", run.error, class_="fault"))
    if run.history:
        parts.append(element("p", _last_epoch(run), class_="small"))
    if run.teacher:
        parts.append(element("p", _teacher(run), class_="small"))
    parts += [element("h4", "Command"), _command(run)]
    if run.config:
        parts += [element("h4", "config.yaml"), element("pre", run.config)]
    else:
        parts.append(element("p", "It has no config.yaml: it never started.", class_="small"))
    return element("details", *parts, class_="run")


def _command(run: RunSummary) -> Markup:
    return element("pre", command_line(run.overrides), class_="command")


def _last_epoch(run: RunSummary) -> str:
    record = run.history[-1]
    terms = ", ".join(f"{name} {value:.4g}" for name, value in record["train"].items())
    accuracy = words.number(record["test"]["top1"])
    return f"Epoch {record['epoch']}: test top-1 {accuracy} %; training loss: {terms}."


def _teacher(run: RunSummary) -> str:
    assert run.teacher is not None
    teacher = run.teacher
    name = teacher.get("run_id") or teacher.get("path")
    return (
        f"Teacher {name} after epoch {teacher['epoch']}: top-1 {words.number(teacher['top1'])} %, "
        f"agreement {words.number(teacher['agreement'])} %, "
        f"KL(teacher||student) {words.number(teacher['kl'], 4)}."
    )
