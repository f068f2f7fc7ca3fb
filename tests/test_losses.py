"""Losses against float64 references, against one another, and at the edges of fp32."""

import dataclasses
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_losses as reference
import torch
import yaml
from conftest import step_of
from torch import Tensor
from torch.nn import functional as F

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config, shipped_folder
from kdlsr.losses import Loss, Terms, build_loss, equivalent_lsr, losses
from kdlsr.losses.kd import distillation
from kdlsr.losses.lsr import smoothed_cross_entropy
from kdlsr.losses.lsr_os import output_smoothing
from kdlsr.losses.tfkd_reg import teacher_free_regularization

NAMES = ["ce", "kd", "lsr", "lsr_os", "lsr_os_tc", "tfkd_reg", "tfkd_self"]
BF16_MAX = torch.finfo(torch.bfloat16).max


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss with options, and what computes it independently."""

    name: str
    options: dict[str, Any]
    expected: Callable[..., reference.Reference]


def _case(name: str, expected: Callable[..., reference.Reference], **options: Any) -> Case:
    return Case(name, options, expected)


def _cases(num_classes: int) -> list[Case]:
    """Every loss in every form, with its defaults and with others."""
    part = functools.partial
    r = reference
    released, written = {"form": "as_released"}, {"form": "as_written"}
    cases = [
        _case("ce", r.ce),
        _case("lsr", part(r.lsr_as_written, alpha=0.1)),
        _case("lsr", part(r.lsr_as_released, alpha=0.1), **released),
        _case("lsr", part(r.lsr_as_released, alpha=1.0), alpha=1.0, **released),
        _case("tfkd_reg", part(r.reg_as_written, alpha=0.1, tau=20, a=0.99), **written),
        _case(
            "tfkd_reg",
            part(r.reg_as_released, alpha=0.1, tau=20, a=0.99, multiplier=num_classes),
        ),
        _case(
            "tfkd_reg",
            part(r.reg_as_released, alpha=0.95, tau=40, a=0.9, multiplier=1),
            alpha=0.95,
            tau=40,
            correct_probability=0.9,
            multiplier=1,
        ),
        _case("lsr_os", part(r.lsr_os, alpha=0.1, tau=2)),
        _case("lsr_os_tc", part(r.lsr_os_tc, alpha=0.1, tau=2, share=0.5 + 0.1), correct_share=0.6),
        _case("lsr_os", part(r.lsr_os, alpha=0.7, tau=6), alpha=0.7, tau=6),
    ]
    for name in ("kd", "tfkd_self"):
        cases += [
            _case(name, part(r.kd_standard, alpha=0.9, tau=4)),
            _case(name, part(r.kd_as_written, alpha=0.9, tau=4), **written),
            _case(name, part(r.kd_as_released, alpha=0.9, tau=4, multiplier=1), **released),
            _case(
                name,
                part(r.kd_as_released, alpha=0.95, tau=20, multiplier=50),
                alpha=0.95,
                tau=20,
                multiplier=50,
                **released,
            ),
            _case(name, part(r.kd_standard, alpha=0.5, tau=0.5), alpha=0.5, tau=0.5),
        ]
    return cases


def _case_id(case: Case) -> str:
    return "-".join([case.name, *(f"{k}={v}" for k, v in case.options.items())])


CASES = _cases(7)
every_case = pytest.mark.parametrize("case", CASES, ids=_case_id)


def _batch(
    num_classes: int, samples: int = 5, spread: float = 3.0, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels and teacher logits in float64."""
    draw = torch.Generator().manual_seed(seed)
    shape = (samples, num_classes)
    logits, teacher = (
        spread * torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(2)
    )
    return logits, torch.randint(num_classes, (samples,), generator=draw), teacher


def _build(name: str, num_classes: int, **options: Any) -> Loss:
    return build_loss(name, options, num_classes)


