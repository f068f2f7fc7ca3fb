"""Equal values among many, which have no order among them."""

from torch import Tensor


def distinct(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the distinct values of (N,).

    Returns:
        They (M,), rising; which of them each value is (N,); how often each occurs (M,).
    """
    found: tuple[Tensor, Tensor, Tensor]
    found = values.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    return found
