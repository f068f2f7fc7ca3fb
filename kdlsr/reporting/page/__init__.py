"""The page of a report: one HTML file that needs nothing else."""

from kdlsr.reporting.page.document import render_page

__all__ = ["render_page"]
