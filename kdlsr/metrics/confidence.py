"""How far a network's confidence can be trusted: calibration and ranking, at any temperature.

Beside what `classification` has: calibration by bins of equal mass, the area under the
risk-coverage curve, and the bins of a reliability diagram. All of it in float64. Samples of
equal confidence have no order among them, so each counts as right as often as all of them
are: the mean over every order, which makes the figures functions of the set of samples.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdlsr.metrics.chunks import row_chunks
from kdlsr.metrics.classification import (
    ECE_BINS,
    calibration_bins,
    calibration_error,
    check_labelled,
    per_sample,
)
from kdlsr.metrics.ties import distinct


@dataclass(frozen=True)
class Confidence:
    """A network's confidence on a set of samples, at one temperature.

    Attributes:
        top1: percent of samples whose class is the highest.
        entropy: mean entropy of p, nats.
        confidence: mean of the highest probability, a fraction.
        nll: mean of -log p(right class), nats.
        brier: mean squared distance from p to the one-hot label, summed over classes.
        ece: expected calibration error over 15 bins of equal width, a fraction.
        adaptive_ece: over 15 bins of equal mass: of the samples in the order of their
            confidence, whose sizes differ by one at most.
        aurc: area under the risk-coverage curve (Geifman, El-Yaniv 2017): the mean, over
            k = 1..N, of the error rate among the k most confident samples, a fraction.
    """

    top1: float
    entropy: float
    confidence: float
    nll: float
    brier: float
    ece: float
    adaptive_ece: float
    aurc: float


@dataclass(frozen=True)
class Reliability:
    """The bins of a reliability diagram, 15 of equal width, (low, high].

    Attributes:
        counts: samples in each bin.
        confidence: the mean of the bin's highest probabilities; 0 in an empty bin.
        accuracy: the share of the bin that is right; 0 likewise.
    """

    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]


def confidence_figures(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Confidence:
    """Returns what a network's confidence is worth, its logits divided by a temperature.

    Args:
        logits: (N, K), finite, N at least 1.
        labels: (N,), the right classes, on the same device.
        temperature: above 0.

    Raises:
        ValueError: the shapes do not fit, or there is no sample.
    """
    rank, nll, brier, entropy, confidence = _scaled(logits, labels, temperature)
    correct = (rank < 1).double()
    by_confidence, ranked = _ranked(correct, confidence)
    means = [x.mean() for x in (100 * correct, entropy, confidence, nll, brier)]
    calibration = [calibration_error(correct, confidence), _equal_mass(by_confidence, ranked)]
    return Confidence(*torch.stack([*means, *calibration, _risk_coverage(ranked)]).tolist())


def reliability(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> Reliability:
    """Returns the bins of a reliability diagram; arguments as for `confidence_figures`."""
    rank, _, _, _, confidence = _scaled(logits, labels, temperature)
    in_bin = calibration_bins(confidence).double()
    counts = in_bin.sum(dim=0)
    sums = torch.stack([confidence, (rank < 1).double()]) @ in_bin
    means = sums / counts.clamp(min=1)
    return Reliability(
        tuple(int(n) for n in counts.tolist()), tuple(means[0].tolist()), tuple(means[1].tolist())
    )


def highest_probabilities(logits: Tensor) -> Tensor:
    """Returns the confidence (N,), float64, of each of the logits (N, K)."""
    chunks = (chunk.double() for chunk, _ in row_chunks(logits, logits))
    return torch.cat([chunk.softmax(dim=1).amax(dim=1) for chunk in chunks])


def _scaled(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Returns (5, N), as `per_sample`, of the logits divided by the temperature."""
    check_labelled(logits, labels)
    chunks = row_chunks(logits, labels)
    return torch.cat([per_sample(z.double() / temperature, y) for z, y in chunks], dim=1)


def _ranked(correct: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the confidences, highest first, and how right the sample in each place is.

    Samples of equal confidence each have the mean of all of them.
    """
    values, places, counts = distinct(confidence)
    right = torch.zeros_like(values).index_add_(0, places, correct) / counts
    order = torch.arange(len(values) - 1, -1, -1, device=values.device)
    places = order.repeat_interleave(counts.flip(0))
    return values[places], right[places]


def _equal_mass(confidence: Tensor, correct: Tensor) -> Tensor:
    """Returns the calibration error over bins of equal mass (Nguyen and O'Connor 2015)."""
    bins = (correct - confidence).tensor_split(min(ECE_BINS, len(correct)))
    return torch.stack([part.sum().abs() for part in bins]).sum() / len(correct)


def _risk_coverage(correct: Tensor) -> Tensor:
    errors = (1 - correct).cumsum(dim=0)
    taken = torch.arange(1, len(correct) + 1, device=correct.device)
    return (errors / taken).mean()
