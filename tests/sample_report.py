"""Reports made of invented numbers, with all that a rendering must cope with."""

from dataclasses import dataclass, replace
from typing import Literal

from kdlsr.metrics import Metrics
from kdlsr.reporting.claims import claim_of
from kdlsr.reporting.differences import Differences
from kdlsr.reporting.how_decided import how_decided
from kdlsr.reporting.statistics import LEVEL, Estimate, compatibility, estimate
from kdlsr.reporting.summary import (
    MEASURES,
    Cell,
    CellState,
    CellSummary,
    GridPoint,
    Report,
    RunState,
    RunSummary,
    Search,
    Target,
)
from kdlsr.runs.card import RunCard
from kdlsr.runs.result import AtEpoch, RunResult, TeacherFigures
from kdlsr.tables.claims import StatedClaim
from kdlsr.training.record import EpochRecord

# Each is a mark of some language that a report is rendered in.
SPECIAL = r"a|b & c_d 5% <i>e</i> -> #1 $x^2$ {f} ~g \h `i` *j* [k](l)"
FAILURE = "loss is not finite at step 17 of epoch 2 <script>alert(1)</script> | R&D_100%"
OMITTED = "its teacher's weights were never published (100 % sure) & cannot be had"
FIRST_LINE = "Profile invented (digits, 3 epochs; n = 3): evidence about renderings | nothing_else."
EPOCHS = 3
MARGIN = 1.0  # points, of equivalence
BEST_TEST = 0.2  # so much higher than `last` is every run at `best_test`

WEAK, STRONG, SCALE, LSR = "baseline weak", "baseline strong", "weak CE x 0.05", "weak LSR"
BETTER, WORSE, EQUIVALENT = "weak KD", "weak De-KD", "weak Tf-KD reg"
SPECIAL_CELL, PARTIAL, FAILED = "strong special", "strong partial", "strong failed"
NOT_RUN, NOT_STARTED, OMITTED_CELL = "weak not run", "weak not started", "weak omitted"


@dataclass(frozen=True)
class Draft:
    """A cell before its statistics: top-1 at `last` of seeds 0, 1, ...; None: not complete."""

    key: str
    group: str | None
    row: str
    column: str
    name: str
    kind: Literal["baseline", "method", "control"]
    values: tuple[float | None, ...]
    against: str | None = None
    controls: tuple[str, ...] = ()
    paper: tuple[float, float | None] | None = None
    absent: RunState = "not started"
    state: CellState = "complete"
    teacher_epoch: int | None = None
    has_teacher: bool = False
    note: str | None = None

    @property
    def complete(self) -> dict[int, float]:
        return {seed: value for seed, value in enumerate(self.values) if value is not None}


DRAFTS = (
    Draft(WEAK, None, "weak", "Baseline", "baseline", "baseline", (97.4, 97.2, 97.6),
          paper=(97.7, None)),
    Draft(STRONG, None, "strong", "Baseline", "baseline", "baseline", (98.4, 98.0, 98.8)),
    Draft(SCALE, None, "weak", "Control", "CE x 0.05", "control", (99.1, 98.9, 99.2), WEAK),
    Draft(LSR, None, "weak", "Control", "LSR 0.0943 x 1.06", "control", (97.5, 97.6, 97.1), WEAK),
    Draft(BETTER, "Re-KD", "strong teaches weak", "Normal KD", "as_released", "method",
          (99.0, 98.8, 99.2), WEAK, (SCALE,), (71.05, 0.16), has_teacher=True,
          note="a stand-in: the released configs have no value for this row"),
    Draft(WORSE, "De-KD", "strong after 1 epoch teaches weak", "De-KD", "as_written", "method",
          (75.4, 75.0, 76.0), WEAK, (SCALE, LSR), (70.65, None), teacher_epoch=1,
          has_teacher=True),
    Draft(EQUIVALENT, "Tf-KD", "weak", "Tf-KD_reg", "as_released", "method",
          (97.5, 97.3, 97.6), WEAK, (SCALE, LSR)),
    Draft(SPECIAL_CELL, f"group {SPECIAL}", f"row {SPECIAL}", f"column {SPECIAL}", "standard",
          "method", (98.5, 98.1, 98.6), STRONG, note=f"note {SPECIAL}"),
    Draft(PARTIAL, "Tf-KD", "strong", "Tf-KD_self", "as_released", "method", (98.6, 98.2, None),
          STRONG, absent="incomplete", state="partial", has_teacher=True),
    Draft(FAILED, "Tf-KD", "strong", "Tf-KD_self", "as_written", "method", (None, None, None),
          STRONG, absent="failed", state="failed", has_teacher=True),
    Draft(NOT_RUN, "Re-KD", "weak teaches strong", "Re-KD", "standard", "method",
          (None, None, None), STRONG, absent="not run", state="not run", has_teacher=True),
    Draft(NOT_STARTED, "Re-KD", "weak teaches strong", "Re-KD", "as_written", "method",
          (None, None, None), STRONG, state="not run"),
    Draft(OMITTED_CELL, "Re-KD", "timm teaches weak", "Normal KD", "kd", "method", (),
          state="omitted", note=OMITTED),
)  # fmt: skip


