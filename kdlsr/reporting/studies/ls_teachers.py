"""What label smoothing makes of a teacher, and of its students at low and high temperatures.

The measures of Mueller et al. (NeurIPS 2019), Shen et al. (ICLR 2021) and, reconstructed, of
Chandrasegaran et al. (ICML 2022), from the features that runs keep with `keep_features=true`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from kdlsr.metrics import (
    Projection,
    diffusion,
    equivalent_smoothing,
    project,
    similar_classes,
    stability,
)
from kdlsr.reporting import formatting
from kdlsr.reporting.kept import has_all, kept_features, logits_of, teacher_folder
from kdlsr.reporting.statistics import difference, estimate
from kdlsr.reporting.studies import Studied, studies
from kdlsr.reporting.study import Study, StudyFigure, StudyTable
from kdlsr.reporting.summary import CellSummary
from kdlsr.runs.features import KeptFeatures

PANELS = 12  # projections that are drawn
CLASSES_PER_SIMILAR_ONE = 20
NOTES = (
    "1 - stability: Shen et al. (ICLR 2021), of the test samples' probabilities: how far they lie "
    "from their class's mean. Less is tighter.",
    "Teacher's gamma: Mueller et al. (NeurIPS 2019), the label smoothing that gives wrong classes "
    "as much as the teacher does at the row's temperature; on the test samples, of its last epoch.",
    "Diffusion: a reconstruction of the index of Chandrasegaran et al. (ICML 2022), whose formula "
    "is not known: by how many percent the centroids of similar classes moved together between "
    "the lowest temperature and this one, relative to all classes. Similar are the classes (one "
    "for every 20, at least one) whose centroids are nearest in the baseline network of the same "
    "seed, which is neither of the two that are compared.",
    "Projections: the first seed's test samples of three classes, on the plane through their "
    "templates (the rows of the last layer's weights, stars).",
)
BySeed = Mapping[Any, float]


@dataclass(frozen=True)
class Measured:
    """A cell's figures by seed; empty where what they need was not kept.

    Attributes:
        cell: whose.
        tau: of its loss; None without one.
        instability: 1 - stability.
        gamma: the teacher's equivalent smoothing.
        diffusion: against the same students at the lowest temperature.
        partly: how many runs had a test set that lacks a class.
    """

    cell: CellSummary
    tau: float | None
    instability: BySeed = field(default_factory=dict)
    gamma: BySeed = field(default_factory=dict)
    diffusion: BySeed = field(default_factory=dict)
    partly: int = 0

    @property
    def name(self) -> str:
        """Of the cell, in a line."""
        cell = self.cell
        return formatting.heading(cell.row, cell.column, cell.name)


@studies.register("ls_teachers")
def ls_teachers(studied: Studied) -> Study:
    """Returns stability, equivalent smoothing, diffusion and projections of a table's cells."""
    cells = [cell for cell in studied.cells if cell.complete]
    kept = {
        run.run_id: found
        for cell in cells
        for run in cell.complete
        if (found := kept_features(run))
    }
    measured = [_measured(cell, cells, kept) for cell in cells]
    panels = dict(_projections(measured, kept, studied.table.projected))
    lacking = sum(run.run_id not in kept for cell in cells for run in cell.complete)
    notes = [*NOTES]
    if partly := sum(each.partly for each in measured):
        runs = formatting.plural(partly, "run")
        notes.append(
            f"{runs} had a test set without a sample of some class, and so no stability and no "
            "diffusion: both are means over all classes."
        )
    if lacking:
        runs = formatting.plural(lacking, "run")
        notes.append(f"{runs} kept no features: keep_features=true makes them from a checkpoint.")
    return Study(
        name="ls_teachers",
        title="Label-smoothed teachers and their students",
        answers=tuple(_answers(measured)),
        tables=(_table(measured),),
        figures=(_figure(panels, studied.table.projected),) if panels else (),
        notes=notes,
        values={"cells": [_values(each) for each in measured]},
    )


# ---------------------------------------------------------------- from runs to figures


def _measured(
    cell: CellSummary, cells: Sequence[CellSummary], kept: Mapping[str, KeptFeatures]
) -> Measured:
    tau = _tau(cell)
    read = ((run.card.seeds, logits_of(run.folder)) for run in cell.complete)
    own = {seeds: found for seeds, found in read if found is not None}
    whole = {seeds: found for seeds, found in own.items() if has_all(found[0].shape[1], found[1])}
    gamma = {
        run.card.seeds: equivalent_smoothing(*found, tau)
        for run in cell.complete
        if tau is not None and (found := logits_of(teacher_folder(run)))
    }
    return Measured(
        cell,
        tau,
        {seeds: 1 - stability(*found) for seeds, found in whole.items()},
        gamma,
        dict(_diffusions(cell, cells, kept)),
        len(own) - len(whole),
    )


def _tau(cell: CellSummary) -> float | None:
    tau = cell.complete[0].card.config["loss"].get("tau")
    return None if tau is None else float(tau)


