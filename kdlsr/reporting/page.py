"""The page of a report, one HTML file that needs nothing else: what its templates are given.

It arranges; it computes nothing.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kdlsr.reporting import formatting, judged, templating
from kdlsr.reporting.charts import cell_charts, colour
from kdlsr.reporting.figures.curves import panels
from kdlsr.reporting.figures.intervals import sections
from kdlsr.reporting.study import Study, StudyFigure
from kdlsr.reporting.summary import CellSummary, Report, RunSummary
from kdlsr.runs.result import TeacherFigures

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
        "Each cell minus its baseline and minus its controls: mean and moderated 95 % interval. "
        "The band is the margin of equivalence. An arrow marks an interval that goes on beyond the "
        "axis.",
    ),
    "curves.png": (
        "Training curves",
        "Test top-1 by epoch: mean over seeds, and range from lowest to highest. The steep "
        "beginning is cut off. Each run's own curve is in its cell below.",
    ),
}
_NARROW = ("search.png",)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its anchor.
        title: its heading.
        template: the file of `templates/page/` that writes what stands below that.
        caption, image, narrow: of a figure, the image in base64.
        study: what a study's section shows.
    """

    name: str
    title: str
    template: str
    caption: str = ""
    image: str = ""
    narrow: bool = False
    study: Study | None = None


def render_page(report: Report, figures: Mapping[str, bytes]) -> str:
    """Returns the page; equal reports and figures give equal bytes.

    Args:
        report: what it says.
        figures: PNG bytes by file name, as `draw_figures` gives them.
    """
    return (
        templating.html()
        .get_template("page.html")
        .render(
            report=report,
            sections=list(_sections(report, figures)),
            facts=_facts(report),
            unfinished=_unfinished(report),
            compares=any(map(judged.comparisons, report.cells)),
            columns=_columns(report),
            rows=_rows(report),
            cell_name=cell_name,
            count=lambda cell: _count(cell, report.protocol),
            measures=lambda cell: list(_measures(report, cell)),
            claims=_claims(report),
            charts=cell_charts,
            colour=colour,
            command_line=formatting.command_line,
            last_epoch=_last_epoch,
            teacher=_teacher,
        )
    )


def _sections(report: Report, figures: Mapping[str, bytes]) -> Iterator[Section]:
    """Yields all sections; a figure that trains nothing has no table, curves or runs."""
    if report.cells:
        if report.claims:
            yield Section("claims", "Claims", "claims")
        if _unfinished(report):
            yield Section("unfinished", "Not complete", "unfinished")
        yield Section("results", "Results", "results")
    for study in report.studies:
        yield Section(f"study-{study.name}", study.title, "study", study=study)
        yield from map(_figure_of(figures), study.figures)
    yield from _figures(_SPECIAL, figures)
    if report.cells:
        # On those that are left out nothing is drawn.
        drawn = {"differences.png": sections(report), "curves.png": panels(report)}
        yield from _figures({name: _USUAL[name] for name in _USUAL if drawn[name]}, figures)
        yield Section("cells", "Cells and runs", "cells")
    yield Section("about", "About this report", "about")


def _figures(
    known: Mapping[str, tuple[str, str]], figures: Mapping[str, bytes]
) -> Iterator[Section]:
    for name, (title, caption) in known.items():
        if name in figures:
            anchor = name.removesuffix(".png")
            yield _figure(anchor, title, caption, figures[name], narrow=name in _NARROW)


def _figure_of(figures: Mapping[str, bytes]) -> Callable[[StudyFigure], Section]:
    def section(found: StudyFigure) -> Section:
        image = figures[f"{found.name}.png"]
        return _figure(found.name, found.title, found.caption, image, narrow=found.narrow)

    return section


def _figure(anchor: str, title: str, caption: str, image: bytes, *, narrow: bool) -> Section:
    encoded = base64.b64encode(image).decode()
    return Section(anchor, title, "figure", caption, encoded, narrow)


