"""A report where people see it: its files, the terminal, and the tracker that its runs have.

The files are `outputs/reports/<name>/`: each seen whole or not at all, the page last.
"""

import re
from pathlib import Path

from rich.console import Console

from kdlsr.config.schema import TrackerConfig
from kdlsr.files import write_whole
from kdlsr.reporting.claims import render_claims
from kdlsr.reporting.frame import records, render_csv, render_json
from kdlsr.reporting.places import check_place
from kdlsr.reporting.rendering import render_latex, render_markdown
from kdlsr.reporting.summary import Report
from kdlsr.reporting.terminal import print_report
from kdlsr.tracking import TrackedRun, open_tracker


def publish(console: Console, report: Report, root: Path, tracker: TrackerConfig) -> Path:
    """Writes, prints and uploads a report; returns the path of its page.

    Args:
        console: to print on.
        report: goes to `reports/<its name>/` below `root`.
        root: the output folder.
        tracker: as the report's runs have it.
    """
    page = write_report(report, root)
    print_report(console, report)
    upload_report(report, tracker, page.parent)
    return page


def write_report(report: Report, root: Path) -> Path:
    """Writes all renderings of a report, and returns the path of its page, index.html.

    Figures of an earlier report of that name that this one does not have are removed.

    Args:
        report: goes to `reports/<its name>/` below `root`.
        root: the output folder.

    Raises:
        UserError: another table's report is there.
    """
    from kdlsr.reporting.figures import draw_figures
    from kdlsr.reporting.page import render_page

    check_place(report.name, report.made_from, root)
    folder = root / "reports" / report.name
    texts = {
        "table.md": render_markdown(report),
        "table.tex": render_latex(report),
        "table.csv": render_csv(report),
        "report.json": render_json(report),
        "claims.json": render_claims(report),
    }
    figures = draw_figures(report)
    page = render_page(report, figures)
    for name, text in texts.items():
        write_whole(folder / name, text)
    for name, image in figures.items():
        write_whole(folder / name, image)
    for path in folder.glob("*.png"):
        if path.name not in figures:
            path.unlink()
    write_whole(folder / "index.html", page)
    return folder / "index.html"


def upload_report(report: Report, tracker: TrackerConfig, folder: Path) -> None:
    """Logs a row per cell, with all figures; trouble with the tracker is one warning line.

    Args:
        report: becomes one tracked run of the job type `report`, its id the report's name.
        tracker: as the table's runs have it.
        folder: the report's own, below which the tracker's files go.
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", report.name.lower())
    tracked = TrackedRun(
        run_id=f"report-{name}",
        cell_id="reports",
        job_type="report",
        config={"table": report.name, "profile": report.first_line, "command": report.command},
    )
    with open_tracker(tracker.name, tracker.options, tracked, folder) as opened:
        opened.table("cells", records(report))
        opened.complete({})
