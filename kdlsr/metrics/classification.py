"""Accuracy and calibration of one network on one set of samples.

Everything is computed in float64 and by sums whose order does not vary, so that the same
logits give the same numbers. Expected calibration error is our own for that reason among
others: torchmetrics' takes 3 s to import (twice what torch does), adds up its bins in an
order that varies on CUDA, synchronises with the host, and counts confidences of exactly 1
in a sixteenth bin. Where none is exactly 1 and none on an edge, a test shows both equal.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kdlsr.metrics.chunks import row_chunks

ECE_BINS = 15


@dataclass(frozen=True)
class Metrics:
    """A network's metrics on a set of samples.

    Attributes:
        top1: percent of samples whose class is the highest.
        top5: percent whose class is among the 5 highest; None where there are no more than 5.
        nll: mean of -log p(right class), nats.
        brier: mean of the squared distance from p to the one-hot label, summed over classes
            (0 to 2).
        entropy: mean entropy of p, nats.
        confidence: mean of the highest probability, a fraction.
        ece: expected calibration error, a fraction: over 15 bins of equal width, (low, high],
            the mean of |accuracy - confidence| weighted by the bin's samples.
        f1: of class 1, percent; None unless the data set is judged by it.
    """

    top1: float
    top5: float | None
    nll: float
    brier: float
    entropy: float
    confidence: float
    ece: float
    f1: float | None = None


def plain_metrics(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Makes plain values of a dataclass's fields, for `asdict`: F1 only where there is one."""
    return {key: value for key, value in items if value is not None or key != "f1"}


def classification_metrics(logits: Tensor, labels: Tensor, *, with_f1: bool = False) -> Metrics:
    """Returns a network's metrics on a set of samples, with one transfer from the device.

    Of classes with equal logits the first counts as the higher one, in top1 and top5 alike.

    Args:
        logits: (N, K), finite and of any size, N at least 1.
        labels: (N,), the right classes, on the same device.
        with_f1: of class 1, too.

    Raises:
        ValueError: the shapes do not fit, or there is no sample.
    """
    check_labelled(logits, labels)
    chunks = [per_sample(*chunk) for chunk in row_chunks(logits, labels)]
    rank, nll, brier, entropy, confidence = torch.cat(chunks, dim=1)
    correct = (rank < 1).double()
    top5 = (rank < 5).double()
    ece = calibration_error(correct, confidence)
    means = [x.mean() for x in (100 * correct, 100 * top5, nll, brier, entropy, confidence)]
    of_some = [_f1(logits, labels)] if with_f1 else []
    metrics = Metrics(*torch.stack([*means, ece, *of_some]).tolist())
    return metrics if logits.shape[1] > 5 else replace(metrics, top5=None)


def check_labelled(logits: Tensor, labels: Tensor) -> None:
    """Refuses logits and labels that are not (N, K) and (N,) with N at least 1.

    Raises:
        ValueError: they are not.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(logits):
        shapes = f"{tuple(logits.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"expected logits (N, K) and labels (N,) with N >= 1, not {shapes}")


def _f1(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the harmonic mean of precision and recall of class 1, percent; 0 without a hit."""
    named, right = logits.argmax(dim=1) == 1, labels == 1
    both = (named & right).sum().double()
    return 200 * both / (named.sum() + right.sum()).clamp(min=1)


def per_sample(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns (5, n): rank of the right class from 0, nll, brier, entropy, confidence."""
    logits, right = logits.double(), labels.unsqueeze(1)
    log_p = F.log_softmax(logits, dim=1)
    p = log_p.exp()
    one_hot = torch.zeros_like(p).scatter_(1, right, 1.0)
    return torch.stack(
        [
            _rank(logits, right).double(),
            -log_p.gather(1, right).squeeze(1),
            (p - one_hot).square().sum(dim=1),
            torch.special.entr(p).sum(dim=1),
            p.amax(dim=1),
        ]
    )


def _rank(logits: Tensor, right: Tensor) -> Tensor:
    """Returns how many classes come before the right one; of equal ones, earlier indices."""
    own = logits.gather(1, right)
    index = torch.arange(logits.shape[1], device=logits.device)
    return ((logits > own) | ((logits == own) & (index < right))).sum(dim=1)


def calibration_error(correct: Tensor, confidence: Tensor) -> Tensor:
    """Returns the expected calibration error (Guo et al. 2017, Eq. 3) of N samples."""
    gaps = ((correct - confidence).unsqueeze(1) * calibration_bins(confidence)).sum(dim=0)
    return gaps.abs().sum() / len(correct)


def calibration_bins(confidence: Tensor) -> Tensor:
    """Returns which of 15 bins of equal width, (low, high], each is in: (N, 15), bool."""
    bins = (confidence * ECE_BINS).ceil() - 1
    return bins.unsqueeze(1) == torch.arange(ECE_BINS, device=bins.device)
