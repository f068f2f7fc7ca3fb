"""How much of the variance is the teacher's: a section of every report with several teachers.

No table asks for it: it is there where students' seeds are crossed with teachers' seeds.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict

from kdlsr.reporting import formatting
from kdlsr.reporting.crossing import Crossed, crossed
from kdlsr.reporting.measures import by_teacher
from kdlsr.reporting.statistics import interval_of
from kdlsr.reporting.study import Study, StudyTable
from kdlsr.reporting.summary import CellSummary

NOTES = (
    "A run is its mean plus what its seed, its teacher and the rest add, each drawn at random; "
    "shares are of one run's variance, by the mean squares of the whole crossing (where all are "
    "above 0, as a mixed model's REML has them).",
    "p: of no difference between the teachers, by the F test of their mean square against the "
    "rest's, not corrected: it describes. With three teachers a share is rough.",
    "The interval over seeds and teachers is of the mean over other seeds and other teachers; the "
    "one over seeds alone holds for these teachers only.",
    "Cells share teachers, so that their shares are not independent.",
)


def teacher_share(cells: Sequence[CellSummary], protocol: str) -> tuple[Study, ...]:
    """Returns the section; none where no cell's seeds are crossed with teachers.

    Args:
        cells: of a report.
        protocol: by which its differences are judged.
    """
    values = {cell.key: by_teacher(cell, protocol) for cell in cells}
    found = {key: each for key, given in values.items() if (each := crossed(given))}
    shares = {k: each.teacher_share for k, each in found.items() if each.teacher_share is not None}
    if not found:
        return ()
    alone = {key: _over_seeds(values[key], each) for key, each in found.items()}
    return (
        Study(
            name="teacher_share",
            title="How much is the teacher's",
            answers=(_answer(found, list(shares.values())),),
            tables=(_table(cells, found, alone),),
            notes=NOTES,
            values={
                "cells": [
                    {"key": key, **asdict(each), "teacher_share": shares.get(key)}
                    for key, each in found.items()
                ]
            },
        ),
    )


def _answer(found: dict[str, Crossed], shares: Sequence[float]) -> str:
    most = max(each.teachers for each in found.values())
    if not shares:
        return f"Nothing varies over {most} teachers, nor over seeds."
    middle, low, high = statistics.median(shares), min(shares), max(shares)
    of_all = f"in the median of {len(shares)} cells ({100 * low:.0f} to {100 * high:.0f} %), "
    return (
        f"Of the variance of one run's top-1, {100 * middle:.0f} % is its teacher's, "
        f"{of_all if len(shares) > 1 else ''}over {most} teachers."
    )


def _over_seeds(values: dict[tuple[object, object], float], found: Crossed) -> str:
    """Returns the interval of the mean over seeds alone, each with the mean over its teachers."""
    by_seed: dict[object, list[float]] = {}
    for (seed, _), value in values.items():
        by_seed.setdefault(seed, []).append(value)
    means = [statistics.fmean(v) for v in by_seed.values() if len(v) == found.teachers]
    error = statistics.stdev(means) / len(means) ** 0.5
    interval = interval_of(found.mean, error, len(means) - 1)
    return (
        f"[{formatting.number(interval.low)}, {formatting.number(interval.high)}]"
        if interval
        else formatting.NOTHING
    )


def _table(
    cells: Sequence[CellSummary], found: dict[str, Crossed], alone: dict[str, str]
) -> StudyTable:
    rows = []
    for cell in cells:
        each = found.get(cell.key)
        if each is None:
            continue
        interval = interval_of(each.mean, each.error, each.df)
        total = each.by_seed + each.by_teacher + each.rest
        parts = (each.by_teacher, each.by_seed, each.rest)
        shown = [f"{100 * part / total:.0f} %" if total else formatting.NOTHING for part in parts]
        rows.append(
            (
                f"{formatting.position(cell)}, {cell.name}",
                f"{each.seeds} x {each.teachers}",
                formatting.number(total**0.5),
                *shown,
                formatting.p_value(each.p_teacher),
                f"[{formatting.number(interval.low)}, {formatting.number(interval.high)}]"
                if interval
                else formatting.NOTHING,
                alone[cell.key],
            )
        )
    return StudyTable(
        title="The variance of each taught cell",
        columns=(
            "cell",
            "seeds x teachers",
            "deviation of a run",
            "teacher's",
            "seed's",
            "rest",
            "p",
            "95 % over seeds and teachers",
            "over seeds alone",
        ),
        rows=rows,
        caption="Test top-1, percent.",
    )