def _with_gradient(
    loss: Loss, logits: Tensor, labels: Tensor, teacher: Tensor | None
) -> tuple[Terms, Tensor]:
    logits = logits.detach().clone().requires_grad_()
    terms = loss(step_of(logits, labels, teacher))
    terms["total"].backward()
    assert logits.grad is not None
    return {name: term.detach() for name, term in terms.items()}, logits.grad


def _total(loss: Loss, logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> Tensor:
    return loss(step_of(logits, labels, teacher))["total"]


def _gradient(loss: Loss, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
    return _with_gradient(loss, logits, labels, teacher)[1]


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


# --- values -----------------------------------------------------------------------------


def test_every_registered_loss_is_in_these_tests() -> None:
    assert set(NAMES) <= set(losses.names())
    assert {case.name for case in CASES} == set(NAMES)


@pytest.mark.parametrize("num_classes", [2, 7, 100])
@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda i: _case_id(CASES[i]))
def test_terms_equal_the_float64_reference(index: int, num_classes: int) -> None:
    case = _cases(num_classes)[index]
    logits, labels, teacher = _batch(num_classes)
    terms = _build(case.name, num_classes, **case.options)(step_of(logits, labels, teacher))
    expected = case.expected(logits.numpy(), labels.numpy(), teacher.numpy())
    assert [float(term) for term in terms.values()] == pytest.approx(expected, rel=1e-12, abs=1e-14)


@every_case
def test_scale_multiplies_the_total_and_leaves_the_terms(case: Case) -> None:
    logits, labels, teacher = _batch(7)
    plain = _build(case.name, 7, **case.options)(step_of(logits, labels, teacher))
    scaled = _build(case.name, 7, **case.options, scale=0.0595)(step_of(logits, labels, teacher))
    assert all(torch.equal(plain[name], scaled[name]) for name in ("hard", "soft"))
    assert float(scaled["total"]) == pytest.approx(0.0595 * float(plain["total"]), rel=1e-14)


@every_case
def test_fp32_and_bf16_logits_give_fp32_terms_equal_to_the_reference(case: Case) -> None:
    logits, labels, teacher = _batch(7)
    for dtype in (torch.float32, torch.bfloat16):
        z, zt = logits.to(dtype), teacher.to(torch.float16)
        terms, gradient = _with_gradient(_build(case.name, 7, **case.options), z, labels, zt)
        assert {term.dtype for term in terms.values()} == {torch.float32}
        assert {term.shape for term in terms.values()} == {torch.Size()}
        assert gradient.dtype == dtype
        expected = case.expected(z.double().numpy(), labels.numpy(), zt.double().numpy())
        assert [float(term) for term in terms.values()] == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_and_label_smoothing_are_torchs() -> None:
    logits, labels, _ = _batch(11)
    for name, alpha in [("ce", 0.0), ("lsr", 0.1), ("lsr", 0.6), ("lsr", 1.0)]:
        options = {} if name == "ce" else {"alpha": alpha}
        found = _gradient(_build(name, 11, **options), logits, labels, None)
        z = logits.clone().requires_grad_()
        theirs = F.cross_entropy(z, labels, label_smoothing=alpha)
        theirs.backward()
        ours = _total(_build(name, 11, **options), logits, labels)
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-13, atol=0)
        torch.testing.assert_close(found, z.grad, rtol=1e-10, atol=1e-15)


def test_kds_divergence_is_torchs_batchmean() -> None:
    logits, labels, teacher = _batch(11)
    for tau in (0.5, 1.0, 4.0, 20.0):
        inputs, targets = (F.log_softmax(x / tau, dim=1) for x in (logits, teacher))
        theirs = F.kl_div(inputs, targets, reduction="batchmean", log_target=True)
        ours = _build("kd", 11, tau=tau)(step_of(logits, labels, teacher))["soft"]
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_released_kd_is_torchs_kl_div_averaged_over_every_element() -> None:
    logits, labels, teacher = _batch(11)
    inputs, targets = F.log_softmax(logits / 20, dim=1), F.softmax(teacher / 20, dim=1)
    elementwise = F.kl_div(inputs, targets, reduction="none")
    loss = _build("kd", 11, alpha=1.0, tau=20.0, form="as_released", multiplier=50.0)
    expected = elementwise.mean() * 20 * 20 * 50
    torch.testing.assert_close(_total(loss, logits, labels, teacher), expected, rtol=1e-12, atol=0)