def full_report() -> Report:
    """A table with every kind of cell, verdict and fault, three seeds."""
    return build_report(DRAFTS)


def one_seed_report() -> Report:
    """A table of one seed, of which nothing is claimed."""
    drafts = [
        replace(d, values=d.values[:1]) for d in DRAFTS if all(v is not None for v in d.values)
    ]
    first = FIRST_LINE.replace("n = 3", "n = 1")
    return replace(build_report(tuple(drafts)), name="invented/one_seed", first_line=first)


def hand_made_report() -> Report:
    """A table whose figure is the hand-made distribution."""
    hand_made = {"classes": 10, "tau": 20.0, "correct_probability": 0.99}
    return replace(
        full_report(), name="figure3", figure="hand_made_distribution", hand_made=hand_made
    )


def teacher_epoch_report() -> Report:
    """A figure's data: students of one teacher taken at several of its epochs."""
    poor = tuple(
        Draft(f"weak after {epoch}", "De-KD", f"strong after {epoch}", "De-KD", "as_released",
              "method", (97.0 + gain, 97.3 + gain, 97.1 + gain), WEAK, (SCALE,),
              teacher_epoch=epoch, has_teacher=True)
        for epoch, gain in ((1, 0.0), (50, 1.0), (100, 1.5), (200, 1.2))
    )  # fmt: skip
    report = build_report((DRAFTS[0], DRAFTS[2], *poor))
    return replace(report, name="figure2", figure="teacher_epoch")


def search_report() -> Report:
    """A tau x alpha search on a validation split, one of its points not complete."""
    cells, points = [], []
    for tau in (1.0, 4.0, 20.0):
        for alpha in (0.1, 0.5, 0.9):
            values = (None,) if (tau, alpha) == (20.0, 0.9) else (97 + alpha - abs(tau - 4) / 10,)
            draft = Draft(f"tau={tau:g} alpha={alpha:g}", None, f"tau={tau:g}", f"alpha={alpha:g}",
                          "kd", "method", values, state="not run" if None in values else "complete",
                          has_teacher=True)  # fmt: skip
            alone = replace(placed(draft), kind="cell", stated=None)
            cell = _cell(draft, alone, Differences([alone], "best_val"), validation=True)
            cells.append(cell)
            chosen = cell.estimates["best_val"]
            points.append(GridPoint(tau, alpha, draft.key, chosen.mean if chosen else None))
    best = max((p for p in points if p.value is not None), key=lambda p: p.value or 0.0)
    return Report(
        name="search",
        title="tau x alpha",
        first_line="A search by best_val (digits, 10 % held out for validation, 3 epochs; n = 1).",
        protocol="best_val",
        protocols=("last", "best_test", "best_val"),
        data="digits, 10 % held out for validation, 3 epochs",
        environment=("cpu",),
        command="python -m kdlsr.report sweep=tau_alpha",
        cells=tuple(cells),
        figure="heat_map",
        search=Search("top-1 on the validation split", tuple(points), best.key),
    )


def build_report(drafts: tuple[Draft, ...]) -> Report:
    """A report of drafts, its differences judged."""
    cells = [placed(draft) for draft in drafts]
    found = Differences(cells, "last", MARGIN)
    return Report(
        name="invented/table",
        title=f"Invented {SPECIAL}",
        first_line=FIRST_LINE,
        protocol="last",
        protocols=("last", "best_test"),
        data="digits, 3 epochs",
        environment=("cpu (cpu, 1 thread a run, fp32), torch 2.15, kdlsr 0.1",),
        command="python -m kdlsr.reproduce table=invented/table profile=invented seeds=3 "
        "'dataset.root=/data/with a space' tracker=none dataset=digits schedule=quick",
        cells=tuple(_cell(draft, cell, found) for draft, cell in zip(drafts, cells, strict=True)),
        how_decided=how_decided(found, LEVEL),
        margin=MARGIN,
        level=LEVEL,
        source=f"Nobody et al. 1999, {SPECIAL}",
        shows="whether renderings keep what a report says",
        caveats=(
            "best_test lets the test set choose the epoch, as the papers do: it is optimistic.",
            f"A caveat with marks: {SPECIAL}",
        ),
        notes=(f"A note with marks: {SPECIAL}",),
    )


