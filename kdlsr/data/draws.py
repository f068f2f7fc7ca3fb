"""Every random number of the data: the order of the samples, their views, splits, subsets.

Drawn on the CPU, so that all devices see the same views, by a counter-based generator, so that
any epoch can be drawn again without the ones before it. NumPy only.

NumPy guarantees that a bit generator's stream of raw words never changes; it does not guarantee
this for the methods of `Generator`. So the raw words of Philox are taken and converted here.
"""

import hashlib
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Words: TypeAlias = npt.NDArray[np.uint64]
Rows: TypeAlias = npt.NDArray[np.int64]
"""Numbers of samples in the original data set, whatever the split, the subset or the order."""


POOL = 50  # batches within which samples of like length are put together


class Purpose(IntEnum):
    """What words are drawn for: each purpose has a part of the counter's range to itself."""

    ORDER = 1
    VIEWS = 2
    SPLIT = 3
    SUBSET = 4
    STEP = 5
    BATCHES = 6
    TEST = 7
    PARTNERS = 8


def words(purpose: Purpose, key: tuple[int, int], count: int, name: str = "") -> Words:
    """Returns `count` random 64-bit words, a function of `purpose`, `key` and `name` alone.

    The words of a lower count are the beginning of those of a higher one.

    Args:
        purpose: sets the highest of the counter's four words, out of reach of counting.
        key: (seed, epoch), each in [0, 2**64).
        count: how many.
        name: sets, by its hash, the counter's next word: each name has other words.
    """
    third = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") if name else 0
    counter = np.array([0, 0, third, int(purpose)], dtype=np.uint64)
    generator = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=counter)
    return np.asarray(generator.random_raw(count), dtype=np.uint64)


def permutation(n: int, data_seed: int, epoch: int) -> Rows:
    """Returns the order of `n` samples in `epoch`: (n,), a permutation of 0..n-1."""
    drawn = words(Purpose.ORDER, (data_seed, epoch), n)
    return np.argsort(drawn, kind="stable").astype(np.int64)  # stable: a tie goes by index


def permutation_in_buckets(lengths: Rows, data_seed: int, epoch: int, batch_size: int) -> Rows:
    """Returns an order in which samples of like length share a batch: a permutation of 0..n-1.

    Drawn as `permutation`, cut into pools of 50 batches, sorted by length within a pool (of equal
    lengths as drawn); then the batches are drawn in their turn. A batch that cannot be filled is
    the last one, of samples of any length.

    Args:
        lengths: (n,), of each sample.
        data_seed: with `epoch` all that the draw depends on.
        epoch: counted from 0.
        batch_size: samples per batch.
    """
    drawn = permutation(len(lengths), data_seed, epoch)
    full = len(drawn) // batch_size * batch_size
    pools = np.split(drawn[:full], range(POOL * batch_size, full, POOL * batch_size))
    by_length = [pool[np.argsort(lengths[pool], kind="stable")] for pool in pools]
    batches = np.concatenate(by_length).reshape(-1, batch_size)
    turns = np.argsort(words(Purpose.BATCHES, (data_seed, epoch), len(batches)), kind="stable")
    return np.concatenate([batches[turns].reshape(-1), drawn[full:]])


def partners(labels: Rows, rows: Rows, data_seed: int, epoch: int) -> Rows:
    """Returns for each of `rows` (n,) another of them that has its label: (n,).

    Drawn anew in every epoch, each with the same chance; a row that is alone is its own.

    Args:
        labels: (N,), of all samples.
        rows: among which partners are: no sample that is held out.
        data_seed: with `epoch` all that the draw depends on.
        epoch: counted from 0.
    """
    drawn = words(Purpose.PARTNERS, (data_seed, epoch), len(labels))[rows]
    by_label = np.argsort(labels[rows], kind="stable")  # places of `rows`, class by class
    sizes = np.unique(labels[rows], return_counts=True)[1]
    size = np.repeat(sizes, sizes)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    own = np.arange(len(rows)) - first
    chosen = below(np.maximum(size - 1, 1), drawn[by_label])
    chosen += (chosen >= own) & (size > 1)
    found = np.empty_like(rows)
    found[by_label] = rows[by_label[first + chosen]]
    return found


def below(bound: int | Rows, drawn: Words) -> npt.NDArray[np.int64]:
    """Integers in 0..bound-1 from the high 32 bits; off uniform by less than bound / 2**32."""
    bounds = np.asarray(bound, dtype=np.uint64)
    return (((drawn >> np.uint64(32)) * bounds) >> np.uint64(32)).astype(np.int64)


def unit(drawn: Words) -> npt.NDArray[np.float64]:
    """Floats in [0, 1): the high 53 bits, all that a double's mantissa holds."""
    return np.asarray((drawn >> np.uint64(11)) * 2.0**-53, dtype=np.float64)
