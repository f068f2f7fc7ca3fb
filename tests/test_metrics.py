"""Metrics against float64 references, closed forms, and torchmetrics."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdlsr.metrics import Metrics, agreement, chunks, classification_metrics, mean_kl, plain_metrics

KEYS = ["top1", "top5", "nll", "brier", "entropy", "confidence", "ece"]


def _batch(samples: int, num_classes: int, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits in fp32 of a network that is right more often than not, and labels."""
    draw = torch.Generator().manual_seed(samples + num_classes)
    labels = torch.randint(num_classes, (samples,), generator=draw)
    logits = spread * torch.randn(samples, num_classes, generator=draw)
    logits[torch.arange(samples), labels] += spread
    return logits, labels


def as_written(metrics: Metrics) -> dict[str, float | None]:
    return dataclasses.asdict(metrics, dict_factory=plain_metrics)


def _softmax(logits: Tensor) -> NDArray[np.float64]:
    z = logits.double().numpy()
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _reference(logits: Tensor, labels: Tensor) -> dict[str, float | None]:
    """One sample at a time, from the definitions."""
    p, y = _softmax(logits), labels.numpy()
    order = [np.argsort(-row, kind="stable") for row in logits.double().numpy()]
    bins: dict[int, list[tuple[bool, float]]] = {}
    for row, ranked, c in zip(p, order, y, strict=True):
        number = next(b for b in range(15) if b / 15 < row.max() <= (b + 1) / 15)
        bins.setdefault(number, []).append((ranked[0] == c, row.max()))
    gaps = [
        len(members)
        / len(p)
        * abs(np.mean([hit for hit, _ in members]) - np.mean([m for _, m in members]))
        for members in bins.values()
    ]
    one_hot = np.eye(p.shape[1])[y]
    return {
        "top1": 100 * float(np.mean([c == o[0] for o, c in zip(order, y, strict=True)])),
        "top5": 100 * float(np.mean([c in o[:5] for o, c in zip(order, y, strict=True)]))
        if p.shape[1] > 5
        else None,
        "nll": float(np.mean([-np.log(row[c]) for row, c in zip(p, y, strict=True)])),
        "ece": float(sum(gaps)),
        "brier": float(np.mean(((p - one_hot) ** 2).sum(axis=1))),
        "entropy": float(np.mean([-(row * np.log(row)).sum() for row in p])),
        "confidence": float(np.mean(p.max(axis=1))),
    }


@pytest.mark.parametrize(("samples", "num_classes"), [(1, 2), (300, 3), (500, 10), (1000, 100)])
def test_metrics_equal_the_float64_reference(samples: int, num_classes: int) -> None:
    logits, labels = _batch(samples, num_classes)
    found = as_written(classification_metrics(logits, labels))
    expected = _reference(logits, labels)
    assert list(found) == KEYS
    assert (found["top5"] is None) == (num_classes <= 5)
    assert [found[key] or 0 for key in found] == pytest.approx(
        [expected[key] or 0 for key in found], rel=1e-12
    )


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_ece_equals_torchmetrics_where_no_confidence_is_on_an_edge(num_classes: int) -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = _batch(4000, num_classes, spread=1.5)
    theirs = multiclass_calibration_error(
        logits.double(), labels, num_classes, n_bins=15, norm="l1"
    )
    assert classification_metrics(logits, labels).ece == pytest.approx(float(theirs), rel=1e-5)


def test_values_are_plain_numbers_that_json_can_hold() -> None:
    metrics = as_written(classification_metrics(*_batch(50, 10)))
    assert {type(value) for value in metrics.values()} == {float}
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


@pytest.mark.parametrize("num_classes", [2, 8, 100])
def test_uniform_logits_have_closed_forms(num_classes: int) -> None:
    labels = torch.arange(num_classes)  # each class once, and the first named for all
    metrics = classification_metrics(torch.full((num_classes, num_classes), 7.5), labels)
    share = 1 / num_classes
    assert as_written(metrics) == {
        "top1": pytest.approx(100 * share),
        "top5": pytest.approx(500 * share) if num_classes > 5 else None,
        "nll": pytest.approx(math.log(num_classes)),
        "entropy": pytest.approx(math.log(num_classes)),
        "brier": pytest.approx(1 - share),
        "confidence": pytest.approx(share),
        "ece": pytest.approx(0, abs=1e-12),
    }


@pytest.mark.parametrize("height", [1e3, 1e30, 3e38])
def test_certainty_that_is_right_is_perfect(height: float) -> None:
    labels = torch.arange(20) % 10
    logits = torch.where(torch.arange(10) == labels[:, None], height, -height)
    metrics = classification_metrics(logits, labels)
    zero = {"nll": 0.0, "ece": 0.0, "brier": 0.0, "entropy": 0.0}
    assert as_written(metrics) == {"top1": 100.0, "top5": 100.0, "confidence": 1.0} | zero


@pytest.mark.parametrize("height", [1e3, 3e38])
def test_certainty_that_is_wrong_is_as_bad_as_can_be_and_finite(height: float) -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    logits = torch.where(torch.arange(10) == 9, height, -height).expand(4, 10)
    metrics = classification_metrics(logits, labels)
    assert metrics.nll == pytest.approx(2 * height, rel=1e-6)
    expected = {"top1": 0.0, "top5": 100.0, "confidence": 1.0, "ece": 1.0, "brier": 2.0}
    assert expected.items() <= as_written(metrics).items()
    assert all(math.isfinite(value) for value in as_written(metrics).values())


