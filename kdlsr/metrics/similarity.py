"""How close a student's outputs are to its teacher's, on the same samples."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kdlsr.metrics.chunks import row_chunks
from kdlsr.metrics.confidence import highest_probabilities
from kdlsr.metrics.ties import distinct


@dataclass(frozen=True)
class Correlation:
    """Of two networks' confidences over samples; None where one of them does not vary.

    Attributes:
        pearson: of the confidences, -1 to 1.
        spearman: of their ranks, equal ones sharing the mean of theirs.
    """

    pearson: float | None
    spearman: float | None


def agreement(a: Tensor, b: Tensor) -> float:
    """Returns the percent of samples for which two networks name the same class.

    Of classes with equal logits the first is named.

    Args:
        a: (N, K), one network's logits.
        b: (N, K), the other's.

    Raises:
        ValueError: the shapes differ, or there is no sample.
    """
    _check_shapes(a, b)
    return float(100 * (a.argmax(dim=1) == b.argmax(dim=1)).double().mean())


def mean_kl(teacher_logits: Tensor, student_logits: Tensor) -> float:
    """Returns the mean over samples of D_KL(teacher || student) at temperature 1, in nats.

    Args:
        teacher_logits: (N, K), finite and of any size.
        student_logits: (N, K), likewise.

    Raises:
        ValueError: the shapes differ, or there is no sample.
    """
    _check_shapes(teacher_logits, student_logits)
    chunks = row_chunks(teacher_logits, student_logits)
    return float(torch.cat([_kl_per_sample(t, s) for t, s in chunks]).mean())


def confidence_correlation(a: Tensor, b: Tensor) -> Correlation:
    """Returns whether one network is confident of a sample where the other is.

    Both see the same samples, of which some are easier: what a correlation is worth shows
    beside that of two networks of which neither taught the other.

    Args:
        a: (N, K), one network's logits.
        b: (N, K), the other's.

    Raises:
        ValueError: the shapes differ, or there is no sample.
    """
    _check_shapes(a, b)
    x, y = highest_probabilities(a), highest_probabilities(b)
    return Correlation(pearson(x, y), spearman(x, y))


def pearson(x: Tensor, y: Tensor) -> float | None:
    """Returns the correlation of two samples (N,); None where either does not vary."""
    x, y = x.double(), y.double()
    if bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return None
    x, y = x - x.mean(), y - y.mean()
    return float((x / x.norm()) @ (y / y.norm()))


def spearman(x: Tensor, y: Tensor) -> float | None:
    """Returns the correlation of the ranks of two samples (N,), as `pearson`."""
    return pearson(_ranks(x), _ranks(y))


def _ranks(values: Tensor) -> Tensor:
    """Returns ranks from 1; equal values share the mean of theirs."""
    _, places, counts = distinct(values)
    last = counts.cumsum(0).double()
    ranks: Tensor = last - (counts.double() - 1) / 2
    return ranks[places]


def _kl_per_sample(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    log_t = F.log_softmax(teacher_logits.double(), dim=1)
    log_p = F.log_softmax(student_logits.double(), dim=1)
    return (log_t.exp() * (log_t - log_p)).sum(dim=1)


def _check_shapes(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"expected two tensors (N, K) with N >= 1, not {shapes}")
