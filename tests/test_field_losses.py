"""The field's methods against float64 references, their identities, their controls, their edges."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import reference_field_losses as reference
import torch
from conftest import step_of
from torch import Tensor

from kdlsr.losses import Loss, build_loss, losses
from kdlsr.losses.dist import correlations
from kdlsr.losses.zscore_kd import standardised
from kdlsr.tables.forms import Variant, forms_of
from kdlsr.tables.schema import Cell

EPOCHS = 40


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss with options in an epoch, and what computes its total independently."""

    name: str
    expected: Callable[..., float]
    options: Mapping[str, Any]
    epoch: int = 0


def _case(name: str, expected: Callable[..., float], epoch: int = 0, **options: Any) -> Case:
    return Case(name, expected, options, epoch)


def _lsr(z: Any, y: Any, zt: Any, alpha: float) -> float:
    return reference.smoothed(z, y, alpha)


part = functools.partial
r = reference
DKD = {"target": 1.0, "non_target": 8.0, "tau": 4.0}
CASES = [
    _case("maxsup", part(r.maxsup, weight=0.1)),
    _case("maxsup", part(r.maxsup, weight=0.1 + 0.1 * 39 / 40), 39),
    _case("maxsup", part(r.maxsup, weight=0.3 + 0.4 / 4), 10, begin=0.3, end=0.7),
    _case("lsr_growing", part(_lsr, alpha=0.15), 20),
    _case("lsr_growing", part(_lsr, alpha=0.8 / 40), begin=0, end=0.8, counted_from=1),
    _case("lsr_growing", part(_lsr, alpha=0.8), 39, begin=0, end=0.8, counted_from=1),
    _case("kd_weighted", part(r.kd, hard=0.1, soft=0.9, tau=4)),
    _case("kd_weighted", part(r.kd, hard=0.1, soft=9 / 4, tau=2), 4, soft=9, tau=2,
          warmup_epochs=20),
    _case("zscore_kd", part(r.zscore_kd, hard=0.1, soft=9, tau=2)),
    _case("nkd", part(r.nkd, weight=1.5, tau=1)),
    _case("nkd", part(r.nkd, weight=3.5, tau=3), weight=3.5, tau=3),
    _case("dkd", part(r.dkd, **DKD, warmth=1 / 20)),
    _case("dkd", part(r.dkd, **DKD, warmth=19 / 20), 18),
    _case("dkd", part(r.dkd, **DKD, warmth=1), 30),
    _case("dkd", part(r.dkd, target=0.5, non_target=2, tau=1, warmth=1), target=0.5, non_target=2,
          tau=1, warmup_epochs=0),
    _case("dist", part(r.dist, weight=2 * 16, tau=4)),
    _case("dist", part(r.dist, weight=2, tau=4), form="as_written"),
    _case("wttm", part(r.wttm, weight=4, gamma=0.2)),
    _case("wttm", part(r.wttm_at_mean, weight=4, gamma=0.2), weighing="mean"),
    _case("wttm", part(r.wttm, weight=2, gamma=0.6), weight=2, gamma=0.6),
]  # fmt: skip
every_case = pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.name}-{case.epoch}-{len(case.options)}"
)
TAUGHT = ["kd_weighted", "nkd", "dkd", "dist", "zscore_kd", "wttm"]


