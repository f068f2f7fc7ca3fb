"""The learning rate of every step, and what `auto` and null mean for the optimiser."""

import pytest
import torch
from torch import nn

from kdlsr.config import UserError
from kdlsr.config.compose import compose_config
from kdlsr.config.schema import ScheduleConfig, read_config
from kdlsr.models import Recipe
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
    rates = [learning_rate(schedule, 0.1, epoch, 1.0) for epoch in range(200)]
    assert rates[0] == pytest.approx(0.1)  # the warm-up's last step
    for start, end, rate in ((1, 60, 0.1), (60, 120, 0.02), (120, 160, 0.004), (160, 200, 0.0008)):
        assert rates[start:end] == pytest.approx([rate] * (end - start))


def test_warm_up_rises_linearly_over_the_steps_of_the_first_epoch() -> None:
    schedule = _schedule("cifar200")
    steps = 391
    rates = [learning_rate(schedule, 0.1, 0, (m + 1) / steps) for m in range(steps)]
    assert rates == pytest.approx([0.1 * (m + 1) / steps for m in range(steps)])
    assert learning_rate(schedule, 0.1, 1, 1 / steps) == pytest.approx(0.1)


def test_the_search_schedule_is_the_beginning_of_the_full_one() -> None:
    full, search = _schedule("cifar200"), _schedule("search70")
    for epoch in range(70):
        assert learning_rate(search, 0.1, epoch, 0.5) == learning_rate(full, 0.1, epoch, 0.5)
    assert search.epochs == 70


def test_papers_schedules_scale_with_the_batch() -> None:
    imagenet = _schedule("imagenet90")
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(model, resolve_optimisation(imagenet, Recipe()), imagenet)
    group = optimizer.param_groups[0]
    assert group["lr"] == pytest.approx(0.1 * 512 / 256)
    assert group["weight_decay"] == pytest.approx(1e-4)
    assert learning_rate(imagenet, 1.0, 30, 0.5) == pytest.approx(0.1)
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
    for name in ("sgd", "adam", "adamw"):
        chosen = Optimisation(name, lr=0.1, weight_decay=0.3)
        network, learned = build_optimizer(nn.Linear(2, 2), chosen, schedule, state).param_groups
        assert [p.shape for p in learned["params"]] == [torch.Size()]
        assert (network["weight_decay"], learned["weight_decay"]) == (0.3, 0.0)
        assert network["lr"] == learned["lr"]
