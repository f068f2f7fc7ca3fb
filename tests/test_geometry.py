"""Projection, stability, equivalent smoothing and diffusion against NumPy in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlsr.metrics import diffusion, equivalent_smoothing, project, similar_classes, stability

SEED = torch.Generator().manual_seed(0)


def _logits(n: int = 60, classes: int = 5) -> tuple[Tensor, Tensor]:
    labels = torch.arange(n) % classes
    return torch.randn(n, classes, generator=SEED) * 3, labels


def _softmax(logits: Tensor, tau: float = 1.0) -> np.ndarray:
    z = logits.double().numpy() / tau
    e = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


def test_stability_is_the_papers_formula() -> None:
    logits, labels = _logits()
    p, y = _softmax(logits), labels.numpy()
    total = 0.0
    for c in range(5):
        own = p[y == c]
        total += np.mean([np.sum((row - own.mean(0)) ** 2) for row in own])
    assert stability(logits, labels) == pytest.approx(1 - total / 5, abs=1e-14)


def test_a_network_that_answers_alike_within_a_class_is_stable() -> None:
    labels = torch.arange(12) % 3
    assert stability(torch.eye(3)[labels] * 40, labels) == pytest.approx(1, abs=1e-15)
    with pytest.raises(ValueError, match="class 2 has no sample"):
        stability(torch.zeros(4, 3), torch.tensor([0, 1, 0, 1]))


@pytest.mark.parametrize("tau", [1.0, 3.0, 64.0])
def test_equivalent_smoothing_is_the_papers_formula(tau: float) -> None:
    logits, labels = _logits()
    p = _softmax(logits, tau)
    y = np.eye(5)[labels.numpy()]
    expected = np.mean(((1 - y) * p * 5 / 4).sum(1))
    assert equivalent_smoothing(logits, labels, tau) == pytest.approx(expected, abs=1e-14)


def test_a_smoothed_one_hot_teacher_has_its_own_alpha() -> None:
    labels, alpha = torch.arange(10) % 5, 0.2
    smoothed = torch.full((10, 5), alpha / 5, dtype=torch.float64)
    smoothed[torch.arange(10), labels] += 1 - alpha
    assert equivalent_smoothing(smoothed.log(), labels) == pytest.approx(alpha, abs=1e-14)


def test_a_confident_teachers_smoothing_keeps_its_digits() -> None:
    logits = torch.zeros(4, 3, dtype=torch.float64)
    logits[:, 0] = 40.0
    labels = torch.zeros(4, dtype=torch.int64)
    expected = 2 * np.exp(-40.0) * 3 / 2
    assert equivalent_smoothing(logits, labels) == pytest.approx(expected, rel=1e-9)


def test_the_projection_is_that_onto_the_plane_of_three_templates() -> None:
    features, weight = torch.randn(50, 8, generator=SEED), torch.randn(6, 8, generator=SEED)
    labels = torch.arange(50) % 6
    found = project(features, weight, labels, [4, 0, 2])
    w, x = weight.double().numpy()[[4, 0, 2]], features.double().numpy()
    chosen = np.isin(labels.numpy(), [4, 0, 2])
    plane = np.stack([w[1] - w[0], w[2] - w[0]], axis=1)
    solved = np.linalg.lstsq(plane, (x[chosen] - w[0]).T, rcond=None)[0]
    projected = plane @ solved  # in the whole space; the coordinates have its distances
    for points, whole in ((found.points.numpy(), projected.T),
                          (found.templates.numpy(), w - w[0])):  # fmt: skip
        ours = np.linalg.norm(points[:, None] - points[None], axis=2)
        theirs = np.linalg.norm(whole[:, None] - whole[None], axis=2)
        assert np.allclose(ours, theirs, atol=1e-12)
    assert np.allclose(np.linalg.norm(found.points.numpy(), axis=1),
                       np.linalg.norm(projected, axis=0), atol=1e-12)  # fmt: skip
    assert found.labels.tolist() == [[4, 0, 2].index(k) for k in labels[chosen].tolist()]
    assert found.templates[0].tolist() == [0, 0]


@pytest.mark.parametrize("classes", [[0, 1], [0, 0, 1], [0, 1, 9]])
def test_a_projection_takes_three_classes(classes: list[int]) -> None:
    with pytest.raises(ValueError, match="three different classes"):
        project(torch.zeros(3, 2), torch.eye(3, 2), torch.arange(3), classes)


def test_templates_on_one_line_make_no_plane() -> None:
    with pytest.raises(ValueError, match="lie on one line"):
        project(torch.zeros(3, 2), torch.tensor([[0.0, 0], [1, 1], [2, 2]]), torch.arange(3),
                [0, 1, 2])  # fmt: skip


def _reference_diffusion(low: Tensor, high: Tensor, labels: Tensor, near: Tensor) -> float:
    ratios = []
    relative = []
    for features in (low, high):
        x, y = features.double().numpy(), labels.numpy()
        centres = [x[y == k].mean(0) for k in range(len(near))]
        pairs = [np.linalg.norm(a - b) for i, a in enumerate(centres) for b in centres[:i]]
        relative.append([
            np.mean([np.linalg.norm(centres[k] - centres[s]) for s in near[k].tolist()])
            / np.mean(pairs)
            for k in range(len(near))
        ])  # fmt: skip
    ratios = [b / a for a, b in zip(*relative, strict=True)]
    return float(100 * (1 - np.mean(ratios)))


def test_diffusion_is_its_own_definition() -> None:
    labels = torch.arange(80) % 8
    low, high, third = (torch.randn(80, d, generator=SEED) for d in (6, 6, 5))
    near = similar_classes(third, labels, 8, 2)
    found = diffusion(low, high, labels, near)
    assert found == pytest.approx(_reference_diffusion(low, high, labels, near), abs=1e-11)


def test_classes_that_move_together_diffuse_whatever_the_features_scale() -> None:
    labels = torch.arange(40) % 4
    centres = torch.tensor([[0.0, 0], [4, 0], [0, 40], [4, 40]])  # two pairs
    low = centres[labels].double() + 0.01 * torch.randn(40, 2, generator=SEED)
    near = similar_classes(low, labels, 4, 1)
    assert near.squeeze(1).tolist() == [1, 0, 3, 2]
    closer = low * torch.tensor([0.5, 1.0], dtype=torch.float64)
    assert diffusion(low, 7 * closer, labels, near) == pytest.approx(50, abs=2)
    assert diffusion(low, 7 * low, labels, near) == pytest.approx(0, abs=1e-9)
    assert diffusion(closer, low, labels, near) < -90
