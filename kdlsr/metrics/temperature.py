"""Temperature scaling (Guo et al. 2017): one scalar, fitted by the likelihood of labels."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kdlsr.metrics.chunks import row_chunks
from kdlsr.metrics.classification import check_labelled

LOWEST, HIGHEST = 0.01, 100.0
STEPS = 200  # more than bisection alone needs
EXACT = 1e-13  # of log(1/T)


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature.

    Attributes:
        value: what logits are to be divided by, from 0.01 to 100.
        bound: which end of that range it is at, since the likelihood still rises beyond it:
            `lowest` where (nearly) every sample is right, whose best temperature is 0, `highest`
            where the logits are worse than a uniform guess; None where it is a true optimum.
    """

    value: float
    bound: Literal["lowest", "highest"] | None = None


def fit_temperature(logits: Tensor, labels: Tensor) -> Temperature:
    """Returns the temperature T that minimises the mean of -log softmax(logits / T)[label].

    That mean is convex in 1/T, with the slope E_p[z] - z_label and the curvature Var_p[z]:
    Newton's method on log(1/T), kept between the ends of a bracket that only narrows. In
    float64; the same logits give the same bits on one device.

    Args:
        logits: (N, K), finite, N at least 1.
        labels: (N,), the right classes, on the same device.

    Raises:
        ValueError: the shapes do not fit, or there is no sample.
    """
    check_labelled(logits, labels)
    low, high = -math.log(HIGHEST), -math.log(LOWEST)  # of log(1/T)
    if bool((logits == logits[:, :1]).all()):
        return Temperature(1.0)  # any is as good
    if _slope(logits, labels, math.exp(high))[0] <= 0:
        return Temperature(LOWEST, "lowest")
    if _slope(logits, labels, math.exp(low))[0] >= 0:
        return Temperature(HIGHEST, "highest")
    at = 0.0
    for _ in range(STEPS):
        inverse = math.exp(at)
        slope, curvature = _slope(logits, labels, inverse)
        low, high = (at, high) if slope < 0 else (low, at)
        # In log(1/T) the slope is g/T and the curvature is h/T^2 + g/T.
        bend = curvature * inverse + slope
        step = -slope / bend if bend > 0 else math.inf
        following = at + step if low < at + step < high else (low + high) / 2
        if slope == 0 or abs(following - at) < EXACT:
            break
        at = following
    return Temperature(math.exp(-at))


def _slope(logits: Tensor, labels: Tensor, inverse: float) -> tuple[float, float]:
    """Returns the first and second derivative of the mean loss by the inverse temperature."""
    sums = torch.zeros(2, dtype=torch.float64, device=logits.device)
    for chunk, right in row_chunks(logits, labels):
        z = chunk.double()
        z = z - z.gather(1, right.unsqueeze(1))
        p = (z * inverse).softmax(dim=1)
        mean = (p * z).sum(dim=1)
        variance = (p * (z - mean.unsqueeze(1)).square()).sum(dim=1)
        sums += torch.stack([mean.sum(), variance.sum()])
    slope, curvature = (sums / len(logits)).tolist()
    return slope, curvature
