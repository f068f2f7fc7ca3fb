"""Where a network puts its classes: Mueller et al.'s projection, and a measure of diffusion.

Of penultimate features and a classifier's templates, in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Projection:
    """Samples of three classes in the plane through these classes' templates.

    Attributes:
        points: (n, 2), the features' coordinates.
        labels: (n,), int64: which of the three, 0, 1 or 2.
        templates: (3, 2), the templates' coordinates: the first is the origin.
    """

    points: Tensor
    labels: Tensor
    templates: Tensor


def project(features: Tensor, weight: Tensor, labels: Tensor, classes: Sequence[int]) -> Projection:
    """Projects the features of three classes onto the plane through their templates.

    Mueller, Kornblith, Hinton, NeurIPS 2019, section 2.1: an orthonormal basis of the plane that
    crosses the templates of three classes, here by Gram-Schmidt from w_1 - w_0 and w_2 - w_0;
    the origin of the plane's coordinates, which the paper does not state, is w_0.

    Args:
        features: (N, D), the last layer's inputs.
        weight: (K, D), its weights: row k is the template of class k.
        labels: (N,), the right classes.
        classes: three of them.

    Raises:
        ValueError: they are not three different classes, or their templates lie on one line.
    """
    if len(set(classes)) != 3 or not all(0 <= k < len(weight) for k in classes):
        raise ValueError(f"expected three different classes below {len(weight)}, not {classes}")
    templates = weight.double()[list(classes)]
    origin = templates[0]
    first, second = templates[1] - origin, templates[2] - origin
    e1 = first / first.norm()
    across = second - (second @ e1) * e1
    if not across.norm() > 1e-9 * second.norm():
        raise ValueError(f"the templates of classes {list(classes)} lie on one line")
    basis = torch.stack([e1, across / across.norm()], dim=1)
    which = torch.stack([labels == k for k in classes])
    chosen = which.any(dim=0)
    return Projection(
        points=(features.double()[chosen] - origin) @ basis,
        labels=which.long().argmax(dim=0)[chosen],
        templates=(templates - origin) @ basis,
    )


def centroids(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Returns the mean feature of each class, (K, D), float64; NaN for a class without a sample."""
    sums = features.new_zeros(num_classes, features.shape[1], dtype=torch.float64)
    sums.index_add_(0, labels, features.double())
    counts = torch.bincount(labels, minlength=num_classes).double()
    return sums / counts.unsqueeze(1)


def similar_classes(features: Tensor, labels: Tensor, num_classes: int, count: int) -> Tensor:
    """Returns for each class those whose centroids are nearest to its own, (K, count), int64.

    Args:
        features: (N, D), of a network that is not one of those compared by `diffusion`: to call
            near what happened to be near in one of them would make it look as if it went away.
        labels: (N,), the right classes.
        num_classes: K.
        count: how many, below K.
    """
    centres = centroids(features, labels, num_classes)
    distances = torch.cdist(centres, centres).fill_diagonal_(torch.inf)
    return distances.argsort(dim=1, stable=True)[:, :count]


def diffusion(low: Tensor, high: Tensor, labels: Tensor, similar: Tensor) -> float:
    """Returns by how much classes moved towards similar ones from one student to another, percent.

    A reconstruction of the diffusion index of Chandrasegaran et al. (ICML 2022), whose formula is
    not known to us: only that it is of class centroids of penultimate features, for a class and its
    set of similar ones, between a low and a high temperature. Here, with d(k, s) the distance of
    two centroids divided by the mean over all pairs of classes of that student, and d(k) the mean
    of d(k, s) over the classes s similar to k:

        100 (1 - mean_k d_high(k) / d_low(k)).

    Above 0 the similar classes lie nearer at the high temperature, relative to all classes.

    Args:
        low: (N, D), features of the student at the low temperature.
        high: (N, D'), of the one at the high temperature.
        labels: (N,), the right classes of both.
        similar: (K, m), int64, as `similar_classes` gives it.
    """
    ratio = _relative(high, labels, similar) / _relative(low, labels, similar)
    return float(100 * (1 - ratio.mean()))


def _relative(features: Tensor, labels: Tensor, similar: Tensor) -> Tensor:
    """Returns (K,): the mean distance to similar classes, over that of all pairs."""
    classes = len(similar)
    centres = centroids(features, labels, classes)
    distances = torch.cdist(centres, centres)
    pairs = distances.sum() / (classes * (classes - 1))
    return distances.gather(1, similar).mean(dim=1) / pairs