def test_each_method_is_a_function_that_can_be_called_alone() -> None:
    logits, labels, teacher = _batch(7)
    alone = {
        "kd": distillation(logits, labels, teacher, alpha=0.9, tau=4.0, weight=0.9 * 16),
        "lsr": smoothed_cross_entropy(logits, labels, alpha=0.1),
        "lsr_os": output_smoothing(logits, labels, alpha=0.1, tau=2.0),
        "lsr_os_tc": output_smoothing(logits, labels, alpha=0.1, tau=2.0, correct_share=0.5),
        "tfkd_reg": teacher_free_regularization(
            logits, labels, alpha=0.1, tau=20.0, a=0.99, weight=0.1, form="as_released"
        ),
    }
    for name, terms in alone.items():
        assert terms == _build(name, 7)(step_of(logits, labels, teacher)), name


# --- identities -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "share"), [("as_written", 1.0), ("standard", 1.0), ("as_released", 1 / 10)]
)
def test_kd_from_a_nearly_one_hot_teacher_tends_to_cross_entropy(form: str, share: float) -> None:
    logits, labels, _ = _batch(10)
    loss, ce = _build("kd", 10, alpha=1.0, tau=1.0, form=form), _build("ce", 10)
    expected = _with_gradient(ce, logits, labels, None)
    errors = []
    for height in (10.0, 20.0, 60.0):
        teacher = height * F.one_hot(labels, 10).double()
        terms, gradient = _with_gradient(loss, logits, labels, teacher)
        errors.append(abs(float(terms["total"]) - share * float(expected[0]["total"])))
        assert errors[-1] < 10 * (height + 10) * math.exp(-height) + 1e-14
    assert errors == sorted(errors, reverse=True)
    torch.testing.assert_close(gradient, share * expected[1], rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("form", ["as_written", "as_released"])
def test_lsr_is_cross_entropy_plus_a_divergence_up_to_a_constant(form: str) -> None:
    differences = []
    for seed in range(4):
        logits, labels, _ = _batch(10, seed=seed)
        terms = _build("lsr", 10, alpha=0.3, form=form)(step_of(logits, labels))
        differences.append(float(terms["total"] - (0.7 * terms["hard"] + 0.3 * terms["soft"])))
    constant = 0.3 * math.log(10 if form == "as_written" else 9)
    assert differences == pytest.approx([constant] * 4, abs=1e-12)


def test_lsr_of_alpha_zero_is_cross_entropy() -> None:
    logits, labels, _ = _batch(10)
    for form in ("as_written", "as_released"):
        loss = _build("lsr", 10, alpha=0.0, form=form)
        torch.testing.assert_close(
            _total(loss, logits, labels), F.cross_entropy(logits, labels), rtol=1e-13, atol=0
        )


def test_released_lsr_of_alpha_is_written_lsr_of_alpha_k_over_k_minus_1() -> None:
    logits, labels, _ = _batch(10)
    released = _build("lsr", 10, alpha=0.09, form="as_released")
    written = _build("lsr", 10, alpha=0.1)
    torch.testing.assert_close(
        _total(released, logits, labels), _total(written, logits, labels), rtol=1e-13, atol=0
    )


# The released hyper-parameters (alpha, tau, multiplier), then what they amount to on 100
# classes: epsilon and scale, rounded.
PAPER_ROWS = {
    "mobilenetv2": (0.95, 40.0, 1.0, 0.160, 0.0595),
    "shufflenetv2": (0.95, 10.0, 1.0, 0.160, 0.0595),
    "resnet18": (0.1, 20.0, 100.0, 0.100, 1.00),
    "googlenet": (0.1, 40.0, 50.0, 0.053, 0.95),
}


@pytest.mark.parametrize("num_classes", [10, 100, 200, 1000])
@pytest.mark.parametrize("row", PAPER_ROWS)
def test_released_tfkd_reg_is_label_smoothing_scaled(row: str, num_classes: int) -> None:
    alpha, tau, multiplier, *_ = PAPER_ROWS[row]
    epsilon, scale = equivalent_lsr(alpha, tau, 0.99, multiplier, num_classes)
    logits, labels, _ = _batch(num_classes)
    reg = _build("tfkd_reg", num_classes, alpha=alpha, tau=tau, multiplier=multiplier)
    lsr = _build("lsr", num_classes, alpha=epsilon, scale=scale)
    found, expected = (_gradient(loss, logits, labels, None) for loss in (reg, lsr))
    assert _relative_error(found, expected) < 1e-14


@pytest.mark.parametrize("row", PAPER_ROWS)
def test_equivalent_smoothing_and_scale_are_those_of_the_papers_rows(row: str) -> None:
    alpha, tau, multiplier, epsilon, scale = PAPER_ROWS[row]
    found = equivalent_lsr(alpha, tau, 0.99, multiplier, 100)
    assert found == pytest.approx((epsilon, scale), abs=6e-4)


def test_the_row_of_mobilenetv2_means_another_loss_on_ten_classes() -> None:
    epsilon, scale = equivalent_lsr(0.95, 40.0, 0.99, 1.0, 10)
    assert (round(epsilon, 3), round(scale, 3)) == (0.654, 0.145)
    assert equivalent_lsr(0.95, 40.0, 0.99, 10 / 100, 10)[1] == pytest.approx(0.0595)


def test_default_tfkd_reg_on_100_classes_is_the_papers_resnet18_row() -> None:
    alpha, tau, multiplier, *_ = PAPER_ROWS["resnet18"]
    row = _build(
        "tfkd_reg",
        100,
        alpha=alpha,
        tau=tau,
        multiplier=multiplier,
        correct_probability=0.99,
        form="as_released",
    )
    assert _build("tfkd_reg", 100) == row


def test_hand_made_teacher_softened_by_20_is_nearly_uniform() -> None:
    # 0.010502 for the right class, 0.009995 for the others (K = 100). The gradient at uniform
    # student outputs is (1/K - target) / N, from which the target is read.
    logits, labels = torch.zeros(1, 100, dtype=torch.float64), torch.tensor([3])
    gradient = _gradient(_build("tfkd_reg", 100, alpha=1.0), logits, labels, None)
    target = 1 / 100 - gradient[0]
    assert round(float(target[3]), 6) == 0.010502
    assert {round(float(t), 6) for t in target[target < 0.0102]} == {0.009995}


def test_gradient_of_standard_kd_tends_to_matching_centred_logits() -> None:
    logits, labels, teacher = _batch(10)
    centred = [x - x.mean(dim=1, keepdim=True) for x in (logits, teacher)]
    limit = (centred[0] - centred[1]) / 10 / len(logits)  # the batch's mean divides by N
    errors = []
    for tau in (1e2, 1e3, 1e4, 1e5):
        loss = _build("kd", 10, alpha=1.0, tau=tau)
        errors.append(_relative_error(_gradient(loss, logits, labels, teacher), limit))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-4


@pytest.mark.parametrize("form", ["standard", "as_written", "as_released"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kd_gradient_vanishes_where_student_equals_teacher(form: str, dtype: torch.dtype) -> None:
    logits, labels, _ = (x.to(dtype) if x.is_floating_point() else x for x in _batch(10))
    for tau in (1.0, 4.0, 1000.0):
        loss = _build("kd", 10, alpha=1.0, tau=tau, form=form)
        terms, gradient = _with_gradient(loss, logits, labels, logits.clone())
        assert torch.count_nonzero(gradient) == 0
        assert float(terms["soft"]) == 0


def test_lsr_os_of_temperature_1_is_lsr_up_to_a_constant() -> None:
    logits, labels, _ = _batch(10)
    smoothed, tempered = _build("lsr", 10), _build("lsr_os", 10, tau=1.0)
    found, expected = (_gradient(loss, logits, labels, None) for loss in (tempered, smoothed))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-16)


def test_lsr_os_tc_with_a_share_near_1_over_k_tends_to_lsr_os() -> None:
    logits, labels, _ = _batch(10)
    corrected = _build("lsr_os_tc", 10, correct_share=0.1 + 1e-9)(step_of(logits, labels))
    uniform = _build("lsr_os", 10)(step_of(logits, labels))
    torch.testing.assert_close(corrected["total"], uniform["total"], rtol=1e-7, atol=0)


def test_self_training_is_kd_by_value_and_another_class() -> None:
    logits, labels, teacher = _batch(10)
    kd, own = _build("kd", 10), _build("tfkd_self", 10)
    assert torch.equal(_total(kd, logits, labels, teacher), _total(own, logits, labels, teacher))
    assert type(kd) is not type(own)
    assert (kd.needs_teacher, kd.teacher_must_be_self) == (True, False)
    assert (own.needs_teacher, own.teacher_must_be_self) == (True, True)
    others = set(NAMES) - {"kd", "tfkd_self"}
    assert not any(losses.get(name).needs for name in others)


# --- the weight at temperature 1 ----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("ce", {}, 1.0),
        ("lsr", {"alpha": 0.3}, 1.0),
        ("lsr", {"alpha": 0.3, "form": "as_released"}, 1.0),
        ("kd", {"alpha": 0.9}, 0.1),
        ("kd", {"alpha": 0.9, "form": "as_released", "multiplier": 50}, 0.1),
        ("tfkd_self", {"alpha": 0.4, "form": "as_written"}, 0.6),
        ("lsr_os", {"alpha": 0.2}, 0.8),
        ("lsr_os_tc", {"alpha": 0.2}, 0.8),
        ("tfkd_reg", {"alpha": 0.95, "form": "as_written"}, 0.05),
        ("tfkd_reg", {"alpha": 0.95, "multiplier": 1}, 0.0595),
        ("tfkd_reg", {}, 1.0),
    ],
)
def test_hard_scale_is_the_weight_of_terms_at_temperature_1(
    name: str, options: dict[str, Any], expected: float
) -> None:
    assert _build(name, 100, **options).hard_scale == pytest.approx(expected)
    scaled = _build(name, 100, **options, scale=0.5)
    assert scaled.hard_scale == pytest.approx(expected / 2)


