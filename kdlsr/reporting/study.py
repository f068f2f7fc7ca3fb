"""What a study adds to a report: a section of sentences, tables and figures of its own.

The same noun for every study, so that the page, the Markdown, the JSON and the terminal have one
way to show any of them. Which studies there are, and what they compute, is `studies/`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StudyTable:
    """A table of a study, as text: numbers are written by `formatting`.

    Attributes:
        title: its heading.
        columns: headings.
        rows: as many texts as columns, each.
        caption: what is to be known of it; may be empty.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class StudyFigure:
    """A figure of a study.

    Attributes:
        name: of its file, without suffix: unique among the report's figures.
        title: its heading.
        caption: what is drawn.
        draw: gives the PNG; the same bytes for the same report.
        narrow: whether half the page's width suits it.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], bytes] = field(compare=False)
    narrow: bool = False


@dataclass(frozen=True)
class Study:
    """A study's section of a report.

    Attributes:
        name: as a table asks for it.
        title: its heading.
        answers: what was found, a sentence each; they are printed on the terminal too.
        tables: in their order.
        figures: likewise.
        notes: how to read it, a line each.
        values: all of it as plain values, for `report.json`.
    """

    name: str
    title: str
    answers: Sequence[str] = ()
    tables: Sequence[StudyTable] = ()
    figures: Sequence[StudyFigure] = ()
    notes: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