def _diffusions(
    cell: CellSummary, cells: Sequence[CellSummary], kept: Mapping[str, KeptFeatures]
) -> Iterator[tuple[Any, float]]:
    """Yields the diffusion of each seed that all three networks kept features of."""
    lowest = min((c for c in cells if _alike(c, cell)), key=lambda c: _tau(c) or 0.0)
    baseline = next((c for c in cells if c.key == cell.baseline_key), None)
    if baseline is None or lowest is cell or _tau(cell) is None or not _has_teacher(cell):
        return
    low, near = (_features_by_seed(c, kept) for c in (lowest, baseline))
    for seeds, high in _features_by_seed(cell, kept).items():
        if seeds in low and seeds in near:
            labels, classes = torch.from_numpy(high.labels), len(high.weight)
            if not has_all(classes, labels):  # a centroid would be missing
                continue
            count = max(1, classes // CLASSES_PER_SIMILAR_ONE)
            first, last, reference = (
                torch.from_numpy(found.features) for found in (low[seeds], high, near[seeds])
            )
            similar = similar_classes(reference, labels, classes, count)
            yield seeds, diffusion(first, last, labels, similar)


def _has_teacher(cell: CellSummary) -> bool:
    return cell.complete[0].card.teacher is not None


def _alike(first: CellSummary, second: CellSummary) -> bool:
    """Whether two cells differ in the temperature of their loss alone."""
    return _apart_from_tau(first) == _apart_from_tau(second)


def _apart_from_tau(cell: CellSummary) -> str:
    config = dict(cell.complete[0].card.config)
    config["loss"] = {key: value for key, value in config["loss"].items() if key != "tau"}
    for key in ("seed", "init_seed", "data_seed", "keep_features", "output_dir"):
        config.pop(key, None)
    return json.dumps(config, sort_keys=True)


def _features_by_seed(
    cell: CellSummary, kept: Mapping[str, KeptFeatures]
) -> dict[Any, KeptFeatures]:
    return {run.card.seeds: kept[run.run_id] for run in cell.complete if run.run_id in kept}


def _projections(
    measured: Sequence[Measured], kept: Mapping[str, KeptFeatures], classes: Sequence[int]
) -> Iterator[tuple[str, Projection]]:
    for each in measured[:PANELS]:
        run = each.cell.complete[0]
        found = kept.get(run.run_id)
        if found is not None and max(classes) < len(found.weight):
            features, weight = map(torch.from_numpy, (found.features, found.weight))
            yield each.name, project(features, weight, torch.from_numpy(found.labels), classes)


# ---------------------------------------------------------------- in words


def _answers(measured: Sequence[Measured]) -> Iterator[str]:
    """Yields each student's diffusion, and what a smoothed teacher adds to it."""
    for each in measured:
        if not each.diffusion:
            continue
        found = estimate(list(each.diffusion.values()))
        yield (
            f"{each.name}: similar classes moved together by {formatting.spread(found)} %, "
            f"interval {formatting.mean_interval(found)}."
        )
        plain = next((o for o in measured if _is_plain_of(o, each) and o.diffusion), None)
        if plain is not None:
            more = difference(each.diffusion, plain.diffusion)
            yield (
                f"That is {formatting.signed(more.mean)} {formatting.interval(more.paired)} points "
                f"more than with the teacher that was not smoothed ({plain.name})."
            )


def _is_plain_of(other: Measured, one: Measured) -> bool:
    """Whether two students differ in this alone: the second's teacher was smoothed."""
    if other.tau != one.tau or "lsr" not in _teacher_losses(one):
        return False
    networks = [m.cell.complete[0].card.config["model"] for m in (other, one)]
    return networks[0] == networks[1] and "lsr" not in _teacher_losses(other)


def _teacher_losses(measured: Measured) -> list[str]:
    overrides = measured.cell.complete[0].card.config["teacher"]["overrides"]
    pairs = (str(text).partition("=") for text in overrides)
    return [value for key, _, value in pairs if key == "loss"]


def _table(measured: Sequence[Measured]) -> StudyTable:
    return StudyTable(
        title="Measures at the last epoch",
        columns=("cell", "top-1 %", "1 - stability", "teacher's gamma", "diffusion, %"),
        rows=[
            (
                each.name,
                formatting.top1(each.cell, "last"),
                _shown(each.instability, 4),
                _shown(each.gamma, 4),
                _shown(each.diffusion, 2),
            )
            for each in measured
        ],
        caption="Mean ± standard deviation (n) over seeds.",
    )


def _shown(figures: BySeed, decimals: int) -> str:
    if not figures:
        return formatting.NOTHING
    return formatting.spread(estimate(list(figures.values())), decimals)


def _figure(panels: Mapping[str, Projection], classes: Sequence[int]) -> StudyFigure:
    def paint() -> bytes:
        from kdlsr.reporting.figures.projections import draw_projections

        return draw_projections(panels, classes)

    return StudyFigure(
        "projection",
        "Penultimate features of three classes",
        "Test samples on the plane through the templates of three classes (Mueller et al. 2019); "
        "stars: the templates. One seed; axes have one scale in each panel.",
        paint,
    )


def _values(each: Measured) -> dict[str, Any]:
    figures = {
        "instability": each.instability,
        "gamma": each.gamma,
        "diffusion": each.diffusion,
    }
    means = {
        name: {"mean": math.fsum(f.values()) / len(f), "values": list(f.values())} if f else None
        for name, f in figures.items()
    }
    return {"key": each.cell.key, "tau": each.tau, **means}
