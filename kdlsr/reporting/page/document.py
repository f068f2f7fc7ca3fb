"""The HTML page of a report: one file that needs no network, no server and no script.

It arranges what `page_results` and `page_cells` write; it computes nothing.
"""

import base64
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

from kdlsr.reporting.figures.curves import panels
from kdlsr.reporting.figures.intervals import sections
from kdlsr.reporting.page.cells import cell_sections
from kdlsr.reporting.page.markup import Markup, element, escaped, join, void
from kdlsr.reporting.page.results import anchor, cell_name, results_table
from kdlsr.reporting.summary import CellSummary, Report
from kdlsr.reporting.text import words

# In the page's order: title and caption. Those that a report lacks are left out.
_SPECIAL = {
    "teacher_epoch.png": (
        "The teacher's epoch",
        "Students' accuracy against the epoch at which their teacher was taken. Bars: standard "
        "deviation over seeds. Grey: the baseline, likewise.",
    ),
    "hand_made.png": (
        "The hand-made distribution",
        "The virtual teacher of Tf-KD_reg as each form softens it, against the uniform "
        "distribution.",
    ),
    "search.png": ("The search", "Every point of the grid; the chosen one is framed."),
}
_USUAL = {
    "differences.png": (
        "Differences",
        "Each cell minus its baseline and minus its controls: mean and Welch's 95 % interval. "
        "An arrow marks an interval that goes on beyond the axis.",
    ),
    "curves.png": (
        "Training curves",
        "Test top-1 by epoch: mean over seeds, and range from lowest to highest. The steep "
        "beginning is cut off. Each run's own curve is in its cell below.",
    ),
}
_NARROW = ("search.png",)


def render_page(report: Report, figures: Mapping[str, bytes]) -> str:
    """Returns the page; equal reports and figures give equal bytes.

    Args:
        report: what it says.
        figures: PNG bytes by file name, as `draw_figures` gives them.
    """
    parts = _sections(report, figures)
    return _template("page.html").substitute(
        title=escaped(report.title),
        style=_template("page.css").template.strip(),
        content=join(_head(report, parts), *_written(parts), between="\n"),
    )


@dataclass(frozen=True)
class _Section:
    """A part of the page: its anchor, its heading and what stands below that."""

    name: str
    title: str
    content: Markup


def _sections(report: Report, figures: Mapping[str, bytes]) -> list[_Section]:
    """Returns all sections; a figure that trains nothing has no table, curves or runs."""
    special = _figures(_SPECIAL, figures)
    about = _Section("about", "About this report", _about(report))
    if not report.cells:
        return [*special, about]
    cells = join(element("p", _CELLS), cell_sections(report))
    return [
        *_unfinished(report),
        _Section("results", "Results", _results(report)),
        *special,
        *_figures(_usual(report), figures),
        _Section("cells", "Cells and runs", cells),
        about,
    ]


def _usual(report: Report) -> dict[str, tuple[str, str]]:
    """Returns the usual figures but those on which nothing is drawn."""
    drawn = {"differences.png": sections(report), "curves.png": panels(report)}
    return {name: known for name, known in _USUAL.items() if drawn[name]}


def _written(parts: Iterable[_Section]) -> list[Markup]:
    return [element("section", element("h2", s.title), s.content, id=s.name) for s in parts]


_CELLS = (
    "Open a cell for the curve of each run, all comparisons and measures; open a run for its "
    "command and its resolved config."
)


def _template(name: str) -> string.Template:
    folder = resources.files("kdlsr.reporting.page")
    return string.Template((folder / name).read_text(encoding="utf-8"))


def _head(report: Report, parts: Iterable[_Section]) -> Markup:
    facts = [
        ("What it shows", report.shows),
        ("Source", report.source),
        ("Data", report.data),
        ("Judged at", report.protocol if report.cells else None),
        ("Runs", _progress(report) if report.cells else None),
    ]
    rows = [join(element("dt", name), element("dd", text)) for name, text in facts if text]
    links = [element("a", s.title, href=f"#{s.name}") for s in parts]
    return element(
        "header",
        element("p", report.first_line, class_="first-line"),
        element("h1", report.title),
        element("p", words.headline(report)) if words.headline(report) else Markup(""),
        element("dl", *rows, class_="facts"),
        element("nav", *links),
    )


def _progress(report: Report) -> str:
    states = {run.run_id: run.state for cell in report.cells for run in cell.runs}
    counts = {state: list(states.values()).count(state) for state in dict.fromkeys(states.values())}
    others = [f"{n} {state}" for state, n in counts.items() if state != "complete"]
    return ", ".join([f"{counts.get('complete', 0)} of {len(states)} complete", *others])


def _unfinished(report: Report) -> list[_Section]:
    """Lists every cell that is not complete and why, before any figure is read."""
    lacking = [(i, c) for i, c in enumerate(report.cells) if c.state != "complete"]
    if not lacking:
        return []
    items = [_lack(index, cell) for index, cell in lacking]
    return [_Section("unfinished", "Not complete", element("ul", *items))]


def _lack(index: int, cell: CellSummary) -> Markup:
    name = f"{cell.row}: {cell_name(cell)}"
    link = element("a", name, href=f"#{anchor(index)}")
    return element("li", link, ": ", words.shortfall(cell))


def _results(report: Report) -> Markup:
    legend = (
        "Test top-1 in percent by protocol, mean \u00b1 standard deviation (n \u2212 1) over seeds."
    )
    if any(words.comparisons(cell) for cell in report.cells):
        legend += (
            f" Differences are at {report.protocol}, with Welch's 95 % interval and p after "
            "Holm's correction; the paired ones are in each cell's details."
        )
    caveats = [element("li", caveat) for caveat in report.caveats]
    grades = [element("li", words.grades(report))] if words.grades(report) else []
    reading = [element("h3", "To read it right"), element("ul", *caveats, *grades)]
    return join(
        element("p", legend, class_="small"),
        results_table(report),
        *(reading if caveats or grades else []),
    )


def _figures(known: Mapping[str, tuple[str, str]], figures: Mapping[str, bytes]) -> list[_Section]:
    found = []
    for name, (title, caption) in known.items():
        if name in figures:
            drawn = _figure(name, title, caption, figures[name])
            found.append(_Section(name.removesuffix(".png"), title, drawn))
    return found


def _figure(name: str, title: str, caption: str, png: bytes) -> Markup:
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    image = element("div", void("img", src=source, alt=f"{title}. {caption}"), class_="wide")
    style = "narrow" if name in _NARROW else None
    return element("figure", image, element("figcaption", caption), class_=style)


def _about(report: Report) -> Markup:
    parts = []
    if report.notes:
        parts += [element("h3", "Notes"), element("ul", *(element("li", n) for n in report.notes))]
    parts += [element("h3", "To make it again"), element("pre", report.command, class_="command")]
    if report.environment:
        lines = [element("li", line) for line in report.environment]
        parts += [element("h3", "Hardware and versions"), element("ul", *lines)]
    return join(*parts)
