"""What choosing on the test set is worth: the epoch, and a point of a grid, against validation.

Pure functions of accuracies by point and seed. For each seed the whole procedure is repeated with
that seed's runs alone, one a point, as a paper does that trains each point once: so the seeds are
repetitions of the procedure, and the mean over them has Student's t interval. What is claimed of a
method in this way is its figure on the test set at the point and epoch that are best there.

Choosing by the mean of n seeds is luckier by less, about the square root of n times; that figure
has no repetitions here, and so no interval.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

Seed = Hashable
BySeed = Mapping[Seed, float]


@dataclass(frozen=True)
class Chosen:
    """A run's top-1 in percent, after the epochs that protocols choose.

    Attributes:
        last, best_test, best_val: on the test set, after that epoch.
        validation: on the validation split, after the epoch best on it: what points are chosen by.
    """

    last: float
    best_test: float
    best_val: float
    validation: float

    @classmethod
    def mean(cls, several: Sequence[Self]) -> Self:
        """Returns the mean of several runs."""
        return cls(*(_mean([getattr(one, f.name) for one in several]) for f in fields(cls)))


Grid = Mapping[str, Mapping[Seed, Chosen]]
"""The points of a method on one network, in their order, each with its runs by seed."""


@dataclass(frozen=True)
class Ladder:
    """Test top-1 by seed, as more and more is chosen on the test set.

    Attributes:
        by_validation: epoch and point are chosen on the validation split.
        epoch_by_test: the same point at the epoch that is best on the test set.
        all_by_test: the point and epoch that are best on the test set.
        of_means: by how much the last exceeds the first where all seeds choose together, by their
            means.
    """

    by_validation: BySeed
    epoch_by_test: BySeed
    all_by_test: BySeed
    of_means: float


def climb(grid: Grid) -> Ladder | None:
    """Returns what a method has on one network, by who chooses; ties go to the first point.

    Args:
        grid: a single point has nothing to choose but its epoch.

    Returns:
        None where no seed has all points.
    """
    seeds = shared_seeds(list(grid.values()))
    if not seeds:
        return None
    honest = {s: max(grid.values(), key=lambda runs: runs[s].validation)[s] for s in seeds}
    means = [Chosen.mean([runs[s] for s in seeds]) for runs in grid.values()]
    best = max(mean.best_test for mean in means)
    return Ladder(
        by_validation={s: run.best_val for s, run in honest.items()},
        epoch_by_test={s: run.best_test for s, run in honest.items()},
        all_by_test={s: max(runs[s].best_test for runs in grid.values()) for s in seeds},
        of_means=best - max(means, key=lambda mean: mean.validation).best_val,
    )


def shared_seeds(figures: Sequence[Mapping[Seed, object]]) -> list[Seed]:
    """Returns the seeds that all of some figures have, in the first's order."""
    return [s for s in figures[0] if all(s in each for each in figures)] if figures else []


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
