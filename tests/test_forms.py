"""A row's forms and controls: their weights against the papers' figures, and by gradients."""

import dataclasses
from typing import Any

import pytest
import torch
from conftest import step_of

from kdlsr.losses import build_loss
from kdlsr.tables.forms import Variant, forms_of
from kdlsr.tables.schema import Cell, PoorTeacher


# Yuan et al. 2020, released configs: MobileNetV2's and ResNet18's rows of Tf-KD_reg.
def _cell(method: str, teacher: str | None = None, **options: float) -> Cell:
    return Cell(row="r", column="c", method=method, network="m", teacher=teacher, options=options)


MOBILENET = _cell("tfkd_reg", tau=40, alpha=0.95, multiplier=1)
RESNET = _cell("tfkd_reg", tau=20, alpha=0.1, multiplier=100)
KD = _cell("kd", "t", tau=20, alpha=0.95)
SELF = _cell("tfkd_self", tau=20, alpha=0.95, multiplier=50)
LSR = _cell("lsr", alpha=0.1)


def _options(variant: Variant) -> dict[str, object]:
    return {"name": variant.loss, **variant.options}


def _loss(variant: Variant, classes: int) -> Any:
    return build_loss(variant.loss, variant.options, classes)


def _gradient(variant: Variant, classes: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(16, classes, dtype=torch.float64, generator=generator)
    labels = torch.randint(classes, (16,), generator=generator)
    logits.requires_grad_()
    _loss(variant, classes)(step_of(logits, labels))["total"].backward()
    assert logits.grad is not None
    return logits.grad


def _named(cell: Cell, classes: int = 100) -> dict[str, Variant]:
    return {v.name: v for v in forms_of(cell, classes)}


def _controls(cell: Cell, form: str, classes: int = 100) -> list[Variant]:
    return list(_named(cell, classes)[form].controls)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (MOBILENET, ["as_released", "as_written"]),
        (KD, ["as_released", "as_written", "standard"]),
        (SELF, ["as_released", "as_written", "standard"]),
        (LSR, ["as_released", "as_written"]),
    ],
)
def test_a_method_has_the_forms_that_exist_of_it(cell: Cell, expected: list[str]) -> None:
    assert [v.name for v in forms_of(cell, 100)] == expected


def test_only_the_chosen_forms_are_made() -> None:
    assert [v.name for v in forms_of(KD, 100, ["standard"])] == ["standard"]


@pytest.mark.parametrize(("cell", "scale"), [(MOBILENET, 0.0595), (RESNET, 1.0)])
def test_the_control_of_released_tfkd_reg_has_the_scale_of_the_papers_rows(
    cell: Cell, scale: float
) -> None:
    control = _controls(cell, "as_released")[0]
    assert _options(control) == {"name": "ce", "scale": scale}


@pytest.mark.parametrize("form", ["as_released", "as_written", "standard"])
def test_the_control_of_kd_leaves_what_kd_leaves_of_cross_entropy(form: str) -> None:
    (control,) = _controls(KD, form)
    assert _options(control) == {"name": "ce", "scale": pytest.approx(0.05, abs=1e-15)}


@pytest.mark.parametrize("classes", [10, 100, 200])
@pytest.mark.parametrize("cell", [MOBILENET, RESNET])
def test_released_tfkd_reg_has_the_very_gradient_of_its_label_smoothing(
    cell: Cell, classes: int
) -> None:
    released = _named(cell, classes)["as_released"]
    smoothing = _controls(cell, "as_released", classes)[1]
    expected = _gradient(smoothing, classes)
    assert torch.allclose(_gradient(released, classes), expected, rtol=0, atol=1e-12)
    assert expected.abs().max() > 1e-4


@pytest.mark.parametrize(("cell", "epsilon"), [(MOBILENET, 0.160), (RESNET, 0.100)])
def test_the_equivalent_smoothing_is_the_one_of_the_papers_rows(cell: Cell, epsilon: float) -> None:
    smoothing = _options(_controls(cell, "as_released")[1])
    assert smoothing["alpha"] == pytest.approx(epsilon, abs=1e-3)


@pytest.mark.parametrize("cell", [MOBILENET, RESNET, KD, SELF])
@pytest.mark.parametrize("classes", [10, 200])
def test_a_rows_released_weights_stay_the_same_on_another_number_of_classes(
    cell: Cell, classes: int
) -> None:
    here = _loss(_named(cell, classes)["as_released"], classes)
    there = _loss(_named(cell, 100)["as_released"], 100)
    assert here.soft_weight == pytest.approx(there.soft_weight, rel=1e-12)
    assert here.hard_scale == pytest.approx(there.hard_scale, rel=1e-12)


def test_the_multiplier_of_a_row_grows_with_the_classes() -> None:
    for cell, classes in ((RESNET, 10), (MOBILENET, 1000), (KD, 1000)):
        assert _named(cell, classes)["as_released"].options["multiplier"] == 10
        assert "multiplier" not in _named(cell, classes)["as_written"].options


def test_self_training_has_double_training_as_a_control() -> None:
    control = _controls(SELF, "as_released")[1]
    assert control.start_from_teacher
    assert _options(control) == {"name": "ce"}
    assert (control.teacher, control.teacher_epoch) == ("self", "best_test")


def test_label_smoothing_has_the_baseline_alone_as_its_control() -> None:
    assert all(v.controls == () for v in forms_of(LSR, 100))


def test_a_poorly_trained_teacher_is_of_epoch_51_as_released_and_50_as_written() -> None:
    poor = PoorTeacher(as_released=51, as_written=50)
    cell = dataclasses.replace(KD, method="de_kd", poor_teacher=poor)
    assert {v.name: v.teacher_epoch for v in forms_of(cell, 100)} == {
        "as_released": 51,
        "as_written": 50,
        "standard": 50,
    }


def test_a_released_teacher_is_the_best_on_the_test_set_and_a_written_one_the_last() -> None:
    assert {v.name: v.teacher_epoch for v in forms_of(KD, 100)} == {
        "as_released": "best_test",
        "as_written": "last",
        "standard": "last",
    }
