"""The verdicts of a report that was made before they were, from its report.json alone.

    python tests/benchmarks/decide_again.py experiments/results/claims-reduced/report.json

Prints every difference of a method with the verdict that the report has and the one of today, at a
margin of 0.5 points. Reads nothing but the values of the seeds, and writes nothing.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdlsr.reporting.deciding import Decision, claim_verdict, judge
from kdlsr.reporting.formatting import interval, signed
from kdlsr.reporting.judged import undecided
from kdlsr.reporting.moderation import PRIOR_DF, Moderated, moderated, prior_of, worth_at_most
from kdlsr.reporting.statistics import Estimate, estimate

Pair = tuple[str, str]  # the keys of a cell and of what it is held against


def families(report: Mapping[str, Any]) -> dict[str, dict[Pair, Moderated]]:
    """Returns the differences of methods to their baselines and to their controls."""
    cells = {cell["key"]: cell for cell in report["cells"]}
    values = {key: _values(cell, report["protocol"]) for key, cell in cells.items()}
    networks: dict[str, dict[frozenset[str], Estimate]] = {}
    for key, found in values.items():
        runs = frozenset(run["run_id"] for run in cells[key]["runs"])
        if found:
            networks.setdefault(_network(cells[key]), {})[runs] = found
    priors = {
        name: worth_at_most(prior_of(list(found.values())), PRIOR_DF)
        for name, found in networks.items()
    }
    judged: dict[str, dict[Pair, Moderated]] = {"claims": {}, "controls": {}}
    for family, key, other in _pairs(report):
        ours, theirs = values[key], values[other]
        if ours and theirs:
            judged[family][key, other] = moderated(ours, theirs, priors[_network(cells[key])])
    return judged


def _network(cell: Mapping[str, Any]) -> str:
    return str(cell["baseline"]["key"] if cell["baseline"] else cell["key"])


def _values(cell: Mapping[str, Any], protocol: str) -> Estimate | None:
    found = cell["top1"].get(protocol)
    return estimate(found["values"]) if found else None


def _pairs(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for cell in report["cells"]:
        if cell["kind"] == "method" and cell["baseline"]:
            yield "claims", cell["key"], cell["baseline"]["key"]
            yield from (("controls", cell["key"], each["key"]) for each in cell["controls"])


def main(path: str) -> None:
    """Prints the verdicts of a report, old and new, and what becomes of its claims."""
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    found = families(report)
    decisions = {family: judge(members) for family, members in found.items()}
    before = {
        (cell["key"], each["key"]): each["verdict"]
        for cell in report["cells"]
        for each in (*([cell["baseline"]] if cell["baseline"] else []), *cell["controls"])
    }
    for family, members in found.items():
        for pair, held in members.items():
            shown = f"{signed(held.mean)} {interval(held.interval)}"
            now = _in_words(decisions[family][pair])
            print(f"{' minus '.join(pair)}: {shown}: {before[pair]} -> {now}")
    for (key, _), decision in decisions["claims"].items():
        controls = [d.verdict for (k, _), d in decisions["controls"].items() if k == key]
        print(f"{key}: {claim_verdict(decision.verdict, controls)}")


def _in_words(found: Decision) -> str:
    return undecided(found.seeds_needed) if found.verdict == "undecided" else found.verdict


if __name__ == "__main__":
    main(sys.argv[1])
