"""A report's table in Weights & Biases, read back from the offline log."""

from pathlib import Path

import pytest
from sample_report import full_report
from wandb_log import read_closed_runs

from kdlsr.config.schema import TrackerConfig
from kdlsr.reporting.publish import upload_report


def test_a_report_becomes_one_wandb_run_with_a_row_per_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    report = full_report()
    upload_report(report, TrackerConfig(name="wandb", options={"mode": "offline"}), tmp_path)
    (logged,) = read_closed_runs(tmp_path, 1)
    assert (logged.job_type, logged.exit_code) == ("report", 0)
    (file,) = tmp_path.rglob("*.table.json")
    text = file.read_text()
    assert all(cell.key in text for cell in report.cells if cell.key.isidentifier())
    assert text.count('"complete"') >= sum(c.state == "complete" for c in report.cells) > 0


def test_without_a_tracker_nothing_is_written(tmp_path: Path) -> None:
    upload_report(full_report(), TrackerConfig(), tmp_path)
    assert list(tmp_path.iterdir()) == []
