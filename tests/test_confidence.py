"""Calibration, ranking and temperature against independent float64 references and closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdlsr.metrics import (
    classification_metrics,
    confidence_correlation,
    confidence_figures,
    fit_temperature,
    reliability,
)

Array = NDArray[np.float64]


def _drawn(samples: int, classes: int, sharpness: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits and labels drawn from their own softmax, then sharpened: T = sharpness is best."""
    draw = torch.Generator().manual_seed(samples + classes)
    logits = 2 * torch.randn(samples, classes, generator=draw, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=draw).squeeze(1)
    return sharpness * logits, labels


def _of_two(confidences: list[float], right: list[bool]) -> tuple[Tensor, Tensor]:
    """Logits of two classes with these confidences, of which those are right."""
    p = torch.tensor(confidences, dtype=torch.float64)
    labels = torch.tensor([0 if hit else 1 for hit in right])
    return torch.stack([p.log(), (1 - p).log()], dim=1), labels


def _probabilities(logits: Tensor, temperature: float = 1.0) -> Array:
    z = logits.double().numpy() / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_figures_are_the_metrics_of_the_scaled_logits(temperature: float) -> None:
    logits, labels = _drawn(400, 10)
    found = confidence_figures(logits, labels, temperature)
    expected = classification_metrics(logits / temperature, labels)
    for name in ("top1", "entropy", "confidence", "nll", "brier", "ece"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-12)


def test_aurc_and_adaptive_ece_equal_a_reference_that_walks_sample_by_sample() -> None:
    logits, labels = _drawn(317, 10)
    p = _probabilities(logits)
    confidence, wrong = p.max(axis=1), (p.argmax(axis=1) != labels.numpy()).astype(float)
    order = np.argsort(-confidence)
    risks = [wrong[order[: k + 1]].mean() for k in range(len(order))]
    bins = np.array_split(order, 15)
    gaps = [len(b) / 317 * abs((1 - wrong[b]).mean() - confidence[b].mean()) for b in bins]
    found = confidence_figures(logits, labels)
    assert found.aurc == pytest.approx(np.mean(risks), rel=1e-12)
    assert found.adaptive_ece == pytest.approx(sum(gaps), rel=1e-12)


def test_aurc_of_perfect_and_of_reversed_ranking_in_closed_form() -> None:
    best, labels = _of_two([0.9, 0.8, 0.7, 0.6], [True, True, True, False])
    assert confidence_figures(best, labels).aurc == pytest.approx((0 + 0 + 0 + 1 / 4) / 4)
    worst, labels = _of_two([0.9, 0.8, 0.7, 0.6], [False, True, True, True])
    assert confidence_figures(worst, labels).aurc == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_equal_confidences_count_as_the_mean_over_all_their_orders() -> None:
    confidences, right = [0.9, 0.7, 0.7, 0.7, 0.6], [True, False, True, False, True]
    logits, labels = _of_two(confidences, right)
    risks = []
    for order in itertools.permutations(range(1, 4)):
        wrong = np.array([not right[i] for i in (0, *order, 4)], dtype=float)
        risks.append((wrong.cumsum() / np.arange(1, 6)).mean())
    found = confidence_figures(logits, labels)
    assert found.aurc == pytest.approx(np.mean(risks), rel=1e-12)
    backwards = confidence_figures(logits.flip(0), labels.flip(0))
    assert (found.aurc, found.adaptive_ece) == (backwards.aurc, backwards.adaptive_ece)


def test_the_bins_of_a_reliability_diagram_hold_the_ece() -> None:
    logits, labels = _drawn(500, 10, 2.0)
    found = reliability(logits, labels)
    gaps = zip(found.counts, found.accuracy, found.confidence, strict=True)
    ece = sum(n * abs(a - c) for n, a, c in gaps) / 500
    assert sum(found.counts) == 500
    assert ece == pytest.approx(confidence_figures(logits, labels).ece, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_temperature_is_where_the_likelihood_is_highest(classes: int) -> None:
    from scipy.optimize import minimize_scalar

    logits, labels = _drawn(600, classes, 3.0)
    rows = np.arange(600)

    def nll(log_t: float) -> float:
        p = _probabilities(logits, math.exp(log_t))
        return float(-np.log(p[rows, labels.numpy()]).mean())

    theirs = minimize_scalar(nll, bounds=(-3, 4), method="bounded", options={"xatol": 1e-10})
    found = fit_temperature(logits, labels)
    assert found.bound is None
    assert math.log(found.value) == pytest.approx(theirs.x, abs=1e-6)
    assert nll(math.log(found.value)) <= theirs.fun + 1e-15


@pytest.mark.parametrize("factor", [0.1, 4.0, 10.0])
def test_logits_times_a_factor_have_that_times_the_temperature(factor: float) -> None:
    logits, labels = _drawn(300, 5)
    once, scaled = fit_temperature(logits, labels), fit_temperature(factor * logits, labels)
    assert scaled.value == pytest.approx(factor * once.value, rel=1e-9)
    shifted = fit_temperature(logits + torch.arange(300.0)[:, None], labels)
    assert shifted.value == pytest.approx(once.value, rel=1e-9)


def test_fp32_logits_with_labels_of_their_own_softmax_have_about_temperature_one() -> None:
    logits, labels = _drawn(20_000, 5)
    assert fit_temperature(logits.float(), labels).value == pytest.approx(1.0, abs=0.03)


def test_where_the_best_temperature_is_0_or_infinite_the_bound_is_said() -> None:
    logits = torch.eye(3)
    right, wrong = torch.arange(3), torch.tensor([1, 2, 0])
    assert vars(fit_temperature(logits, right)) == {"value": 0.01, "bound": "lowest"}
    assert vars(fit_temperature(1e4 * logits, right)) == {"value": 0.01, "bound": "lowest"}
    assert vars(fit_temperature(logits, wrong)) == {"value": 100.0, "bound": "highest"}
    assert vars(fit_temperature(torch.ones(3, 3), right)) == {"value": 1.0, "bound": None}


def test_extreme_logits_give_a_finite_temperature_and_finite_figures() -> None:
    logits, labels = _drawn(100, 4, 30.0)
    found = fit_temperature(logits, labels)
    assert 15 < found.value < 60
    assert all(map(math.isfinite, vars(confidence_figures(logits, labels, found.value)).values()))


def test_correlations_of_confidences_equal_scipys() -> None:
    from scipy import stats

    a, _ = _drawn(200, 6)
    b = a + torch.randn(a.shape, generator=torch.Generator().manual_seed(1), dtype=a.dtype)
    b[:40] = b[0]  # ties
    x, y = _probabilities(a).max(axis=1), _probabilities(b).max(axis=1)
    y[:40] = y[0]
    found = confidence_correlation(a, b)
    assert found.pearson == pytest.approx(stats.pearsonr(x, y).statistic, rel=1e-9)
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-9)


def test_a_network_that_is_as_sure_of_everything_has_no_correlation() -> None:
    a, _ = _drawn(10, 3)
    found = confidence_correlation(a, torch.zeros(10, 3))
    assert (found.pearson, found.spearman) == (None, None)


@pytest.mark.parametrize("call", [confidence_figures, fit_temperature, reliability])
def test_shapes_that_do_not_fit_are_refused(call: object) -> None:
    assert callable(call)
    for n, m in ((3, 2), (0, 0)):
        with pytest.raises(ValueError, match="expected logits"):
            call(torch.zeros(n, 2), torch.zeros(m))