def _batch(classes: int, samples: int = 5, spread: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(classes)
    z, zt = (
        spread * torch.randn((samples, classes), generator=draw, dtype=torch.float64)
        for _ in range(2)
    )
    return z, torch.randint(classes, (samples,), generator=draw), zt


def _build(case: Case, classes: int) -> Loss:
    return build_loss(case.name, case.options, classes)


def _total(loss: Loss, case: Case, z: Tensor, y: Tensor, zt: Tensor) -> Tensor:
    terms = loss(step_of(z, y, zt, epoch=case.epoch, epochs=EPOCHS))
    assert list(terms) == ["hard", "soft", "total"]
    return terms["total"]


def _gradient(loss: Loss, z: Tensor, y: Tensor, zt: Tensor, epoch: int = 0) -> Tensor:
    z = z.detach().clone().requires_grad_()
    loss(step_of(z, y, zt, epoch=epoch, epochs=EPOCHS))["total"].backward()
    assert z.grad is not None
    return z.grad


@every_case
def test_value_and_gradient_equal_the_float64_reference(case: Case) -> None:
    for classes in (2, 7, 100):
        z, y, zt = _batch(classes)
        expected = case.expected(z.numpy(), y.numpy(), zt.numpy())
        total = _total(_build(case, classes), case, z, y, zt)
        assert float(total) == pytest.approx(expected, rel=1e-12)
    z, y, zt = _batch(5, 3)
    found, step = _gradient(_build(case, 5), z, y, zt, case.epoch), 1e-5
    for place in np.ndindex(*z.shape):
        up, down = z.numpy().copy(), z.numpy().copy()
        up[place] += step
        down[place] -= step
        values = [case.expected(moved, y.numpy(), zt.numpy()) for moved in (up, down)]
        slope = (values[0] - values[1]) / (2 * step)
        assert float(found[place]) == pytest.approx(slope, rel=1e-6, abs=1e-8)


@every_case
def test_fp32_and_bf16_logits_give_fp32_terms_equal_to_the_reference(case: Case) -> None:
    z, y, zt = _batch(7)
    for dtype in (torch.float32, torch.bfloat16):
        low, taught = z.to(dtype), zt.to(torch.float16)
        total = _total(_build(case, 7), case, low, y, taught)
        assert total.dtype == torch.float32
        assert total.shape == torch.Size()
        expected = case.expected(low.double().numpy(), y.numpy(), taught.double().numpy())
        assert float(total) == pytest.approx(expected, rel=2e-5)
        assert _gradient(_build(case, 7), low, y, taught).dtype == dtype


def _extreme_logits() -> Tensor:
    info = torch.finfo(torch.bfloat16)
    values = [0.0, info.tiny, 1.0, 88.0, 1e4, 1e20, 1e37, info.max]
    values += [-v for v in values[1:]]
    picked = torch.randint(len(values), (400, 7), generator=torch.Generator().manual_seed(0))
    rows = torch.tensor(values, dtype=torch.bfloat16)[picked]
    rows[0], rows[1], rows[2] = info.max, -info.max, 0.0
    return rows


@every_case
def test_logits_of_any_size_give_finite_values_and_gradients(case: Case) -> None:
    z = _extreme_logits()
    y, loss = torch.arange(len(z)) % 7, _build(case, 7)
    for zt in (z.flip(0), z.flip(1), z):
        terms = loss(step_of(z, y, zt, epoch=case.epoch, epochs=EPOCHS))
        assert all(torch.isfinite(term) for term in terms.values())
        assert torch.isfinite(_gradient(loss, z, y, zt, case.epoch)).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@every_case
def test_a_network_that_diverged_has_no_finite_loss(case: Case, bad: float) -> None:
    z, y, zt = _batch(7)
    z[2, 4] = bad
    assert not torch.isfinite(_total(_build(case, 7), case, z, y, zt))


@pytest.mark.parametrize("name", TAUGHT)
def test_a_taught_loss_gives_its_teacher_no_gradient_and_refuses_one_that_does_not_fit(
    name: str,
) -> None:
    z, y, zt = _batch(7)
    loss = build_loss(name, {}, 7)
    assert loss.needs_teacher
    zt.requires_grad_()
    _gradient(loss, z, y, zt)
    assert zt.grad is None
    with pytest.raises(ValueError, match="needs soft_targets"):
        loss(step_of(z, y))
    with pytest.raises(ValueError, match="shape"):
        loss(step_of(z, y, zt[:, :5]))


# --- identities -------------------------------------------------------------------------


def test_maxsup_is_label_smoothing_of_the_same_growth_where_the_label_is_predicted() -> None:
    z, _, zt = _batch(7)
    right, wrong = z.argmax(dim=1), z.argmin(dim=1)
    maxsup, smoothing = build_loss("maxsup", {}, 7), build_loss("lsr_growing", {}, 7)
    for epoch in (0, 17):
        found, expected = (_gradient(loss, z, right, zt, epoch) for loss in (maxsup, smoothing))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-16)
    found, expected = (_gradient(loss, z, wrong, zt) for loss in (maxsup, smoothing))
    assert (found - expected).abs().max() > 0.01