def _facts(report: Report) -> list[tuple[str, str | None]]:
    return [
        ("What it shows", report.shows),
        ("Source", report.source),
        ("Data", report.data),
        ("Judged at", report.protocol if report.cells else None),
        ("Runs", _progress(report) if report.cells else None),
    ]


def _progress(report: Report) -> str:
    states = {run.run_id: run.state for cell in report.cells for run in cell.runs}
    counts = {state: list(states.values()).count(state) for state in dict.fromkeys(states.values())}
    others = [f"{n} {state}" for state, n in counts.items() if state != "complete"]
    return ", ".join([f"{counts.get('complete', 0)} of {len(states)} complete", *others])


def _unfinished(report: Report) -> list[tuple[int, CellSummary]]:
    """Returns every cell that is not complete: they are listed before any figure is read."""
    return [(i, cell) for i, cell in enumerate(report.cells) if cell.state != "complete"]


def _columns(report: Report) -> list[str]:
    """Returns the headings of the results; what no cell has has no column."""
    cells = report.cells
    return [
        "cell",
        "n",
        *report.protocols,
        *(["minus baseline"] if any(cell.baseline for cell in cells) else []),
        *(["minus control"] if any(cell.controls for cell in cells) else []),
        *(["paper"] if any(cell.target for cell in cells) else []),
    ]


def _rows(report: Report) -> list[tuple[str, list[tuple[int, CellSummary]]]]:
    """Returns the cells, each with its index, below the heading of their group and row."""
    found: dict[str, list[tuple[int, CellSummary]]] = {}
    for index, cell in enumerate(report.cells):
        found.setdefault(formatting.heading(cell.group, cell.row), []).append((index, cell))
    return list(found.items())


def _claims(report: Report) -> list[tuple[str, list[tuple[int, CellSummary]]]]:
    """Returns the cells that make a claim, each with its index, below its sentence."""
    found: dict[str, list[tuple[int, CellSummary]]] = {}
    for index, cell in enumerate(report.cells):
        if cell.claim:
            found.setdefault(cell.claim.sentence, []).append((index, cell))
    return list(found.items())


def cell_name(cell: CellSummary) -> str:
    """Returns what a cell is within its row: its column and form, or its own name."""
    if cell.kind in ("baseline", "control"):
        return cell.name if cell.kind == "baseline" else f"control: {cell.name}"
    return formatting.heading(cell.column, cell.name)


def _count(cell: CellSummary, protocol: str) -> str:
    found = cell.estimates.get(protocol)
    n, wanted = found.n if found else 0, len(cell.runs)
    return str(n) if n == wanted else f"{n} of {wanted}"


def _measures(report: Report, cell: CellSummary) -> Iterator[tuple[str, str]]:
    """Yields top-1 with its interval by protocol, then what else was measured."""
    for name in report.protocols:
        if cell.estimates.get(name):
            yield f"top-1 % at {name}", formatting.top1(cell, name)
    judged = cell.estimates.get(report.protocol)
    if judged and judged.half_width is not None:
        yield f"95 % interval at {report.protocol}", formatting.mean_interval(judged)
    for name, found in cell.measures.items():
        if found is not None:
            yield formatting.measure_name(name), formatting.measure(name, found)


def _last_epoch(run: RunSummary) -> str:
    record = run.history[-1]
    terms = ", ".join(f"{name} {value:.4g}" for name, value in record.train.items())
    accuracy = formatting.number(record.test.top1)
    return f"Epoch {record.epoch}: test top-1 {accuracy} %; training loss: {terms}."


def _teacher(found: TeacherFigures) -> str:
    number = formatting.number
    return (
        f"Teacher {found.name} after epoch {found.epoch}: top-1 {number(found.top1)} %, "
        f"agreement {number(found.agreement)} %, KL(teacher||student) {number(found.kl, 4)}."
    )
