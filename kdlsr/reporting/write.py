"""A report's files, `outputs/reports/<name>/`: each seen whole or not at all, the page last."""

from pathlib import Path

from kdlsr.files import write_whole
from kdlsr.reporting.frame import render_csv, render_json
from kdlsr.reporting.rendering import render_latex, render_markdown
from kdlsr.reporting.summary import Report


def write_report(report: Report, root: Path) -> Path:
    """Writes all renderings of a report, and returns the path of its page, index.html.

    Figures of an earlier report of that name that this one does not have are removed.

    Args:
        report: goes to `reports/<its name>/` below `root`.
        root: the output folder.
    """
    from kdlsr.reporting.figures import draw_figures
    from kdlsr.reporting.page import render_page

    folder = root / "reports" / report.name
    texts = {
        "table.md": render_markdown(report),
        "table.tex": render_latex(report),
        "table.csv": render_csv(report),
        "report.json": render_json(report),
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