def test_label_smoothing_is_cross_entropy_and_epsilon_times_right_less_mean_logit() -> None:
    z, y, zt = _batch(7)
    lsr, ce = build_loss("lsr", {"alpha": 0.3}, 7), build_loss("ce", {}, 7)
    right_less_mean = (z.gather(1, y[:, None])[:, 0] - z.mean(dim=1)).mean()
    total = [loss(step_of(z, y, zt))["total"] for loss in (lsr, ce)]
    torch.testing.assert_close(total[0], total[1] + 0.3 * right_less_mean, rtol=1e-12, atol=0)


def test_growing_smoothing_that_does_not_grow_is_label_smoothing() -> None:
    z, y, zt = _batch(7)
    growing = build_loss("lsr_growing", {"begin": 0.1, "end": 0.1}, 7)
    lsr = build_loss("lsr", {"alpha": 0.1}, 7)
    found = growing(step_of(z, y, epoch=3, epochs=9))["total"]
    torch.testing.assert_close(found, lsr(step_of(z, y, zt))["total"], rtol=1e-14, atol=0)


def test_kd_with_the_weights_of_kd_is_kd() -> None:
    z, y, zt = _batch(7)
    weighted = build_loss("kd_weighted", {}, 7)
    assert float(weighted(step_of(z, y, zt))["total"]) == pytest.approx(
        float(build_loss("kd", {"alpha": 0.9, "tau": 4.0}, 7)(step_of(z, y, zt))["total"])
    )


def test_dkd_whose_beta_is_what_the_teacher_leaves_to_wrong_classes_is_kd() -> None:
    z, y, zt = (x[:1] for x in _batch(7))
    left = 1 - float(torch.softmax(zt / 4, dim=1)[0, y[0]])
    options = {"target": 1, "non_target": left, "tau": 4, "warmup_epochs": 20}
    for epoch in (0, 11, 25):
        found = _gradient(build_loss("dkd", options, 7), z, y, zt, epoch)
        kd = build_loss("kd_weighted", {"hard": 1, "soft": 1, "tau": 4, "warmup_epochs": 20}, 7)
        torch.testing.assert_close(found, _gradient(kd, z, y, zt, epoch), rtol=1e-10, atol=1e-14)


def test_nkd_whose_gamma_is_what_the_teacher_leaves_is_kd_but_for_the_wrong_classes_sum() -> None:
    # H(pt, p) = -pt_y log p_y + (1 - pt_y) (H(s, r) - log(1 - p_y)).
    z, y, zt = (x[:1] for x in _batch(7))
    p, pt = (torch.softmax(x, dim=1)[0] for x in (z, zt))
    left = 1 - float(pt[y[0]])
    found = build_loss("nkd", {"weight": left, "tau": 1}, 7)(step_of(z, y, zt))["total"]
    hard = -p[y[0]].log()
    whole = hard - (pt * p.log()).sum() + left * (1 - p[y[0]]).log()
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=0)


def test_standardised_kd_of_standardised_logits_is_its_control() -> None:
    z, y, zt = _batch(7)
    z, zt = ((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True) for x in (z, zt))
    loss = build_loss("zscore_kd", {}, 7)
    (_, control) = loss.controls()
    plain = build_loss(control.loss, control.options, 7)
    assert float(loss(step_of(z, y, zt))["total"]) == pytest.approx(
        float(plain(step_of(z, y, zt))["total"]), rel=1e-6
    )


def test_standardised_logits_have_no_scale_and_no_shift() -> None:
    z, _, _ = _batch(7)
    torch.testing.assert_close(standardised(3e5 * z + 100), standardised(z), rtol=1e-6, atol=1e-9)
    small = torch.full((1, 7), 3e38)
    assert not standardised(small).any()


def test_wttm_with_exponent_1_is_kd_at_temperature_1() -> None:
    z, y, zt = _batch(7)
    found = _gradient(build_loss("wttm", {"weight": 3, "gamma": 1}, 7), z, y, zt)
    kd = build_loss("kd_weighted", {"hard": 1, "soft": 3, "tau": 1}, 7)
    torch.testing.assert_close(found, _gradient(kd, z, y, zt), rtol=1e-10, atol=1e-14)


