"""What a paper claims by a row of its table: a sentence, and by how much, before any run."""

from dataclasses import dataclass
from typing import get_args

from kdlsr.tables.schema import Cell, Grade, Table
from kdlsr.tables.setting import Setting


@dataclass(frozen=True)
class StatedClaim:
    """That a method gains over its baseline.

    Attributes:
        sentence: one; what is published, whatever stands in for it here.
        gain: the paper's, points of top-1; None where it prints no value of either.
        grade: of evidence, the weaker one of the two values' grades; D where the two are not of
            one protocol.
    """

    sentence: str
    gain: float | None = None
    grade: str | None = None


def stated_claim(cell: Cell, table: Table, setting: Setting) -> StatedClaim | None:
    """Returns what a row claims; None in a table that studies something else than gains.

    Args:
        cell: a row; its `claim` is the sentence where it has one.
        table: that it is in.
        setting: the table's.
    """
    if table.studies and cell.claim is None:
        return None
    sentence = cell.claim or _sentence(cell, setting)
    ours, plain = cell.paper, table.baselines.get(cell.network)
    if cell.claimed_gain is not None:
        return StatedClaim(sentence, cell.claimed_gain, str(table.grade))
    if ours is None or plain is None:
        return StatedClaim(sentence)
    grades = [str(paper.grade or table.grade) for paper in (ours, plain)]
    grades += ["D"] if ours.protocol != plain.protocol else []
    gain = round(ours.accuracy - plain.accuracy, 4)
    return StatedClaim(sentence, gain, max(grades, key=get_args(Grade).index))


def _sentence(cell: Cell, setting: Setting) -> str:
    same = cell.column.lower().replace("-", "").replace(" ", "_") == cell.method
    method = cell.column if same else f"{cell.column} ({cell.method})"
    taught = f", taught by {cell.teacher}," if cell.teacher else ""
    data = setting.overrides.get("dataset") or setting.name
    return f"{method} raises the top-1 of {cell.network}{taught} on {data} above plain training's."
