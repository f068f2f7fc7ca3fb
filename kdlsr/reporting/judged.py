"""Verdicts, claims and comparisons in words: the same in every rendering.

Plain text only, as `formatting`; nothing is decided here.
"""

import math
from collections import Counter
from typing import get_args

from kdlsr.reporting.comparison import Comparison
from kdlsr.reporting.deciding import MOST_SEEDS, ClaimVerdict
from kdlsr.reporting.formatting import NOTHING, has_results, interval, p_value, plural, signed
from kdlsr.reporting.summary import CellSummary, Report

# The heads of `tests`, in their order.
TESTS = (
    "difference",
    "95 %",
    "p (Holm)",
    "p equivalent (Holm)",
    "Welch 95 %",
    "Welch p",
    "paired 95 %",
    "paired p",
)


def verdict(found: Comparison) -> str:
    """Returns `better`, `worse`, `equivalent`, `undecided (n = 12)` or `not tested`.

    Where seeds were added until decided: `better at n = 5`.
    """
    if found.decision is None:
        return "not tested"
    said = undecided(found.decision.seeds_needed) if found.verdict == "undecided" else found.verdict
    if found.look is None:
        return said
    return said.replace(found.verdict, f"{found.verdict} at n = {found.look}", 1)


def undecided(seeds_needed: float | None) -> str:
    """Returns that a question is open, and how many seeds a cell would decide it."""
    if seeds_needed is None:
        return "undecided"
    if math.isinf(seeds_needed):
        return f"undecided (n > {MOST_SEEDS})"
    return f"undecided (n = {seeds_needed:.0f})"


def claim_verdict(cell: CellSummary) -> str:
    """Returns what became of the claim of a cell; `-` where it makes none."""
    if cell.claim is None:
        return NOTHING
    if cell.claim.verdict == "undecided":
        return undecided(cell.claim.seeds_needed)
    return cell.claim.verdict


def claimed(cell: CellSummary) -> str:
    """Returns the paper's gain and its grade of evidence: `+2.67 (P)`."""
    claim = cell.claim
    if claim is None or claim.gain is None:
        return NOTHING
    return f"{signed(claim.gain)} ({claim.grade})"


def figures(found: Comparison) -> str:
    """Returns a difference and its moderated 95 % interval: `+0.84 [+0.21, +1.47]`."""
    shown = f" {interval(found.interval)}" if found.interval else ""
    return f"{signed(found.difference.mean)}{shown}"


def tests(found: Comparison) -> tuple[str, ...]:
    """Returns a difference and all that was tested of it, as `TESTS` says."""
    plain, decision = found.difference, found.decision
    return (
        signed(plain.mean),
        interval(found.interval),
        p_value(decision.p_difference if decision else None),
        p_value(decision.p_equivalence if decision else None),
        interval(plain.welch),
        p_value(plain.p),
        interval(plain.paired),
        p_value(plain.paired.p if plain.paired else None),
    )


def versus(found: Comparison) -> str:
    """Returns `+0.84 [+0.21, +1.47] better`: the difference, its interval, the verdict."""
    return f"{figures(found)} {verdict(found)}"


def versus_baseline(cell: CellSummary) -> str:
    """Returns the difference to the baseline with its verdict."""
    return versus(cell.baseline) if cell.baseline else NOTHING


def versus_controls(cell: CellSummary) -> list[str]:
    """Returns the difference to each control with its verdict; the control's name where several.

    What a cell could not be compared with, its baseline included, follows with the reason.
    """
    if len(cell.controls) == 1 and not cell.uncompared:
        return [versus(cell.controls[0])]
    named = [f"{c.name}: {versus(c)}" for c in cell.controls]
    return [*named, *cell.uncompared] if has_results(cell) else named


def comparisons(cell: CellSummary) -> list[Comparison]:
    """Returns a cell's comparisons: its baseline, then its controls."""
    return [*([cell.baseline] if cell.baseline else []), *cell.controls]


def claim_counts(report: Report) -> list[tuple[ClaimVerdict, int]]:
    """Returns how many claims have each verdict that any has, in the verdicts' order."""
    found = Counter(cell.claim.verdict for cell in report.cells if cell.claim)
    return [(said, found[said]) for said in get_args(ClaimVerdict) if found[said]]


def headline(report: Report) -> str:
    """Counts the verdicts on a report's claims, else on its methods; empty where there is none."""
    counts = claim_counts(report)
    if counts:
        listed = ", ".join(f"{said} {count}" for said, count in counts)
        return f"{plural(len(report.claims), 'claim')}: {listed}."
    methods = [cell for cell in report.cells if cell.kind == "method"]
    against = Counter(cell.baseline.verdict for cell in methods if cell.baseline)
    if not against:
        return ""
    listed = ", ".join(f"{said} {count}" for said, count in sorted(against.items()))
    return f"{plural(against.total(), 'method')} against the baseline: {listed}."
