"""A report's table for the tracker that its runs have: W&B, or nothing."""

import re
from pathlib import Path

from kdlsr.config.schema import TrackerConfig
from kdlsr.reporting.frame import records
from kdlsr.reporting.summary import Report
from kdlsr.tracking import TrackedRun, open_tracker


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
