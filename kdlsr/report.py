"""Any runs as tables, figures and a page: `python -m kdlsr.report runs='digits-*'`.

Reads the store and trains nothing. Only parses, calls and prints; torch is not imported before
there is something to report.
"""

if __name__ == "__main__":  # Ctrl-C may come while the rest is imported
    from kdlsr.machine.interruption import end_at_interruption

    end_at_interruption()

import sys
from collections.abc import Sequence

from kdlsr.config import UserError, build, nearest
from kdlsr.config.compose import compose_config, relative_to_here, shipped_folder
from kdlsr.config.entry import EXIT_OK, read_command, run_entry_point
from kdlsr.config.overrides import Overrides, quote_filters
from kdlsr.config.schema import read_tracker_section
from kdlsr.config.yaml_file import read_yaml

_PATTERNS = ("runs", "baseline")


def _check_keys(overrides: Overrides) -> None:
    known = read_yaml(shipped_folder("conf") / "report.yaml")
    own = ["tracker", *(key for key in known if key not in ("defaults", "hydra"))]
    for override in overrides.without(*own, "hydra"):
        raise UserError(f"unknown key {override.key}{nearest(override.key, own)}")


def report_on(texts: Sequence[str]) -> int:
    """Reports on the runs that a command's overrides choose; prints the tables and the page's path.

    Raises:
        UserError: a mistake in the command; nothing is written then.
    """
    overrides = Overrides.parse(quote_filters(text, _PATTERNS) for text in texts)
    _check_keys(overrides)
    composed = compose_config(overrides.texts(), "report")
    from kdlsr.machine.screen import open_screen
    from kdlsr.reporting.any_runs.choices import ReportChoices
    from kdlsr.reporting.any_runs.report import command_of, report_runs
    from kdlsr.reporting.places import check_place
    from kdlsr.reporting.publish import publish
    from kdlsr.tracking import check_tracker

    tracker = read_tracker_section(composed.pop("tracker"))
    check_tracker(tracker.name, tracker.options)
    choices = build(ReportChoices, composed, "")
    folder = relative_to_here(choices.output_dir)
    check_place(choices.name, "", folder)
    report = report_runs(choices, folder, command_of(texts))
    console = open_screen()
    page = publish(console, report, folder, tracker)
    noted = (f"{cell.row}, {cell.name}: {cell.note}" for cell in report.cells if cell.note)
    for note in (*report.notes, *noted):
        console.print(f"- {note}", markup=False, soft_wrap=True)
    console.print(f"{page}", markup=False, soft_wrap=True)
    return EXIT_OK


def _main() -> int:
    refusal = "kdlsr.report reads runs and starts none: drop -m, --cfg and --info"
    overrides = read_command("report", refusal)
    return EXIT_OK if overrides is None else report_on(overrides)


def main() -> None:
    """The entry point: exits with 0, 2 (a mistake), 130 or 143."""
    sys.exit(run_entry_point(_main))


if __name__ == "__main__":
    main()
