"""How numbers and states are written: the same in every rendering. Verdicts are in `judged`.

Plain text only: what a language needs escaped is escaped by its own rendering.
"""

from collections.abc import Iterable

from kdlsr.config.command_line import shell_command
from kdlsr.reporting.measures import NAMES, PERCENT
from kdlsr.reporting.statistics import Estimate, Interval
from kdlsr.reporting.summary import CellSummary, Report, Target

NOTHING = "-"  # where there is nothing to say, and nothing has gone missing
GRADES = {
    "P": "primary: the paper's own text or its authors' repository",
    "S": "secondary: someone else's summary",
    "V": "read off a figure, about ± 0.2",
    "D": "derived, stated by no source",
}


def number(value: float, decimals: int = 2) -> str:
    """Returns `97.40`; what rounds to zero has no sign."""
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def signed(value: float) -> str:
    """Returns `+0.84`, `-0.20` or, for what rounds to zero, `0.00`."""
    text = number(value)
    return text if float(text) <= 0 else f"+{text}"


def plus_minus(mean: float, deviation: float | None, decimals: int = 2) -> str:
    """Returns `97.40 ± 0.20`; `97.40` where there is no deviation."""
    spread = "" if deviation is None else f" ± {number(deviation, decimals)}"
    return f"{number(mean, decimals)}{spread}"


def spread(found: Estimate, decimals: int = 2) -> str:
    """Returns `97.40 ± 0.20 (3)`: mean, deviation (n - 1) and n; `97.40 (1)` for one run."""
    return f"{plus_minus(found.mean, found.deviation, decimals)} ({found.n})"


def mean_interval(found: Estimate | None) -> str:
    """Returns the mean's 95 % interval, `[96.90, 97.90]`."""
    if found is None or found.half_width is None:
        return NOTHING
    low, high = found.mean - found.half_width, found.mean + found.half_width
    return f"[{number(low)}, {number(high)}]"


def measure(name: str, found: Estimate | None) -> str:
    """Returns a measure beside top-1, with the decimals that suit it."""
    return NOTHING if found is None else spread(found, 2 if name in PERCENT else 4)


def measure_name(name: str) -> str:
    """Returns what a measure is called."""
    return NAMES[name]


def interval(found: Interval | None) -> str:
    """Returns a difference's 95 % interval, `[+0.21, +1.47]`."""
    return NOTHING if found is None else f"[{signed(found.low)}, {signed(found.high)}]"


def p_value(p: float | None) -> str:
    """Returns a p value with two significant digits, `< 0.001` where it is smaller."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def has_results(cell: CellSummary) -> bool:
    """Whether any run of the cell is complete."""
    return any(found is not None for found in cell.estimates.values())


def why_incomplete(cell: CellSummary) -> str:
    """Returns what a cell lacks and why; empty for a complete cell."""
    if cell.state == "complete":
        return ""
    if cell.state == "omitted":
        return f"omitted: {one_line(cell.note or 'no reason given')}"
    complete = sum(run.state == "complete" for run in cell.runs)
    missing = _why_missing(cell)
    return f"{complete} of {len(cell.runs)} runs; {missing}" if complete else missing


def _why_missing(cell: CellSummary) -> str:
    states = {run.state for run in cell.runs}
    if "failed" in states:
        errors = [run.error for run in cell.runs if run.state == "failed"]
        return f"failed: {one_line(errors[0] or 'no reason recorded')}"
    if "not run" in states:
        return "not run: its teacher failed or is not there yet"
    return "incomplete: interrupted" if "incomplete" in states else "not started"


def top1(cell: CellSummary, protocol: str) -> str:
    """Returns test top-1 as `97.40 ± 0.20 (3)`, or why there is none."""
    found = cell.estimates.get(protocol)
    if found is not None:
        return spread(found)
    return NOTHING if has_results(cell) else why_incomplete(cell) or NOTHING


def chosen(report: Report) -> str:
    """Names the best point of a search and what chose it; empty where there is no search."""
    search = report.search
    if search is None:
        return ""
    best = next((p for p in search.points if p.key == search.best), None)
    if best is None or best.value is None:
        return f"No point is chosen yet: none is complete ({search.measure})."
    return (
        f"Chosen: tau = {best.tau:g}, alpha = {best.alpha:g}, by {search.measure}: "
        f"{number(best.value)} %. The test set played no part in the choice."
    )


def paper(target: Target | None) -> str:
    """Returns the paper's value and its grade of evidence: `71.05 ± 0.16 (P)`."""
    if target is None:
        return NOTHING
    return f"{plus_minus(target.accuracy, target.deviation)} ({target.grade})"


def compatible(target: Target | None) -> str:
    """Returns ours minus the paper's and whether it is compatible; `not judged` where none is."""
    if target is None:
        return NOTHING
    held = target.compatibility
    if held is None:
        return "not judged"
    judged = "compatible" if held.compatible else "not compatible"
    return f"{signed(held.difference)} {judged} (within {number(held.tolerance)})"


def grades(report: Report) -> str:
    """Explains the grades of evidence that a report shows; empty where it shows none."""
    shown = {cell.target.grade for cell in report.cells if cell.target}
    explained = [f"{grade}, {GRADES.get(grade, 'unexplained')}" for grade in sorted(shown)]
    return f"Grade of the paper's value: {'; '.join(explained)}." if explained else ""


def position(cell: CellSummary) -> str:
    """Returns a cell's row and column, `weak, Tf-KD_reg`."""
    return one_line(", ".join(part for part in (cell.row, cell.column) if part))


def heading(*parts: str | None) -> str:
    """Returns what there is of a heading's parts, each once: `Tf-KD · weak`."""
    return " · ".join(dict.fromkeys(part for part in parts if part))


def command_line(overrides: Iterable[str]) -> str:
    """Returns the `kdlsr.train` command of one run, quoted for a shell."""
    return shell_command("train", overrides)


def failed_commands(cells: Iterable[CellSummary]) -> list[str]:
    """Returns the commands of the runs that failed, each once."""
    failed = (run for cell in cells for run in cell.runs if run.state == "failed")
    return list(dict.fromkeys(command_line(run.overrides) for run in failed))


def one_line(text: str) -> str:
    """Returns text with every run of white space as one space."""
    return " ".join(text.split())


def plural(count: int, word: str) -> str:
    """Returns `1 run`, `2 runs`."""
    return f"{count} {word}{'' if count == 1 else 's'}"
