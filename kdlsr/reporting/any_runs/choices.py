"""What a user of `kdlsr.report` chooses: `conf/report.yaml`, read and checked."""

from dataclasses import dataclass
from typing import Annotated

from kdlsr.config import AtLeast, FolderName, UserError, nearest
from kdlsr.reporting.deciding import MARGIN
from kdlsr.reporting.summary import FURTHER, MEASURES, OF_SOME, TO_TEACHER
from kdlsr.runs.result import PROTOCOLS

Patterns = str | tuple[str, ...]
_MEASURES = ("top1", *MEASURES, *OF_SOME, *TO_TEACHER, *FURTHER)


@dataclass(frozen=True, kw_only=True)
class ReportChoices:
    """What `conf/report.yaml` composes to.

    Attributes:
        runs: globs over run_ids (any of them) and filters `key=value` (all of them; filters
            of the same key are alternatives).
        group_by: config keys that make the rows; empty: the network.
        value: `last`, `best_test` or `best_val`, and perhaps `.<measure>`; None: `best_val`
            where the runs have a validation split, else `last`.
        baseline: filters; empty: nothing is compared.
        margin: a difference that is smaller does not matter, points of top-1.
        search: whether the runs are a tau x alpha search; None: if that is all they differ in.
        teachers: whether runs that only teach others count.
        name: of the report's folder.
        output_dir: where runs and reports are.
    """

    runs: Patterns = "*"
    group_by: Patterns = ()
    value: str | None = None
    baseline: Patterns = ()
    margin: Annotated[float, AtLeast(0)] = MARGIN
    search: bool | None = None
    teachers: bool = False
    name: Annotated[str, FolderName()] = "runs"
    output_dir: str = "outputs"


def several(patterns: Patterns) -> tuple[str, ...]:
    """Returns one or several as several."""
    return (patterns,) if isinstance(patterns, str) else patterns


def read_value(value: str | None) -> tuple[str | None, str]:
    """Splits `last.nll` into protocol and measure; None: to be chosen by the runs.

    Raises:
        UserError: no such protocol or measure.
    """
    if value is None:
        return None, "top1"
    protocol, dot, measure = value.partition(".")
    if protocol not in PROTOCOLS:
        raise UserError(
            f"value={value}: no such protocol{nearest(protocol, PROTOCOLS)}; a measure may follow "
            "it: last.nll"
        )
    if dot and measure not in _MEASURES:
        raise UserError(f"value={value}: no such measure{nearest(measure, _MEASURES)}")
    return protocol, measure or "top1"
