"""The studies that a table can ask for, a module each: what they compute of a report's cells.

A study is a function registered by the name that a table's `studies` has. It is given cells with
their runs, of which it may read more files than a report's other figures need.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kdlsr.config import Registry
from kdlsr.reporting.study import Study
from kdlsr.reporting.summary import CellSummary
from kdlsr.tables.schema import Table


@dataclass(frozen=True)
class Studied:
    """What a study is made of.

    Attributes:
        cells: of the report, in its order, with their runs.
        protocol: by which the report judges differences.
        table: that asks for the study.
    """

    cells: Sequence[CellSummary]
    protocol: str
    table: Table


studies: Registry[Callable[[Studied], Study]] = Registry("study", "kdlsr.reporting.studies")


def study_all(studied: Studied) -> tuple[Study, ...]:
    """Returns the sections that a table asks for, in its order."""
    return tuple(studies.get(name)(studied) for name in studied.table.studies)
