"""Which differences are judged together, by which prior, and what a row of a table claims."""

from dataclasses import replace

import pytest
from sample_report import BETTER, DRAFTS, EQUIVALENT, LSR, SCALE, STRONG, WEAK, WORSE, placed

from kdlsr.reporting.claims import claim_of
from kdlsr.reporting.deciding import judge
from kdlsr.reporting.differences import Differences
from kdlsr.reporting.how_decided import how_decided
from kdlsr.reporting.moderation import PRIOR_DF, prior_of, worth_at_most
from kdlsr.reporting.statistics import estimate
from kdlsr.reporting.summary import Cell
from kdlsr.tables.claims import stated_claim
from kdlsr.tables.reading import find_tables, read_setting

CELLS = {draft.key: placed(draft) for draft in DRAFTS}
VALUES = {draft.key: list(draft.complete.values()) for draft in DRAFTS}


def found_of(*cells: Cell, margin: float = 1.0) -> Differences:
    return Differences(cells or CELLS.values(), "last", margin)


def test_claims_are_one_family_and_controls_another() -> None:
    found = found_of()
    methods = [cell for cell in CELLS.values() if cell.kind == "method" and cell.complete]
    assert len(found.families["claims"]) == len(methods)
    assert len(found.families["controls"]) == sum(len(cell.control_keys) for cell in methods)
    for family, members in found.families.items():
        decisions = judge(members, 1.0)
        for cell in methods:
            keys = [cell.baseline_key] if family == "claims" else cell.control_keys
            for key in keys:
                held = found.compare(cell, key, family)
                assert held is not None
                pair = tuple(frozenset(r.run_id for r in CELLS[k].runs) for k in (cell.key, key))
                assert held.decision == decisions[pair]  # type: ignore[index]


def test_a_control_is_described_against_the_baseline_and_takes_no_part() -> None:
    held = found_of().compare(CELLS[SCALE], WEAK, "claims")
    assert held is not None
    assert held.decision is None
    assert held.verdict == "described"
    assert held.interval is not None
    left_out = (LSR, EQUIVALENT, WORSE)
    without = found_of(*(cell for key, cell in CELLS.items() if key not in left_out))
    assert len(without.families["controls"]) == 1


def test_a_prior_is_of_all_cells_of_a_network_each_once() -> None:
    weak = [k for k, c in CELLS.items() if k == WEAK or (c.baseline_key == WEAK and c.complete)]
    fitted = prior_of([estimate(VALUES[key]) for key in weak])
    found = found_of()
    assert found.priors[WEAK] == worth_at_most(fitted, PRIOR_DF)
    twice = replace(CELLS[BETTER], key="again")
    assert found_of(*CELLS.values(), twice).priors == found.priors
    assert found.priors[STRONG] is None  # three cells
    said = how_decided(found, 0.05)
    assert "weak: s0 0.27, d0 4.0, from 6 cells" in said
    assert "strong has no prior" in said
    assert "margin of 1 points" in said
    assert how_decided(found_of(CELLS[WEAK], CELLS[STRONG]), 0.05) == ""


def test_a_baseline_that_is_a_control_too_is_judged_in_both_families() -> None:
    cell = replace(CELLS[BETTER], control_keys=(WEAK, SCALE))
    found = found_of(*(CELLS | {BETTER: cell}).values())
    claim, control = (found.compare(cell, WEAK, f) for f in ("claims", "controls"))  # type: ignore[arg-type]
    assert claim is not None
    assert control is not None
    assert claim.moderated == control.moderated
    pair = tuple(frozenset(r.run_id for r in CELLS[key].runs) for key in (BETTER, WEAK))
    assert all(pair in members for members in found.families.values())
    assert control.decision == judge(found.families["controls"], 1.0)[pair]  # type: ignore[index]


def test_a_claim_whose_method_is_the_very_same_as_its_control_is_explained() -> None:
    control = replace(CELLS[SCALE], runs=CELLS[BETTER].runs)
    found = found_of(*(CELLS | {SCALE: control}).values())
    claim = claim_of(CELLS[BETTER], found)
    assert claim is not None
    assert claim.verdict == "gain shown and explained by its control"
    assert claim.why == "better than its baseline; the very same runs as CE x 0.05"


def test_a_gain_whose_control_has_no_runs_is_undecided() -> None:
    control = replace(CELLS[SCALE], runs=())
    claim = claim_of(CELLS[BETTER], found_of(*(CELLS | {SCALE: control}).values()))
    assert claim is not None
    assert claim.verdict == "undecided"
    assert claim.why == "better than its baseline; not compared with CE x 0.05: not run"
    assert claim.seeds_needed is None


@pytest.mark.parametrize(("lift", "takes_controls"), [(0.9, True), (0.2, False)])
def test_a_claim_that_may_be_a_gain_takes_the_seeds_that_its_control_takes_too(
    lift: float, takes_controls: bool
) -> None:
    values = {
        WEAK: (97.0, 97.4, 97.7),
        BETTER: (96.8 + lift, 97.4 + lift, 97.9 + lift),
        SCALE: (96.8 + lift, 97.05 + lift, 97.35 + lift),
    }
    cells = {d.key: placed(replace(d, values=values.get(d.key, d.values))) for d in DRAFTS}
    found = found_of(*(cells[key] for key in values), margin=0.5)
    claim = claim_of(cells[BETTER], found)
    to_baseline = found.compare(cells[BETTER], WEAK, "claims")
    to_control = found.compare(cells[BETTER], SCALE, "controls")
    needed = [c.decision.seeds_needed for c in (to_baseline, to_control) if c and c.decision]
    assert claim is not None
    assert claim.verdict == "undecided"
    assert None not in needed
    assert needed[1] > needed[0]  # type: ignore[operator]
    assert claim.seeds_needed == needed[takes_controls]


def test_a_row_claims_the_papers_gain_with_the_weaker_grade() -> None:
    (table,) = find_tables("yuan2020/claims")
    setting = read_setting(table.setting)
    row = next(cell for cell in table.cells if cell.column == "Normal KD")
    claim = stated_claim(row, table, setting)
    assert claim is not None
    assert claim.sentence == (
        "Normal KD (kd) raises the top-1 of MobileNetV2, taught by ResNet18, on cifar100 above "
        "plain training's."
    )
    assert claim.gain == pytest.approx(71.05 - 68.38)
    assert claim.grade == "P"
    assert row.paper is not None
    read_off = replace(row, paper=replace(row.paper, grade="V"), claim="So they say.")
    weaker = stated_claim(read_off, table, setting)
    assert weaker is not None
    assert (weaker.sentence, weaker.grade) == ("So they say.", "V")
    unprinted = stated_claim(replace(row, paper=None), table, setting)
    assert unprinted is not None
    assert unprinted.gain is None


def test_a_table_that_studies_something_else_claims_no_gains_unless_it_says_so() -> None:
    (table,) = find_tables("sultan2023/digits")
    setting = read_setting(table.setting)
    assert [stated_claim(cell, table, setting) for cell in table.cells] == [None] * len(table.cells)
    said = replace(table.cells[0], claim="It gains.")
    assert stated_claim(said, table, setting) is not None
