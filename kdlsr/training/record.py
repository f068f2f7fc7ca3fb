"""What is known of an epoch once it is over: a line of `metrics.jsonl`, written and read here."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from kdlsr.files import parse_json
from kdlsr.metrics import Metrics, plain_metrics

_ASKED_FOR = ("train_views", "teacher")  # by `train_metrics`
_OF_SOME = (*_ASKED_FOR, "more")


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of a run.

    Attributes:
        epoch: how many are completed with it.
        lr: the rate of its last step.
        train: the mean of each of the loss's terms over its training views.
        val: of the validation samples, where there are some.
        test: of the test samples.
        train_views: after the epoch, of its training views, where `train_metrics` asks for that.
        teacher: the teacher's, of the same views, likewise.
        more: of the data set's further test sets, by name.
    """

    epoch: int
    lr: float
    train: Mapping[str, float]
    val: Metrics | None
    test: Metrics
    train_views: Metrics | None = None
    teacher: Metrics | None = None
    more: Mapping[str, Metrics] = field(default_factory=dict)

    def as_plain(self) -> dict[str, Any]:
        """Returns it as nested plain values, without what was not asked for."""
        plain = dataclasses.asdict(self, dict_factory=plain_metrics)
        return {k: v for k, v in plain.items() if v or k not in _OF_SOME}

    def to_line(self) -> str:
        """Returns its line, with the newline.

        Raises:
            ValueError: a value is not finite.
        """
        return json.dumps(self.as_plain(), allow_nan=False) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Self:
        """The inverse of `to_line`."""
        plain = dict(parse_json(line))  # of what is no mapping, a TypeError or a ValueError
        parts = ("val", "test", *_ASKED_FOR)
        read = {part: Metrics(**plain[part]) for part in parts if plain.get(part)}
        found = dict(plain.get("more", {}))
        more = {name: Metrics(**metrics) for name, metrics in found.items()}
        return cls(**plain | read | {"more": more})


def best_epoch(history: Sequence[EpochRecord], split: Literal["test", "val"]) -> int:
    """Returns the epoch of the highest top-1 on a split; of equally good ones the latest."""

    def top1(record: EpochRecord) -> float:
        metrics = record.test if split == "test" else record.val
        assert metrics is not None
        return metrics.top1

    return max(history, key=lambda record: (top1(record), record.epoch)).epoch