def test_wttm_and_its_control_have_one_scale_and_differ_by_the_weighing_of_samples_alone() -> None:
    z, y, zt = _batch(7)
    loss = build_loss("wttm", {}, 7)
    (control,) = loss.controls()
    matched = build_loss(control.loss, control.options, 7)
    alike = zt[:1].expand_as(zt)  # a teacher that is as unsure of each
    torch.testing.assert_close(_gradient(loss, z, y, alike), _gradient(matched, z, y, alike))
    powers = torch.softmax(zt, dim=1).pow(0.2).sum(dim=1)
    terms = matched(step_of(z, y, zt))
    total = float(terms["hard"] + 4 * powers.mean() * terms["soft"])
    assert float(terms["total"]) == pytest.approx(total)
    assert not torch.allclose(_gradient(loss, z, y, zt), _gradient(matched, z, y, zt))


def test_dist_of_a_student_like_its_teacher_is_cross_entropy() -> None:
    z, y, _ = _batch(7)
    terms = build_loss("dist", {}, 7)(step_of(z, y, z.clone()))
    assert float(terms["soft"]) == pytest.approx(0, abs=1e-5)


def test_a_single_sample_correlates_over_classes_alone_and_its_batch_term_moves_nothing() -> None:
    z, y, zt = (x[:1] for x in _batch(7))
    terms = build_loss("dist", {}, 7)(step_of(z, y, zt))
    p, pt = (torch.softmax(x / 4, dim=1) for x in (z, zt))
    assert float(terms["soft"]) == pytest.approx(2 - float(correlations(p, pt)))
    assert torch.isfinite(_gradient(build_loss("dist", {}, 7), z, y, zt)).all()
    column = p.T.clone().requires_grad_()
    found = correlations(column, pt.T)
    found.sum().backward()
    assert not found.any()
    assert column.grad is not None
    assert not column.grad.any()


# --- in a table ---------------------------------------------------------------------------


def _controls(method: str, form: str = "as_released", **options: float) -> list[Variant]:
    taught = "t" if "soft_targets" in losses.get(method).needs else None
    cell = Cell(row="r", column="c", method=method, network="m", teacher=taught, options=options)
    (variant,) = forms_of(cell, 100, [form])
    assert variant.teacher == ("other" if taught else "none")
    return list(variant.controls)


CONTROLS = {
    "maxsup": ["LSR growing 0.1 to 0.2"],
    "nkd": ["CE x 3.5", "KD 1 + 1.5, tau 1"],
    "dkd": ["KD 1 + 1, tau 4, 20 epochs' warm-up", "KD 1 + 8, tau 4, 20 epochs' warm-up"],
    "dist": ["KD 1 + 2, tau 4"],
    "zscore_kd": ["CE x 0.1", "KD 0.1 + 9, tau 2"],
    "wttm": ["TTM at its scale"],
}


@pytest.mark.parametrize("method", CONTROLS)
def test_a_method_has_the_control_that_nobody_has_run(method: str) -> None:
    stated = {key: getattr(build_loss(method, {}, 100), key) for key in losses.get(method).stated}
    controls = _controls(method, **stated)
    assert [control.name for control in controls] == CONTROLS[method]
    for control in controls:
        taught = control.loss in ("kd_weighted", "wttm")
        assert (control.teacher, control.teacher_epoch) == (
            ("other", "best_test") if taught else ("none", "last")
        )
        assert build_loss(control.loss, control.options, 100).scale > 0


def test_a_methods_scale_is_its_controls_too() -> None:
    for method in CONTROLS:
        for control in build_loss(method, {"scale": 0.5}, 10).controls():
            plain = build_loss(method, {}, 10).controls()
            unscaled = {k: v for k, v in control.options.items() if k != "scale"}
            same = [
                c
                for c in plain
                if c.loss == control.loss
                and (c.loss == "ce" or unscaled.items() <= c.options.items())
            ]
            assert [c.options["scale"] for c in same] == [2 * control.options["scale"]]


def test_dist_as_written_has_no_tau_squared_and_neither_has_its_control() -> None:
    (released,), (written,) = (
        _controls("dist", form, tau=4) for form in ("as_released", "as_written")
    )
    assert released.options["soft"] == 2
    assert written.options["soft"] == 2 / 16


def test_weights_that_leave_no_loss_are_refused() -> None:
    with pytest.raises(Exception, match="leave no loss"):
        build_loss("kd_weighted", {"hard": 0, "soft": 0}, 10)
