"""Methods that are tuned on each of several networks, as a table's file has them.

The question is what it costs to tune on one network and apply to another. A grid is written once
and becomes ordinary rows, one for each point and network; what is chosen, and what that loses, is
for the report to compute (`reporting/studies/tuned_elsewhere`).
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Point = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TunedMethod:
    """A method with what its hyper-parameters are chosen from.

    Attributes:
        method: a loss's name, or one of `experiments/methods.yaml`.
        grid: values of each hyper-parameter; every combination is a point.
        points: in place of a grid, each with all of the hyper-parameters.
        forms: of its loss; null: all. Each is tuned by itself.
    """

    method: str
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    points: tuple[dict[str, Any], ...] = ()
    forms: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if bool(self.grid) == bool(self.points):
            raise ValueError("expected either a grid or points")
        if len(self.every_point) < 2:
            raise ValueError("there is nothing to choose from: expected two points or more")

    @property
    def every_point(self) -> list[Point]:
        """The points in their order, by which ties are broken."""
        if self.points:
            return list(self.points)
        values = itertools.product(*self.grid.values())
        return [dict(zip(self.grid, chosen, strict=True)) for chosen in values]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Methods and the networks on which each is tuned, and to which it is applied.

    Attributes:
        networks: of the table's setting, two or more.
        methods: by the name that the report has for them.
        claim: the one of which the paper says that its hyper-parameters carry over; the others'
            loss is held against its.
    """

    networks: tuple[str, ...]
    methods: dict[str, TunedMethod]
    claim: str

    def __post_init__(self) -> None:
        if len(set(self.networks)) < 2:
            raise ValueError("tuning on one network and applying to another takes two networks")
        if self.claim not in self.methods:
            known = ", ".join(self.methods)
            raise ValueError(f"claim: {self.claim} is none of the methods; known: {known}")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yields the rows of all points, as they would stand among a table's `cells`."""
        for name, tuned in self.methods.items():
            for network, point in itertools.product(self.networks, tuned.every_point):
                yield {
                    "group": name,
                    "row": network,
                    "column": f"{name} {in_words(point)}",
                    "method": tuned.method,
                    "network": network,
                    "options": dict(point),
                    "forms": tuned.forms,
                }


def in_words(point: Point) -> str:
    """Returns `alpha 0.1, tau 2`."""
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in point.items()
    )
