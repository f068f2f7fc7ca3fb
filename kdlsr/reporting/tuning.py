"""What tuning a method on another network costs: choices, and the loss of accuracy they make.

Pure functions of accuracies by point and seed. The choice is made inside the statistic: for each
seed, the points are chosen by validation accuracy over all *other* seeds, on the network itself
and on the other one, and both are judged by that seed's test accuracy on the network itself. The
loss is the mean over seeds, its interval Student's t over them.

Why this and neither the plain difference nor a bootstrap: a point that was chosen because its
seeds were lucky is lucky on the test set too (it is the same network), so that the plain
difference finds a loss where there is none. In simulations with 4 points, deviations of 0.3
points over seeds and of validation figures, and no true difference between points, it was 0.13
points at n = 3 and 0.10 at n = 5; leaving the judged seed out, it was 0.01 at most. Its 95 %
interval held the true loss in 88 to 98 % of the cases in which there was an interval; a bootstrap
over 3 seeds did in 61 to 93 %. Where both choices agree for every seed the loss is 0 and there is
no interval: nothing is claimed.

It is the loss of tuning with n - 1 seeds. With one seed, choice and judgement share it.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from kdlsr.reporting.statistics import Difference, difference

Seed = Hashable
BySeed = Mapping[Seed, float]


@dataclass(frozen=True)
class Tried:
    """A point on one network, in percent by seed.

    Attributes:
        validation: top-1 on the validation split, at the epoch that is best on it.
        test: top-1 on the test set after that epoch.
    """

    validation: BySeed
    test: BySeed


Grid = Mapping[str, Tried]
"""The points of a method on one network, in their order; all with the same seeds."""


@dataclass(frozen=True)
class Loss:
    """What is lost on a network by a choice that was made on another one.

    Attributes:
        own: test top-1 by seed of the point chosen on the network itself.
        elsewhere: likewise of the one chosen on the other.
        chosen_own, chosen_elsewhere: what all seeds together would choose.
        agreeing: for how many seeds both choices are the same point.
    """

    own: BySeed
    elsewhere: BySeed
    chosen_own: str
    chosen_elsewhere: str
    agreeing: int

    @property
    def difference(self) -> Difference:
        """Own minus elsewhere, `paired` by seed."""
        return difference(self.own, self.elsewhere)


def choose(grid: Grid, seeds: Sequence[Seed]) -> str:
    """Returns the point with the highest mean validation accuracy over seeds; the first of equals.

    Args:
        grid: at least one point.
        seeds: at least one.
    """
    means = {
        point: math.fsum(tried.validation[s] for s in seeds) / len(seeds)
        for point, tried in grid.items()
    }
    return max(means, key=lambda point: means[point])


def loss_of_tuning_elsewhere(own: Grid, other: Grid) -> Loss | None:
    """Returns what is lost on the network of `own` by tuning on that of `other`.

    Args:
        own: the points on the network that they are applied to.
        other: the same points on the network that they are tuned on.

    Returns:
        None where a point lacks a seed that others have, or there is none.
    """
    sets = {frozenset(figures) for grid in (own, other) for t in grid.values()
            for figures in (t.validation, t.test)}  # fmt: skip
    if len(sets) != 1 or not own or own.keys() != other.keys():
        return None
    seeds = list(next(iter(own.values())).test)
    if not seeds:
        return None
    choices = {}
    for seed in seeds:
        others = [s for s in seeds if s != seed] or seeds
        choices[seed] = choose(own, others), choose(other, others)
    return Loss(
        own={seed: own[point].test[seed] for seed, (point, _) in choices.items()},
        elsewhere={seed: own[point].test[seed] for seed, (_, point) in choices.items()},
        chosen_own=choose(own, seeds),
        chosen_elsewhere=choose(other, seeds),
        agreeing=sum(a == b for a, b in choices.values()),
    )


def mean_by_seed(figures: Sequence[BySeed]) -> dict[Seed, float]:
    """Returns the mean of several figures for each seed that all have."""
    shared = [seed for seed in figures[0] if all(seed in each for each in figures)]
    return {seed: math.fsum(each[seed] for each in figures) / len(figures) for seed in shared}
