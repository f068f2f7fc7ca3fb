"""Samples a few at a time, so that float64 copies of large sets of logits fit in memory."""

from collections.abc import Iterator

from torch import Tensor

# How many float64 logits are held at once: 64 MiB of them.
CHUNK_ELEMENTS = 2**23


def row_chunks(logits: Tensor, other: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the rows of both, in order, so many at a time as fit in a chunk.

    Args:
        logits: (N, K).
        other: (N,) or (N, ...).
    """
    rows = max(1, CHUNK_ELEMENTS // logits.shape[1])
    for start in range(0, len(logits), rows):
        yield logits[start : start + rows], other[start : start + rows]
