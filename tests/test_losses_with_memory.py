"""Methods that remember, learn or ask for a partner: float64 references, edges, what they keep."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import reference_field_losses as reference
import torch
from conftest import step_of
from reference_losses import Array
from torch import Tensor, nn

from kdlsr.losses import Loss, Step, build_loss
from kdlsr.losses.ls_plus_plus import WrongShares
from kdlsr.losses.ols import ClassLabels
from kdlsr.losses.ps_kd import LastOutputs
from kdlsr.tables.forms import forms_of
from kdlsr.tables.schema import Cell

EPOCHS = 10
NAMES = ["ols", "ps_kd", "ls_plus_plus", "cs_kd"]
Total = Callable[[Array], float]


def _batch(classes: int, samples: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(classes)
    z, other = (
        3 * torch.randn((samples, classes), generator=draw, dtype=torch.float64) for _ in range(2)
    )
    y = torch.randint(classes, (samples,), generator=draw)
    y[:2] = z[:2].argmax(dim=1)  # some are right
    return z, y, other


def _probabilities(shape: tuple[int, int]) -> Tensor:
    draw = torch.Generator().manual_seed(5)
    return torch.randn(shape, generator=draw, dtype=torch.float64).softmax(dim=1)


def _situation(name: str, classes: int) -> tuple[Loss, Callable[[Tensor], Step], Total]:
    """A loss amid a training; its step on given logits; its total on given logits, by reference."""
    z, y, other = _batch(classes)
    loss, labels = build_loss(name, {}, classes), y.numpy()
    state = loss.state(len(z)).double()
    partner = other if name == "cs_kd" else None
    total: Total = lambda x: reference.cs_kd(x, labels, other.numpy(), 1.0, 4.0)  # noqa: E731
    if isinstance(state, ClassLabels):
        state.labels.copy_(_probabilities((classes, classes)))
        state.labels[y[0]] = 0
        known = state.labels.numpy().copy()
        total = lambda x: reference.ols(x, labels, known, 0.5)  # noqa: E731
    if isinstance(state, LastOutputs):
        state.probabilities[1:] = _probabilities((len(z) - 1, classes))
        past = [None, *state.probabilities[1:].numpy().copy()]
        total = lambda x: reference.ps_kd(x, labels, past, 0.8 * 5 / EPOCHS)  # noqa: E731
    if isinstance(state, WrongShares):
        nn.init.normal_(state.scores)
        scores, still = state.scores.detach().numpy(), z.numpy().copy()
        total = lambda x: reference.ls_plus_plus(x, labels, scores, 0.1, (still, scores))  # noqa: E731

    def step(logits: Tensor) -> Step:
        return step_of(logits, y, epoch=4, epochs=EPOCHS, state=state, partner_logits=partner)

    return loss, step, total


def _slopes(total: Total, at: Array) -> Array:
    found = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        moved = [at.copy(), at.copy()]
        moved[0][place] += 1e-5
        moved[1][place] -= 1e-5
        found[place] = (total(moved[0]) - total(moved[1])) / 2e-5
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [2, 7])
def test_value_and_gradient_equal_the_float64_reference(name: str, classes: int) -> None:
    loss, step, total = _situation(name, classes)
    z = _batch(classes)[0].requires_grad_()
    terms = loss(step(z))
    assert terms["total"].item() == pytest.approx(total(z.detach().numpy()), rel=1e-12)
    terms["total"].backward()
    assert z.grad is not None
    np.testing.assert_allclose(z.grad.numpy(), _slopes(total, z.detach().numpy()), atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_any_size_and_precision_give_finite_values_and_gradients(name: str) -> None:
    info = torch.finfo(torch.bfloat16)
    values = torch.tensor([0.0, info.tiny, 1.0, 88.0, 1e4, 1e20, info.max], dtype=torch.bfloat16)
    draw = torch.Generator().manual_seed(0)
    picked = torch.cat([values, -values])[torch.randint(14, (200, 7), generator=draw)]
    picked[0], picked[1] = info.max, -info.max
    y, loss = torch.arange(200) % 7, build_loss(name, {}, 7)
    state = loss.state(200)
    for _ in range(2):
        z = picked.clone().requires_grad_()
        partner = picked.flip(0)
        terms = loss(step_of(z, y, epoch=3, state=state, partner_logits=partner))
        terms["total"].backward()
        assert {term.dtype for term in terms.values()} == {torch.float32}
        assert all(torch.isfinite(term) for term in terms.values())
        assert z.grad is not None
        assert torch.isfinite(z.grad).all()
        loss.end_epoch(state)
        assert all(value.isfinite().all() for value in state.state_dict().values())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_diverged_has_no_finite_loss(name: str, bad: float) -> None:
    loss, step, _ = _situation(name, 7)
    z = _batch(7)[0]
    z[2, 4] = bad
    assert not torch.isfinite(loss(step(z))["total"])


@pytest.mark.parametrize("name", NAMES)
def test_state_changes_in_place_so_that_a_recorded_step_goes_on_seeing_it(name: str) -> None:
    loss, step, _ = _situation(name, 7)
    z = _batch(7)[0]
    made = step(z)
    places = {key: value.data_ptr() for key, value in made.state.state_dict().items()}
    loss(made)
    with torch.no_grad():
        loss.end_epoch(made.state)
    assert {key: value.data_ptr() for key, value in made.state.state_dict().items()} == places


# --- what each remembers ------------------------------------------------------------------


def test_ols_begins_with_half_of_cross_entropy_and_goes_on_with_means_of_what_was_right() -> None:
    z, y, _ = _batch(7, samples=40)
    for start, never_right in (("zero", 1 / 7), ("smoothed", 0.0)):
        loss, ce = build_loss("ols", {"start": start}, 7), build_loss("ce", {}, 7)
        state = loss.state(40).double()
        first = loss(step_of(z, y, state=state))["total"]
        plain = float(ce(step_of(z, y))["total"])
        smoothed = build_loss("lsr", {"alpha": 0.1, "form": "as_released"}, 7)
        half = 0.5 * (plain + float(smoothed(step_of(z, y))["total"]))
        assert float(first) == pytest.approx(0.5 * plain if start == "zero" else half)
        loss.end_epoch(state)
        expected = reference.ols_labels(z.numpy(), y.numpy(), never_right)
        assert isinstance(state, ClassLabels)
        np.testing.assert_allclose(state.labels.numpy(), expected, rtol=1e-12)
        assert (expected == never_right).all(axis=1).any()
        assert not state.sums.any()
        assert not state.counts.any()


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_ols_begun_with_label_smoothing_is_its_control_in_the_first_epoch(share: float) -> None:
    z, y, _ = _batch(7)
    loss = build_loss("ols", {"share": share, "start": "smoothed", "scale": 3}, 7)
    (control,) = loss.controls()
    smoothing = build_loss(control.loss, control.options, 7)(step_of(z, y))
    online = loss(step_of(z, y, state=loss.state(len(y)).double()))
    assert float(online["total"]) == pytest.approx(float(smoothing["total"]), rel=1e-7)


def test_ols_counts_an_epoch_alike_in_whatever_batches() -> None:
    z, y, _ = _batch(7, samples=40)
    labels = []
    for size in (40, 8):
        loss = build_loss("ols", {}, 7)
        state = loss.state(40).double()
        for part in torch.arange(40).split(size):
            loss(step_of(z[part], y[part], state=state))
        loss.end_epoch(state)
        labels.append(state.get_buffer("labels"))
    torch.testing.assert_close(*labels, rtol=1e-12, atol=0)


def test_ps_kd_is_cross_entropy_in_the_first_epoch_and_keeps_its_outputs_by_row() -> None:
    z, y, other = _batch(7)
    loss, ce = build_loss("ps_kd", {}, 7), build_loss("ce", {}, 7)
    state = loss.state(6).double()
    first = loss(step_of(z, y, epochs=EPOCHS, state=state))["total"]
    assert float(first) == pytest.approx(float(ce(step_of(z, y))["total"]), rel=1e-12)
    kept = state.get_buffer("probabilities")
    torch.testing.assert_close(kept, z.softmax(dim=1), rtol=1e-12, atol=0)
    loss(step_of(other[:2], y[:2], epoch=1, epochs=EPOCHS, state=state))
    torch.testing.assert_close(kept[:2], other[:2].softmax(dim=1), rtol=1e-12, atol=0)
    torch.testing.assert_close(kept[2:], z[2:].softmax(dim=1), rtol=1e-12, atol=0)


def test_the_network_has_half_a_cross_entropys_gradient_from_ls_plus_plus() -> None:
    z, y, _ = _batch(7)
    z = z / 6
    loss = build_loss("ls_plus_plus", {}, 7)
    smoothing = build_loss("lsr", {"alpha": 0.1, "form": "as_released", "scale": 0.5}, 7)
    found, expected = z.clone().requires_grad_(), z.clone().requires_grad_()
    loss(step_of(found, y, state=loss.state(6)))["total"].backward()
    smoothing(step_of(expected, y))["total"].backward()
    assert found.grad is not None
    # All but the same: the code's 1e-6 beside p.
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-6)
    assert loss.hard_scale == 0.5


def test_the_shares_of_ls_plus_plus_learn_from_the_second_term_alone() -> None:
    z, y, _ = _batch(7)
    loss, step, _ = _situation("ls_plus_plus", 7)
    made = step(z)
    assert isinstance(made.state, WrongShares)
    scores, labels = made.state.scores, y.numpy()
    loss(made)["total"].backward()
    at = scores.detach().numpy().copy()

    def total(s: Array) -> float:
        return reference.ls_plus_plus(z.numpy(), labels, s, 0.1, (z.numpy(), at))

    assert scores.grad is not None
    np.testing.assert_allclose(scores.grad.numpy(), _slopes(total, at), atol=1e-8)
    assert loss.decays_state
    assert not build_loss("ols", {}, 7).decays_state


def test_cs_kd_without_weight_is_cross_entropy_and_asks_for_its_partner() -> None:
    z, y, other = _batch(7)
    control = build_loss("cs_kd", {"weight": 0}, 7)
    found = control(step_of(z, y, partner_logits=other))["total"]
    assert torch.equal(found, build_loss("ce", {}, 7)(step_of(z, y))["total"])
    with pytest.raises(ValueError, match="needs partner_logits"):
        control(step_of(z, y))


CONTROLS = {
    "ols": ["LSR 0.05"],
    "ps_kd": ["LSR growing 0 to 0.8"],
    "ls_plus_plus": ["CE x 0.5", "LSR 0.1 x 0.5"],
    "cs_kd": ["CE, second forward pass"],
}


@pytest.mark.parametrize("method", NAMES)
def test_a_method_has_the_control_that_nobody_has_run(method: str) -> None:
    cell = Cell(row="r", column="c", method=method, network="m")
    (variant,) = forms_of(cell, 100)
    assert [control.name for control in variant.controls] == CONTROLS[method]
    for control in variant.controls:
        assert control.teacher == "none"
        build_loss(control.loss, control.options, 100)
