"""Every random number of the data: the order of the samples, their views, splits, subsets.

Drawn on the CPU, so that all devices see the same views, by a counter-based generator, so that
any epoch can be drawn again without the ones before it. NumPy only.

NumPy guarantees that a bit generator's stream of raw words never changes; it does not guarantee
this for the methods of `Generator`. So the raw words of Philox are taken and converted here.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from kdlsr.data.recipes import ViewRecipe

Words: TypeAlias = npt.NDArray[np.uint64]
Indices: TypeAlias = npt.NDArray[np.int64]


class Purpose(IntEnum):
    """What words are drawn for: each purpose has a part of the counter's range to itself."""

    ORDER = 1
    VIEWS = 2
    SPLIT = 3
    SUBSET = 4


def words(purpose: Purpose, key: tuple[int, int], count: int) -> Words:
    """Returns `count` random 64-bit words, a function of `purpose` and `key` alone.

    The words of a lower count are the beginning of those of a higher one.

    Args:
        purpose: sets the highest of the counter's four words, out of reach of counting.
        key: (seed, epoch), each in [0, 2**64).
        count: how many.
    """
    counter = np.array([0, 0, 0, int(purpose)], dtype=np.uint64)
    generator = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter)
    return np.asarray(generator.random_raw(count), dtype=np.uint64)


def permutation(n: int, data_seed: int, epoch: int) -> Indices:
    """Returns the order of `n` samples in `epoch`: (n,), a permutation of 0..n-1."""
    drawn = words(Purpose.ORDER, (data_seed, epoch), n)
    return np.argsort(drawn, kind="stable").astype(np.int64)  # stable: a tie goes by index


@dataclass(frozen=True)
class Draws:
    """The drawn parameters of views, a row per sample.

    Attributes:
        recipe: the steps that they are for.
        top: (n,), int64, in 0..2*padding: first row of the crop in the padded image.
        left: (n,), int64, in 0..2*padding: its first column.
        flip: (n,), bool: mirrored left to right.
        angle: (n,), float64, degrees counter-clockwise, in [-degrees, degrees).
    """

    recipe: ViewRecipe
    top: Indices
    left: Indices
    flip: npt.NDArray[np.bool_]
    angle: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.flip)

    def of(self, rows: Indices) -> "Draws":
        """Returns the draws of the samples `rows`, in that order."""
        return Draws(
            self.recipe, self.top[rows], self.left[rows], self.flip[rows], self.angle[rows]
        )


def draw(recipe: ViewRecipe, n: int, data_seed: int, epoch: int) -> Draws:
    """Draws the parameters of one epoch's views for all `n` samples of a training set.

    Sample i has the words 4i..4i+3 (one block of Philox) whatever the recipe and n, so its
    view depends neither on a split nor on a subset.
    """
    drawn = words(Purpose.VIEWS, (data_seed, epoch), 4 * n).reshape(n, 4)
    offsets = 2 * recipe.padding + 1
    return Draws(
        recipe,
        top=_below(offsets, drawn[:, 0]),
        left=_below(offsets, drawn[:, 1]),
        flip=_unit(drawn[:, 2]) < recipe.flip_probability,
        angle=(2 * _unit(drawn[:, 3]) - 1) * recipe.degrees,
    )


def _below(bound: int, drawn: Words) -> Indices:
    """Integers in 0..bound-1 from the high 32 bits; off uniform by less than bound / 2**32."""
    return (((drawn >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)


def _unit(drawn: Words) -> npt.NDArray[np.float64]:
    """Floats in [0, 1): the high 53 bits, all that a double's mantissa holds."""
    return np.asarray((drawn >> np.uint64(11)) * 2.0**-53, dtype=np.float64)