# --- gradients and the edges of fp32 ------------------------------------------------------


@every_case
def test_gradcheck(case: Case) -> None:
    logits, labels, teacher = _batch(7, spread=1.5)
    loss = _build(case.name, 7, **case.options)
    for term in ("hard", "soft", "total") if case.name != "ce" else ("hard", "total"):
        assert torch.autograd.gradcheck(
            lambda z, term=term: loss(step_of(z, labels, teacher))[term], logits.requires_grad_()
        )


@every_case
def test_gradients_sum_to_zero_over_classes(case: Case) -> None:
    gradient = _gradient(_build(case.name, 7, **case.options), *_batch(7))
    assert float(gradient.sum(dim=1).abs().max()) < 1e-14


@pytest.mark.parametrize("difference", [3.0, 0.1, 0.001])
@pytest.mark.parametrize(
    ("name", "form"),
    [("kd", "standard"), ("kd", "as_written"), ("kd", "as_released"), ("tfkd_reg", "as_written")],
)
def test_fp32_at_temperature_1000_is_as_good_as_float64(
    name: str, form: str, difference: float
) -> None:
    logits, labels, noise = (x.float() if x.is_floating_point() else x for x in _batch(100, 64))
    teacher = logits + difference * noise
    loss = _build(name, 100, alpha=1.0, tau=1000.0, form=form)
    terms, found = _with_gradient(loss, logits, labels, teacher)
    exact, expected = _with_gradient(loss, logits.double(), labels, teacher.double())
    assert _relative_error(found, expected) < 1e-3
    assert float(terms["soft"]) == pytest.approx(float(exact["soft"]), rel=1e-3)


