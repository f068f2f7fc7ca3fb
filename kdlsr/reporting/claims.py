"""What became of each claim, and `claims.json`, which stands beside every report.

A claim is that a method gains over its baseline; whether by what it claims to gain by, its controls
answer. What is the very same as its baseline or its control is equivalent to it, tested or not.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from kdlsr.reporting.comparison import Claim, Comparison
from kdlsr.reporting.deciding import MOST_SEEDS, ClaimVerdict, Verdict, claim_verdict
from kdlsr.reporting.differences import Differences, state_of
from kdlsr.reporting.summary import Cell, CellSummary, Report

SCHEMA = 1


def claim_of(cell: Cell, found: Differences) -> Claim | None:
    """Returns what became of the claim that a cell makes, if it makes one.

    Args:
        cell: of the report.
        found: the report's differences, judged.
    """
    stated = cell.stated
    if stated is None:
        return None
    verdict, why, needed = _undecided(cell) or _judged(cell, found)
    return Claim(stated.sentence, stated.gain, stated.grade, verdict, why, needed)


Judged = tuple[ClaimVerdict, str, float | None]


def _undecided(cell: Cell) -> Judged | None:
    """Returns what is said of a cell that has nothing to judge by."""
    if cell.baseline_key is None or not cell.complete:
        return "undecided", f"no run is complete: {state_of(cell)}", None
    return None


def _judged(cell: Cell, found: Differences) -> Judged:
    assert cell.baseline_key is not None
    baseline = found.compare(cell, cell.baseline_key, "claims")
    towards = _towards(cell, cell.baseline_key, baseline, found)
    controls = {key: found.compare(cell, key, "controls") for key in cell.control_keys}
    verdicts = {k: _towards(cell, k, held, found) for k, held in controls.items()}
    verdict = claim_verdict(towards, list(verdicts.values()))
    whys = [_why(towards, "its baseline", baseline)]
    may_gain = towards == "better" or _may_be_better(towards, baseline, found.margin)
    open_ones = [baseline] if towards == "undecided" else []
    for key, held in controls.items():
        if held is None and verdicts[key] == "undecided":
            whys.append(f"not compared with {found.why_not(cell, key)}")
        elif towards == "better":
            whys.append(_why(verdicts[key], found.cells[key].name, held))
        if may_gain and verdicts[key] == "undecided":
            open_ones.append(held)
    return verdict, "; ".join(whys), _seeds(open_ones) if verdict == "undecided" else None


def _towards(cell: Cell, other: str, held: Comparison | None, found: Differences) -> Verdict:
    if held is None or held.decision is None:
        return "equivalent" if found.are_same(cell, other) else "undecided"
    return held.decision.verdict


def _may_be_better(verdict: Verdict, held: Comparison | None, margin: float) -> bool:
    """Whether more seeds, as things stand, make it better: then its controls decide the claim."""
    return verdict == "undecided" and held is not None and held.moderated.mean > margin


def _why(verdict: Verdict, name: str, held: Comparison | None) -> str:
    if held is None and verdict == "equivalent":
        return f"the very same runs as {name}"
    towards = {"better": "better than", "worse": "worse than", "equivalent": "equivalent to"}
    return f"{towards.get(verdict, 'undecided against')} {name}"


def _seeds(held: Sequence[Comparison | None]) -> float | None:
    """Returns how many seeds decide all of them; None where that is not known of any."""
    needed = [each.decision.seeds_needed if each and each.decision else None for each in held]
    known = [n for n in needed if n is not None]
    return max(known) if known and len(known) == len(needed) else None


def render_claims(report: Report) -> str:
    """Returns claims.json: each claim with its value, ours, its verdict and the runs behind it."""
    values = {
        "first_line": report.first_line,
        "schema": SCHEMA,
        "report": report.name,
        "source": report.source,
        "data": report.data,
        "protocol": report.protocol,
        "margin": report.margin,
        "level": report.level,
        "how_decided": report.how_decided,
        "claims": [_claim(report, cell) for cell in report.claims],
    }
    return json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _claim(report: Report, cell: CellSummary) -> dict[str, Any]:
    claim, found = cell.claim, cell.estimates.get(report.protocol)
    assert claim is not None
    network = report.by_key.get(cell.baseline_key or "")
    return {
        "claim": claim.sentence,
        "verdict": claim.verdict,
        "why": claim.why,
        "seeds_needed": seeds(claim.seeds_needed),
        "paper": {"gain": claim.gain, "grade": claim.grade} if claim.gain is not None else None,
        "ours": _held(cell.baseline) if cell.baseline else None,
        "controls": [_held(each) for each in cell.controls],
        "n": found.n if found else 0,
        "protocol": report.protocol,
        "cell": cell.key,
        "place": [part for part in (cell.group, cell.row, cell.column) if part],
        "form": cell.name,
        "network": network.row if network else None,
        "runs": dict(_runs(report, cell)),
    }


def _held(held: Comparison) -> dict[str, Any]:
    return {
        "minus": held.name,
        "difference": held.difference.mean,
        "interval": [held.interval.low, held.interval.high] if held.interval else None,
        **tested(held),
    }


def tested(held: Comparison) -> dict[str, Any]:
    """Returns the verdict on a comparison with its p values, as JSON has them.

    Where seeds were added until decided, with how many it was, or was looked at last.
    """
    decision = held.decision
    return {
        "verdict": held.verdict,
        "p_holm": decision.p_difference if decision else None,
        "p_equivalence_holm": decision.p_equivalence if decision else None,
        "seeds_needed": seeds(decision.seeds_needed) if decision else None,
        **({"looked_at": held.look} if held.look is not None else {}),
    }


def seeds(needed: float | None) -> int | str | None:
    """Returns how many seeds are needed as JSON and CSV have it: `> 100` where that is beyond."""
    if needed is None:
        return None
    return f"> {MOST_SEEDS}" if math.isinf(needed) else int(needed)


def _runs(report: Report, cell: CellSummary) -> Iterator[tuple[str, Any]]:
    def run_ids(each: Cell) -> list[str]:
        return [run.run_id for run in each.complete]

    yield "method", run_ids(cell)
    if cell.baseline_key:
        yield "baseline", run_ids(report.by_key[cell.baseline_key])
    yield "controls", {report.by_key[k].name: run_ids(report.by_key[k]) for k in cell.control_keys}
