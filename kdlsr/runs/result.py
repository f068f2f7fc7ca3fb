"""What came of a run, typed: `result.json` and the words for how far a run is.

One writer and one reader; no other module digs a key out of a result.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from kdlsr.config import build
from kdlsr.metrics import Correlation, Metrics, plain_metrics

SCHEMA = 1
Status = Literal["complete", "failed", "incomplete", "not started"]
Protocol = Literal["last", "best_test", "best_val"]
PROTOCOLS: tuple[Protocol, ...] = ("last", "best_test", "best_val")


@dataclass(frozen=True, kw_only=True)
class AtEpoch:
    """What a protocol reports: the epoch that it chose, and the test figures after it.

    Attributes:
        epoch: completed.
        test: of the test samples: what a protocol chooses by, and tables have.
        more: of the data set's further test sets, by name.
    """

    epoch: int
    test: Metrics
    more: Mapping[str, Metrics] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TeacherFigures:
    """A student's teacher and how close the student came to it, both on the test set.

    Attributes:
        run_id: of a teacher that is a run of this suite.
        path: of any other: its file, its name in timm, or how many epochs ago of its own past.
        epoch: the completed epochs after which the run taught; of its own past, in its last epoch;
            None for a file, or for several.
        top1: the teacher's own accuracy, percent.
        agreement: percent of samples to which both give one class.
        kl: mean KL(teacher || student) at temperature 1, nats.
        correlation: of the two networks' confidences over the test samples; None in results
            from before it was noted.
        train: the teacher's on the training views of the run's last epoch; None where it did
            not teach then, and likewise.
    """

    run_id: str | None = None
    path: str | None = None
    epoch: int | None
    top1: float
    agreement: float
    kl: float
    correlation: Correlation | None = None
    train: Metrics | None = None

    @property
    def name(self) -> str:
        """Its run_id, or its path."""
        return self.run_id or self.path or "?"


@dataclass(frozen=True, kw_only=True)
class Vouched:
    """What a file beside result.json has to be: its SHA-256, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """`result.json`: what a run that ended gave, or why it failed.

    Attributes:
        run_id, cell_id: of the run.
        status: only a complete run counts in any table.
        protocols: by name; `best_val` is None without a validation split.
        parameters: how many the network has.
        teacher: None without one.
        train: of the training samples as they are, after the last epoch; None unless
            `train_metrics` asked for it.
        train_views: likewise, of the last epoch's training views, as the teacher's are.
        files: by name, what the result belongs to.
        environment: `mixed` where its sessions do not all promise the same bits.
        error: why it failed; None for a complete run.
    """

    schema: int = SCHEMA
    run_id: str
    cell_id: str
    status: Literal["complete", "failed"]
    protocols: Mapping[str, AtEpoch | None] | None = None
    parameters: int | None = None
    teacher: TeacherFigures | None = None
    train: Metrics | None = None
    train_views: Metrics | None = None
    environment: Literal["uniform", "mixed"] | None = None
    files: Mapping[str, Vouched] = field(default_factory=dict)
    error: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote, strictly.

        Raises:
            UserError: a key is missing or unknown, or a value of another type.
        """
        result = build(cls, values, "result.json")
        if result.status == "complete" and not (result.protocols or {}).get("last"):
            build(AtEpoch, {}, "result.json: protocols.last")
        return result

    def to_json(self) -> dict[str, Any]:
        """Returns plain values; of a failed run only what says so."""
        if self.status == "failed":
            names = ("schema", "run_id", "cell_id", "status", "error")
            return {name: getattr(self, name) for name in names}
        plain = asdict(self, dict_factory=plain_metrics)
        values = {k: v for k, v in plain.items() if k != "error"}
        for chosen in filter(None, (values["protocols"] or {}).values()):
            if not chosen["more"]:
                del chosen["more"]
        if self.teacher is not None:
            unused = "path" if self.teacher.path is None else "run_id"
            del values["teacher"][unused]
        return values

    def at(self, protocol: str) -> AtEpoch | None:
        """Returns what a protocol reports; None where the run has no such protocol."""
        return (self.protocols or {}).get(protocol)