@pytest.mark.parametrize("name", ["lsr_os", "lsr_os_tc"])
def test_fp32_output_smoothing_at_temperature_1000_is_as_good_as_float64(name: str) -> None:
    logits, labels, _ = (x.float() if x.is_floating_point() else x for x in _batch(100, 64))
    loss = _build(name, 100, alpha=1.0, tau=1000.0)
    found = _gradient(loss, logits, labels, None)
    assert _relative_error(found, _gradient(loss, logits.double(), labels, None)) < 1e-5


@pytest.mark.parametrize("name", ["kd", "lsr", "lsr_os_tc", "tfkd_reg"])
def test_fp32_on_sharply_peaked_outputs_is_as_good_as_float64(name: str) -> None:
    logits, labels, noise = (x.float() if x.is_floating_point() else x for x in _batch(1000, 16))
    logits = 10 * logits
    loss = _build(name, 1000)
    terms, found = _with_gradient(loss, logits, labels, logits + noise)
    exact, expected = _with_gradient(loss, logits.double(), labels, (logits + noise).double())
    assert _relative_error(found, expected) < 1e-5
    assert [float(t) for t in terms.values()] == pytest.approx(
        [float(t) for t in exact.values()], rel=1e-6
    )


def _extreme_logits() -> Tensor:
    """bf16 logits from the smallest to the largest that there are, in all combinations."""
    tiny = torch.finfo(torch.bfloat16).tiny
    values = [0.0, tiny, 1.0, 88.0, 1e4, 1e20, 1e37, BF16_MAX]
    values += [-v for v in values[1:]]
    draw = torch.Generator().manual_seed(0)
    picked = torch.randint(len(values), (400, 7), generator=draw)
    rows = torch.tensor(values, dtype=torch.bfloat16)[picked]
    rows[0], rows[1] = BF16_MAX, -BF16_MAX
    return rows


