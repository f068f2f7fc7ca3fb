"""Which images are held out of training, or make up a smaller training set: stratified.

Every choice depends on the labels and a `split_seed` only, never on another setting, so that
a teacher and its students agree on which images nobody was trained on. NumPy only.
"""

import numpy as np
import numpy.typing as npt

from kdlsr.data.draws import Purpose, Rows, words


def stratified_split(
    labels: npt.ArrayLike, fraction: float, split_seed: int, purpose: Purpose = Purpose.SPLIT
) -> tuple[Rows, Rows]:
    """Splits samples into those to train on and those held out.

    Of a class of n samples, round(fraction * n) are held out (halves go up), at least one
    where `fraction` is above 0; but one always stays, to be trained on.

    Args:
        labels: (N,) integers.
        fraction: share of each class to hold out, in [0, 1).
        split_seed: chooses which.
        purpose: what is held out for: each purpose has choices of its own.

    Returns:
        (kept, held out): the two sorted, disjoint, together 0..N-1.

    Raises:
        ValueError: `fraction` is out of range.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"a fraction of {fraction} cannot be held out; expected [0, 1)")
    classes, sizes = _classes(labels)
    quotas = np.floor(fraction * sizes + 0.5).astype(np.int64)
    if fraction > 0:
        quotas = np.minimum(np.maximum(quotas, 1), sizes - 1)
    chosen = _choose(classes, sizes, quotas, purpose, split_seed)
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def stratified_subset(labels: npt.ArrayLike, size: int, split_seed: int) -> Rows:
    """Returns `size` samples, sorted, with each class's share as near as can be to its share.

    By largest remainders; of equal ones the lower class goes first.

    Raises:
        ValueError: there are fewer than `size` samples.
    """
    classes, sizes = _classes(labels)
    n = len(classes)
    if not 0 <= size <= n:
        raise ValueError(f"{size} of {n} samples cannot be chosen")
    quotas, remainders = np.divmod(size * sizes, max(n, 1))
    missing = size - int(quotas.sum())
    quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return np.flatnonzero(_choose(classes, sizes, quotas, Purpose.SUBSET, split_seed))


def _classes(labels: npt.ArrayLike) -> tuple[Rows, Rows]:
    """Returns each sample's class as 0..K-1 (N,), and the classes' sizes (K,)."""
    _, classes, sizes = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    return classes.astype(np.int64), sizes.astype(np.int64)


def _choose(
    classes: Rows, sizes: Rows, quotas: Rows, purpose: Purpose, split_seed: int
) -> npt.NDArray[np.bool_]:
    """Chooses from each class the `quotas` samples with the lowest random words."""
    order = np.lexsort((words(purpose, (split_seed, 0), len(classes)), classes))
    rank = np.arange(len(classes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.zeros(len(classes), dtype=np.bool_)
    chosen[order[rank < np.repeat(quotas, sizes)]] = True
    return chosen