def test_ece_of_known_bins_by_hand() -> None:
    # Two classes: confidence 0.9 and 8 of 10 right; 0.6 and 3 of 10 right.
    confidence = torch.tensor([0.9] * 10 + [0.6] * 10, dtype=torch.float64)
    logits = torch.stack([confidence.logit(), torch.zeros(20, dtype=torch.float64)], dim=1)
    labels = torch.tensor([0] * 8 + [1] * 2 + [0] * 3 + [1] * 7)
    metrics = classification_metrics(logits, labels)
    assert metrics.ece == pytest.approx((0.1 + 0.3) / 2)
    assert metrics.top1 == pytest.approx(55)
    assert metrics.confidence == pytest.approx(0.75)


def test_confidence_of_exactly_1_falls_into_the_last_bin() -> None:
    # One sample of confidence 1, wrong, and one of 0.95, right: |0.5 - 0.975| in a common bin,
    # (1 + 0.05) / 2 = 0.525 if 1 had a bin of its own, as in torchmetrics.
    logits = torch.tensor([[1000.0, 0.0], [math.log(19.0), 0.0]], dtype=torch.float64)
    assert classification_metrics(logits, torch.tensor([1, 0])).ece == pytest.approx(0.475)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_top5_is_none_where_there_are_no_more_than_5_classes(num_classes: int) -> None:
    assert classification_metrics(*_batch(20, num_classes)).top5 is None


def test_ties_go_to_the_first_class_in_top1_and_top5_alike() -> None:
    logits = torch.tensor([[1.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]])
    places = [1, 2, 0, 3, 4, 5, 6]
    for place, label in enumerate(places):
        metrics = classification_metrics(logits, torch.tensor([label]))
        assert metrics.top1 == (100.0 if place < 1 else 0.0)
        assert metrics.top5 == (100.0 if place < 5 else 0.0)


def test_top1_is_that_of_argmax() -> None:
    logits, labels = _batch(2000, 12)
    logits = logits.round()  # many ties
    expected = 100 * (logits.argmax(dim=1) == labels).double().mean()
    assert classification_metrics(logits, labels).top1 == pytest.approx(float(expected))


def test_chunks_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = _batch(1000, 10)
    other, _ = _batch(1001, 10)
    found = []
    for elements in (10**7, 7 * 10, 1):
        monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", elements)
        found.append((classification_metrics(logits, labels), mean_kl(logits, other[:1000])))
    assert all(a == b for a, b in itertools.pairwise(found))


def test_low_precision_logits_are_measured_as_they_are() -> None:
    logits, labels = _batch(200, 10)
    for dtype in (torch.float16, torch.bfloat16):
        rounded = logits.to(dtype)
        expected = classification_metrics(rounded.double(), labels)
        assert classification_metrics(rounded, labels) == expected


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(4), torch.zeros(4, dtype=torch.int64)),
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(logits: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match="expected logits"):
        classification_metrics(logits, labels)


# --- student and teacher ------------------------------------------------------------------


def test_agreement_is_the_percent_of_equal_classes() -> None:
    a = torch.eye(4)
    b = torch.eye(4)[[0, 1, 2, 0]]
    assert agreement(a, a) == 100.0
    assert agreement(a, b) == agreement(b, a) == 75.0
    assert agreement(torch.zeros(3, 4), torch.eye(4)[:3]) == pytest.approx(100 / 3)


def test_mean_kl_equals_the_float64_reference_teacher_first() -> None:
    teacher, _ = _batch(300, 10)
    student, _ = _batch(301, 10)
    t, p = _softmax(teacher), _softmax(student[:300])
    expected = float(np.mean((t * (np.log(t) - np.log(p))).sum(axis=1)))
    assert mean_kl(teacher, student[:300]) == pytest.approx(expected, rel=1e-12)
    assert mean_kl(student[:300], teacher) != pytest.approx(expected, rel=1e-3)


def test_mean_kl_closed_forms() -> None:
    logits, _ = _batch(50, 8)
    assert mean_kl(logits, logits) == 0
    assert mean_kl(logits, logits + 3) == pytest.approx(0, abs=1e-7)
    certain = 1e4 * torch.eye(8)
    assert mean_kl(certain, torch.zeros(8, 8)) == pytest.approx(math.log(8))


def test_extreme_logits_give_finite_divergence_and_agreement() -> None:
    a = torch.tensor([[3e38, -3e38, 0.0], [0.0, 3e38, -3e38]])
    b = a.flip(1)
    assert math.isfinite(mean_kl(a, b))
    assert mean_kl(a, a) == 0
    assert agreement(a, b) == 50.0


@pytest.mark.parametrize("measure", [agreement, mean_kl])
def test_outputs_of_different_networks_must_have_one_shape(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match="expected two tensors"):
        measure(torch.zeros(3, 4), torch.zeros(3, 5))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_f1_is_the_harmonic_mean_of_precision_and_recall_of_class_1(num_classes: int) -> None:
    logits, labels = _batch(200, num_classes, spread=1.0)
    named, right = logits.argmax(1) == 1, labels == 1
    precision = float((named & right).sum() / named.sum())
    recall = float((named & right).sum() / right.sum())
    found = classification_metrics(logits, labels, with_f1=True)
    assert found.f1 == pytest.approx(100 * 2 / (1 / precision + 1 / recall))
    assert dataclasses.replace(found, f1=None) == classification_metrics(logits, labels)
    nothing = torch.tensor([[1.0, 0.0]] * 3)
    assert classification_metrics(nothing, torch.tensor([1, 0, 1]), with_f1=True).f1 == 0.0
    assert classification_metrics(nothing, torch.tensor([0, 0, 0]), with_f1=True).f1 == 0.0