def placed(draft: Draft) -> Cell:
    """A cell of a draft, before it is judged."""
    stated = None
    if draft.kind == "method":
        paper = (2.67, "P") if draft.paper else (None, None)
        stated = StatedClaim(f"{draft.column} raises the top-1 of {draft.row}.", *paper)
    return Cell(
        key=draft.key,
        group=draft.group,
        row=draft.row,
        column=draft.column,
        name=draft.name,
        kind=draft.kind,
        runs=tuple(_run(draft, seed) for seed in range(len(draft.values))),
        baseline_key=draft.against,
        control_keys=draft.controls,
        target=_target(draft),
        teacher_epoch=draft.teacher_epoch,
        omitted=draft.note if draft.state == "omitted" else None,
        note=draft.note,
        stated=stated,
    )


def _cell(draft: Draft, cell: Cell, found: Differences, validation: bool = False) -> CellSummary:
    values = list(draft.complete.values())

    def shifted(by: float) -> Estimate | None:
        return estimate([value + by for value in values]) if values else None

    estimates = {"last": shifted(0.0), "best_test": shifted(BEST_TEST)}
    if validation:
        estimates["best_val"] = shifted(-0.1)
    controls = (found.compare(cell, key, "controls") for key in cell.control_keys)
    return CellSummary(
        **vars(cell),
        state=draft.state,
        estimates=estimates,
        measures=_measures(draft, values),
        baseline=found.compare(cell, cell.baseline_key, "claims"),
        controls=tuple(control for control in controls if control),
        claim=claim_of(cell, found),
    )


def _measures(draft: Draft, values: list[float]) -> dict[str, Estimate | None]:
    if not values:
        return {}
    found: dict[str, Estimate | None] = dict.fromkeys(MEASURES)
    found["nll"] = estimate([(100 - value) / 30 for value in values])
    found["ece"] = estimate([(100 - value) / 900 for value in values])
    if draft.has_teacher:
        found["agreement"] = estimate([value - 1 for value in values])
        found["kl"] = estimate([(100 - value) / 50 for value in values])
    return found


def _target(draft: Draft) -> Target | None:
    if draft.paper is None:
        return None
    accuracy, deviation = draft.paper
    at_best = [value + BEST_TEST for value in draft.complete.values()]
    return Target(accuracy, deviation, "P", compatibility(at_best, accuracy, deviation))


def _run(draft: Draft, seed: int) -> RunSummary:
    value = draft.values[seed]
    state: RunState = draft.absent if value is None else "complete"
    run_id = f"digits-resnet8-{draft.key.replace(' ', '_').lower()}-s{seed}-0123456789ab"
    result = None
    if value is not None:
        result = complete_result(run_id, value, draft.has_teacher)
    elif state == "failed":
        result = RunResult(run_id=run_id, cell_id=draft.key, status="failed", error=FAILURE)
    return RunSummary(
        card=invented_card(run_id, seed, "resnet20" if draft.has_teacher else "none"),
        state=state,
        overrides=("dataset=digits", "loss=kd", f"loss.tau={draft.key}", f"seed={seed}"),
        config=f"seed: {seed}\nloss: {{name: kd, note: '{SPECIAL}'}}\n" if value else "",
        history=_history(value) if value else (),
        result=result,
    )


def invented_card(run_id: str, seed: int, teacher: str) -> RunCard:
    """The card of a run that never was."""
    seeds = dict.fromkeys(("seed", "init_seed", "data_seed"), seed)
    config = {**seeds, "teacher": {"name": teacher, "epoch": "last"}}
    return RunCard(
        run_id=run_id, cell_id=run_id, command=(), numerics=0, identity={}, config=config
    )


def invented_metrics(top1: float) -> Metrics:
    """Metrics of which top-1 alone means something."""
    return Metrics(top1, None, (100 - top1) / 30, 0.2, 0.5, 0.9, (100 - top1) / 900)


def complete_result(run_id: str, top1: float, has_teacher: bool) -> RunResult:
    """A result with top-1 at `last`, more at `best_test`, less at `best_val`."""
    teacher = TeacherFigures(
        run_id="digits-resnet8-s1000-ba9876543210", epoch=3, top1=98.2, agreement=97.0, kl=0.05
    )
    protocols = {
        "last": AtEpoch(epoch=EPOCHS, test=invented_metrics(top1)),
        "best_test": AtEpoch(epoch=EPOCHS, test=invented_metrics(top1 + BEST_TEST)),
        "best_val": AtEpoch(epoch=EPOCHS, test=invented_metrics(top1 - 0.1)),
    }
    return RunResult(
        run_id=run_id,
        cell_id=run_id,
        status="complete",
        protocols=protocols,
        teacher=teacher if has_teacher else None,
    )


def _history(final: float) -> tuple[EpochRecord, ...]:
    return tuple(
        EpochRecord(
            epoch=epoch,
            lr=0.1 / epoch,
            train={"total": 2.0 / epoch, "hard": 1.5 / epoch, "soft": 0.5 / epoch},
            val=None,
            test=invented_metrics(final - 5.0 * (EPOCHS - epoch)),
        )
        for epoch in range(1, EPOCHS + 1)
    )