@every_case
def test_bf16_logits_of_any_size_give_finite_values_and_gradients(case: Case) -> None:
    logits = _extreme_logits()
    labels = torch.arange(len(logits)) % 7
    tempered = "tau" in {f.name for f in dataclasses.fields(losses.get(case.name))}
    for tau in (0.01, 1.0, 4.0, 1000.0) if tempered else (None,):
        loss = _build(case.name, 7, **case.options | ({"tau": tau} if tau else {}))
        for teacher in (logits.flip(0), logits.flip(1), logits):
            terms, gradient = _with_gradient(loss, logits, labels, teacher)
            assert all(torch.isfinite(term) for term in terms.values())
            assert torch.isfinite(gradient).all()


def test_gradient_is_exact_where_the_right_class_is_infinitely_unlikely() -> None:
    logits = torch.tensor([[BF16_MAX, -BF16_MAX, 0.0]], dtype=torch.bfloat16)
    teacher = torch.tensor([[0.0, 60000.0, 0.0]], dtype=torch.float16)
    for loss in (_build("ce", 3), _build("kd", 3, alpha=1.0, tau=1.0)):
        gradient = _gradient(loss, logits, torch.tensor([1]), teacher)
        assert gradient.tolist() == [[1.0, -1.0, 0.0]]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@every_case
def test_a_network_that_diverged_has_no_finite_loss(case: Case, bad: float) -> None:
    logits, labels, teacher = _batch(7)
    logits[2, 4] = bad
    assert not torch.isfinite(_total(_build(case.name, 7, **case.options), logits, labels, teacher))


