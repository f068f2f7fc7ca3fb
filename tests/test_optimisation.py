"""The learning rate of every step, and what `auto` and null mean for the optimiser."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.schedule import ScheduleConfig
from kdlsr.config.schema import read_config
from kdlsr.losses import build_loss
from kdlsr.models import Recipe
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import (
    Optimisation,
    build_optimizer,
    learning_rate,
    resolve_optimisation,
)

ADAM = Recipe(optimizer="adam", lr=1e-3, weight_decay=0.0)


def _schedule(name: str) -> ScheduleConfig:
    return read_config(compose_config([f"schedule={name}"])).schedule


def test_cifar200_follows_the_papers_milestones() -> None:
    schedule = _schedule("cifar200")
    rates = [learning_rate(schedule, 0.1, epoch, 0, 1) for epoch in range(200)]
    assert rates[0] == pytest.approx(0.1)  # the warm-up's last step
    for start, end, rate in ((1, 60, 0.1), (60, 120, 0.02), (120, 160, 0.004), (160, 200, 0.0008)):
        assert rates[start:end] == pytest.approx([rate] * (end - start))


def test_warm_up_rises_linearly_over_the_steps_of_the_first_epoch() -> None:
    schedule = _schedule("cifar200")
    steps = 391
    rates = [learning_rate(schedule, 0.1, 0, m, steps) for m in range(steps)]
    assert rates == pytest.approx([0.1 * (m + 1) / steps for m in range(steps)])
    assert learning_rate(schedule, 0.1, 1, 0, steps) == pytest.approx(0.1)


def test_the_search_schedule_is_the_beginning_of_the_full_one() -> None:
    full, search = _schedule("cifar200"), _schedule("search70")
    for epoch in range(70):
        assert learning_rate(search, 0.1, epoch, 0, 2) == learning_rate(full, 0.1, epoch, 0, 2)
    assert search.epochs == 70


def test_papers_schedules_scale_with_the_batch() -> None:
    imagenet = _schedule("imagenet90")
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(model, resolve_optimisation(imagenet, Recipe()), imagenet)
    group = optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.1 * 512 / 256)
    assert group["weight_decay"] == pytest.approx(1e-4)
    assert learning_rate(imagenet, 1.0, 30, 0, 2) == pytest.approx(0.1)
    assert _schedule("tiny200").gamma == 0.1


def test_auto_is_the_models_own_recipe_and_what_the_user_sets_wins() -> None:
    schedule = ScheduleConfig(epochs=1)
    assert vars(resolve_optimisation(schedule, ADAM)) == {
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 0.0,
    }
    assert resolve_optimisation(schedule, Recipe()).lr == 0.1
    chosen = ScheduleConfig(epochs=1, lr=0.5, weight_decay=0.25)
    assert resolve_optimisation(chosen, ADAM).lr == 0.5
    assert resolve_optimisation(chosen, ADAM).weight_decay == 0.25
    sgd = ScheduleConfig(epochs=1, optimizer="sgd")
    assert resolve_optimisation(sgd, ADAM).lr == 0.1


def test_an_optimiser_by_timms_name_is_built_and_a_wrong_one_refused() -> None:
    schedule = ScheduleConfig(epochs=1, optimizer="lamb", lr=0.01)
    optimizer = build_optimizer(nn.Linear(2, 2), resolve_optimisation(schedule, Recipe()), schedule)
    assert type(optimizer).__name__ == "Lamb"
    assert len(optimizer.param_groups) == 1  # decay on every parameter
    with pytest.raises(UserError, match=r"schedule\.optimizer=lambb: .*nearest: lamb"):
        resolve_optimisation(ScheduleConfig(epochs=1, optimizer="lambb", lr=0.1), Recipe())
    with pytest.raises(UserError, match=r"needs schedule\.lr"):
        resolve_optimisation(ScheduleConfig(epochs=1, optimizer="lamb"), Recipe())


def test_sgd_equals_the_textbooks_update() -> None:
    schedule = ScheduleConfig(epochs=1, batch_size=128)
    weight = nn.Parameter(torch.tensor([2.0]))
    model = nn.Module()
    model.register_parameter("weight", weight)
    optimizer = build_optimizer(model, resolve_optimisation(schedule, Recipe()), schedule)
    velocity, expected = 0.0, 2.0
    for gradient in (1.0, -0.5, 0.25):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 5e-4 * expected
        expected -= 0.1 * velocity
        assert weight.item() == pytest.approx(expected, rel=1e-6)


def test_what_a_loss_learns_has_the_networks_rate_and_no_decay() -> None:
    schedule, state = ScheduleConfig(epochs=1), nn.Module()
    state.tau = nn.Parameter(torch.ones(()))
    for name in ("sgd", "adam", "adamw", "lamb"):
        chosen = Optimisation(name, lr=0.1, weight_decay=0.3)
        groups = build_optimizer(nn.Linear(2, 2), chosen, schedule, state).param_groups
        network, learned = groups[0], groups[-1]
        assert [p.shape for p in learned["params"]] == [torch.Size()]
        assert (network["weight_decay"], learned["weight_decay"]) == (0.3, 0.0)
        assert network["lr"] == learned["lr"]


def test_what_a_loss_learns_is_decayed_where_the_loss_has_it_so() -> None:
    schedule, state = ScheduleConfig(epochs=1), build_loss("ls_plus_plus", {}, 4).state(0)
    for name in ("sgd", "adam", "adamw"):
        chosen = Optimisation(name, lr=0.1, weight_decay=0.3)
        network = nn.Linear(2, 2)
        groups = build_optimizer(network, chosen, schedule, state, decays_state=True).param_groups
        assert [p.shape for p in groups[-1]["params"]] == [torch.Size((4, 3))]
        assert groups[-1]["weight_decay"] == 0.3


def test_a_line_of_glues_rises_a_tenth_of_the_steps_and_ends_one_step_after_the_last() -> None:
    schedule = _schedule("glue3")
    assert (schedule.epochs, schedule.warmup_epochs, schedule.clip_norm) == (3, 0.3, 1.0)
    steps, warm, total = 10, 3, 30
    rates = [learning_rate(schedule, 2.0, t // steps, t % steps, steps) for t in range(total)]
    rising = [2.0 * (t + 1) / warm for t in range(warm)]
    falling = [2.0 * (total - t) / (total - warm) for t in range(warm, total)]
    assert rates == pytest.approx(rising + falling)
    assert max(rates) == rates[warm] == 2.0
    assert rates[-1] == pytest.approx(2.0 / 27)


def test_a_line_without_a_warm_up_begins_at_the_full_rate() -> None:
    schedule = ScheduleConfig(epochs=2, decay="linear")
    rates = [learning_rate(schedule, 1.0, t // 4, t % 4, 4) for t in range(8)]
    assert rates == pytest.approx([(8 - t) / 8 for t in range(8)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decay": "linear", "milestones": (1,)}, r"add schedule\.milestones=\[\]"),
        ({"decay": "linear", "warmup_epochs": 2.5}, r"warmup_epochs=2\.5 to be below epochs=2"),
    ],
)
def test_an_impossible_line_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(epochs=2, **fields)


def test_adamw_decays_matrices_alone_and_equals_its_own_formula() -> None:
    schedule = ScheduleConfig(epochs=1, batch_size=32, lr_batch_size=32, optimizer="adamw", lr=0.1)
    model = nn.Linear(1, 1)
    chosen = Optimisation("adamw", lr=0.1, weight_decay=0.5)
    optimizer = build_optimizer(model, chosen, schedule)
    assert type(optimizer) is torch.optim.AdamW
    start = [p.item() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.25)
    optimizer.step()
    # Bias-corrected, the first step is lr x the gradient's sign; decay is apart from it.
    assert model.weight.item() == pytest.approx(start[0] * (1 - 0.1 * 0.5) - 0.1, rel=1e-5)
    assert model.bias.item() == pytest.approx(start[1] - 0.1, rel=1e-5)


def test_a_model_may_have_adamw_as_its_own() -> None:
    own = Recipe("adamw", lr=5e-5, weight_decay=0.01)
    assert resolve_optimisation(_schedule("glue3"), own) == Optimisation("adamw", 5e-5, 0.01)


def _clipped(
    norm: float | None, precision: str, momentum: float = 0.0
) -> tuple[Learner, nn.Linear]:
    """A network of weights 0, learned at a rate of 1 by plain steps down the gradient."""
    schedule = ScheduleConfig(epochs=1, batch_size=128, clip_norm=norm, momentum=momentum)
    model = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = build_optimizer(model, Optimisation("sgd", 1.0, 0.0), schedule)
    return Learner(model, optimizer, schedule, precision, torch.device("cpu")), model


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("norm", [None, 0.5, 1e6])
def test_a_gradient_is_clipped_to_the_norm_that_it_has_unscaled(
    norm: float | None, precision: str
) -> None:
    learner, model = _clipped(norm, precision)
    learner.update((model.weight * torch.tensor([3.0, 4.0])).sum())  # a gradient of norm 5
    factor = min(1.0, norm / 5) if norm else 1.0
    assert model.weight[0].tolist() == pytest.approx([-3 * factor, -4 * factor], rel=1e-5)


def test_a_gradient_that_overflows_in_fp16_is_a_step_left_out_clipped_or_not() -> None:
    learner, model = _clipped(0.5, "fp16")
    learner.update(model.weight.sum() * 3e38)
    assert model.weight[0].tolist() == [0.0, 0.0]
    assert learner.scaler.get_scale() < 65536


@pytest.fixture
def noticed() -> Iterator[None]:
    """Memory that nothing was written into is NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("noticed")
@pytest.mark.parametrize("resumed", [False, True])
def test_momentum_begins_with_the_first_step_that_is_not_left_out(resumed: bool) -> None:
    weights = []
    for first in (3e38, None):
        learner, model = _clipped(None, "fp16", momentum=0.9)
        if resumed:
            learner.restore(learner.checkpoint([]) | {"optimizer": _without_state(learner)})
        for scale in (first, 1.0, 2.0):
            if scale is not None:
                learner.update(model.weight.sum() * scale)
        weights.append(model.weight[0].tolist())
    assert weights[0] == weights[1] == [pytest.approx(-1.0 - 2.9)] * 2


def _without_state(learner: Learner) -> dict[str, Any]:
    return learner.checkpoint([])["optimizer"] | {"state": {}}


def test_momentum_in_fp32_is_torchs_own() -> None:
    learner, _ = _clipped(None, "fp32", momentum=0.9)
    assert not learner.optimizer.state