@pytest.mark.parametrize("name", ["kd", "tfkd_self"])
def test_teacher_logits_receive_no_gradient(name: str) -> None:
    logits, labels, teacher = _batch(7)
    teacher.requires_grad_()
    _total(_build(name, 7), logits.requires_grad_(), labels, teacher).backward()
    assert logits.grad is not None
    assert teacher.grad is None


@every_case
def test_a_batchs_loss_is_the_mean_of_its_samples_losses(case: Case) -> None:
    logits, labels, teacher = _batch(7)
    loss = _build(case.name, 7, **case.options)
    singles = [
        _total(loss, logits[n : n + 1], labels[n : n + 1], teacher[n : n + 1]) for n in range(5)
    ]
    together = _total(loss, logits, labels, teacher)
    torch.testing.assert_close(together, torch.stack(singles).mean(), rtol=1e-12, atol=0)


@every_case
def test_every_loss_trains_a_linear_model(case: Case) -> None:
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(64, 12, generator=draw)
    labels = (inputs @ torch.randn(12, 7, generator=draw)).argmax(dim=1)
    teacher = 5.0 * F.one_hot(labels, 7).float()
    torch.manual_seed(0)
    model = torch.nn.Linear(12, 7)
    loss = _build(case.name, 7, **case.options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    totals = []
    for _ in range(20):
        terms = loss(step_of(model(inputs), labels, teacher))
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
        totals.append(float(terms["total"].detach()))
    assert totals[-1] < totals[0]


# --- configs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("kd", {"tua": 3.0}, ["loss.tua", "nearest: tau"]),
        ("kd", {"alpha": 1.5}, ["loss.alpha=1.5", "[0, 1]"]),
        ("lsr", {"alpha": -0.1}, ["loss.alpha=-0.1", "[0, 1]"]),
        ("kd", {"tau": 0.0}, ["loss.tau=0", "above 0"]),
        ("lsr_os", {"tau": -1.0}, ["loss.tau=-1.0", "above 0"]),
        ("ce", {"scale": 0.0}, ["loss.scale=0.0", "above 0"]),
        ("ce", {"alpha": 0.1}, ["loss.alpha", "scale"]),
        ("lsr", {"form": "standard"}, ["loss.form", "as_written", "as_released"]),
        ("tfkd_reg", {"form": "standard"}, ["loss.form", "as_written", "as_released"]),
        ("tfkd_reg", {"correct_probability": 1.0}, ["loss.correct_probability=1.0", "[0.9, 1)"]),
        ("tfkd_reg", {"correct_probability": 0.8}, ["loss.correct_probability=0.8", "[0.9, 1)"]),
        ("tfkd_reg", {"multiplier": 0.0}, ["loss.multiplier=0.0", "above 0"]),
        ("tfkd_reg", {"multiplier": 2.0, "form": "as_written"}, ["multiplier=2", "as_released"]),
        ("kd", {"multiplier": 50.0}, ["multiplier=50", "as_released", "form=standard"]),
        ("tfkd_self", {"multiplier": 1.0, "form": "as_written"}, ["multiplier=1", "as_released"]),
        ("lsr_os_tc", {"correct_share": 0.1}, ["correct_share=0.1", "1/10"]),
        ("lsr_os_tc", {"correct_share": 1.0}, ["loss.correct_share=1.0", "(0, 1)"]),
        ("kd_", {}, ["loss=kd_", "nearest: kd"]),
    ],
)
def test_mistakes_are_one_line_naming_the_key_and_what_was_expected(
    name: str, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        build_loss(name, options, 10)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("loss") or message.startswith("unknown key loss.")
    assert [word for word in words if word not in message] == []


def test_right_class_must_get_more_than_the_uniform_share() -> None:
    with pytest.raises(UserError, match="1/2"):
        build_loss("lsr_os_tc", {}, 2)
    with pytest.raises(ValueError, match="correct_probability"):
        losses.get("tfkd_reg")(num_classes=10, correct_probability=0.05)  # type: ignore[call-arg]


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2 classes"):
        build_loss("ce", {}, 1)


def test_multiplier_is_filled_where_the_form_has_one_and_kept_where_it_is_set() -> None:
    found = {
        (name, form): _build(name, 37, form=form).multiplier  # type: ignore[attr-defined]
        for name in ("kd", "tfkd_self", "tfkd_reg")
        for form in ("as_released", "as_written")
    }
    assert {value for (_, form), value in found.items() if form == "as_written"} == {None}
    assert found["kd", "as_released"] == found["tfkd_self", "as_released"] == 1
    assert found["tfkd_reg", "as_released"] == 37
    kept = _build("tfkd_reg", 37, multiplier=2)
    assert kept.multiplier == 2  # type: ignore[attr-defined]


@every_case
def test_a_loss_is_built_again_from_its_hyper_parameters(case: Case) -> None:
    loss = _build(case.name, 7, **case.options)
    assert _build(case.name, 7, **loss.hyper_parameters) == loss


def test_the_number_of_classes_is_not_for_a_config_to_set() -> None:
    with pytest.raises(UserError, match=r"unknown key loss\.num_classes"):
        build_loss("ce", {"num_classes": 10}, 10)


def test_a_need_that_no_training_meets_is_refused_in_one_line(monkeypatch: Any) -> None:
    monkeypatch.setattr(losses.get("ce"), "needs", frozenset({"soft_target", "features"}))
    with pytest.raises(UserError, match=r"^loss: ce needs features, which training does not give"):
        build_loss("ce", {}, 10)


@pytest.mark.parametrize("name", ["kd", "tfkd_self"])
def test_kd_without_a_fitting_teacher_is_an_error(name: str) -> None:
    logits, labels, teacher = _batch(7)
    with pytest.raises(ValueError, match="needs soft_targets"):
        _build(name, 7)(step_of(logits, labels))
    with pytest.raises(ValueError, match="shape"):
        _build(name, 7)(step_of(logits, labels, teacher[:, :5]))


def _defaults(name: str) -> dict[str, Any]:
    """What a config may set of a loss, as its class has it."""
    fields = {f.name: f.default for f in dataclasses.fields(losses.get(name))}
    assert fields.pop("num_classes") is dataclasses.MISSING
    return fields


def _yaml_files() -> list[Path]:
    return sorted((shipped_folder("conf") / "loss").glob("*.yaml"))


def test_every_loss_has_a_config_file_and_the_other_way_round() -> None:
    assert [file.stem for file in _yaml_files()] == losses.names()


@pytest.mark.parametrize("file", _yaml_files(), ids=lambda file: file.stem)
def test_config_file_holds_the_defaults_of_its_class(file: Path) -> None:
    text = file.read_text()
    assert text.startswith(f"# python -m kdlsr.train loss={file.stem}")
    content = yaml.safe_load(text)
    content.pop("defaults", None)
    assert content.pop("name") == file.stem
    assert content == _defaults(file.stem)
    build_loss(file.stem, content, 10)


def test_self_training_selects_its_teacher_by_itself() -> None:
    config = compose_config(["loss=tfkd_self", "loss.tau=20"])
    assert config["teacher"]["name"] == "self"
    assert config["loss"] == _defaults("tfkd_self") | {"name": "tfkd_self", "tau": 20}


def test_a_teacher_chosen_by_the_user_wins_over_self_trainings() -> None:
    assert compose_config(["loss=tfkd_self", "teacher=none"])["teacher"]["name"] == "none"
    assert compose_config(["loss=kd"])["teacher"]["name"] == "none"


def test_kd_accepts_a_released_row_given_as_integers() -> None:
    loss = build_loss("kd", {"alpha": 0.95, "tau": 20, "form": "as_released"}, 100)
    assert np.isclose(loss.soft_weight, 3.8)  # type: ignore[attr-defined]
