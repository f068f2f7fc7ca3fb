"""The optimiser by name and its rate step by step (Yuan et al. 2020, text and released code)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kdlsr.config import UserError, nearest
from kdlsr.config.schema import ScheduleConfig
from kdlsr.models import Recipe


@dataclass(frozen=True)
class Optimisation:
    """A schedule with everything that was `auto` or null filled in."""

    optimizer: str
    lr: float
    weight_decay: float


def resolve_optimisation(schedule: ScheduleConfig, recipe: Recipe) -> Optimisation:
    """Fills in optimiser, rate and weight decay: set by the user, by the model, by SGD's own.

    Raises:
        UserError: no optimiser of that name in torch's SGD and Adam or in timm.
    """
    own = schedule.optimizer == "auto"
    name = recipe.optimizer if own else schedule.optimizer
    lr, weight_decay = schedule.lr, schedule.weight_decay
    if own:
        lr = recipe.lr if lr is None else lr
        weight_decay = recipe.weight_decay if weight_decay is None else weight_decay
    if name != "sgd" and lr is None:
        raise UserError(f"schedule.optimizer={name} needs schedule.lr (sgd.lr is for SGD)")
    if name not in ("sgd", "adam"):
        _check_timm_name(name)
    return Optimisation(
        optimizer=name,
        lr=schedule.sgd.lr if lr is None else lr,
        weight_decay=schedule.sgd.weight_decay if weight_decay is None else weight_decay,
    )


def _check_timm_name(name: str) -> None:
    from timm.optim import list_optimizers

    known = ["auto", "sgd", "adam", *list_optimizers()]
    if name not in known:
        raise UserError(f"schedule.optimizer={name}: no such optimiser{nearest(name, known)}")


def build_optimizer(
    model: nn.Module,
    chosen: Optimisation,
    schedule: ScheduleConfig,
    loss_state: nn.Module | None = None,
) -> torch.optim.Optimizer:
    """Returns the optimiser over all of the model's parameters, decay on every one of them.

    What a loss learns (the parameters of `loss_state`) is learned at the same rate, without
    decay: it would pull a temperature or a weight to 0.

    SGD and Adam are torch's fused ones, which do the same arithmetic in one pass and, under
    fp16, need no host synchronisation.
    """
    parameters: list[dict[str, Any]] = [{"params": _learned(model)}]
    if loss_state is not None and _learned(loss_state):
        parameters.append({"params": _learned(loss_state), "weight_decay": 0.0})
    rate = chosen.lr * schedule.batch_size / schedule.lr_batch_size
    if chosen.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=rate,
            momentum=schedule.momentum,
            weight_decay=chosen.weight_decay,
            nesterov=schedule.nesterov,
            fused=True,
        )
    if chosen.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=chosen.weight_decay, fused=True)
    from timm.optim import create_optimizer_v2

    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        parameters,
        opt=chosen.optimizer,
        lr=rate,
        weight_decay=chosen.weight_decay,
        momentum=schedule.momentum,
        filter_bias_and_bn=False,
    )
    return optimizer


def _learned(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def learning_rate(schedule: ScheduleConfig, base: float, epoch: int, progress: float) -> float:
    """Returns the rate of one step.

    Args:
        schedule: milestones, gamma, warm-up.
        base: the rate at full strength, already scaled to the batch size.
        epoch: completed epochs before this step's (0 in the first).
        progress: share of this epoch's steps done with this one, in (0, 1].

    Returns:
        base x (position in the warm-up, at most 1) x gamma^(milestones passed). The first
        step of a warm-up of one epoch of S steps has base / S, the last one base.
    """
    passed = sum(epoch >= milestone for milestone in schedule.milestones)
    rate = float(base * schedule.gamma**passed)
    if epoch < schedule.warmup_epochs:
        rate *= (epoch + progress) / schedule.warmup_epochs
    return rate
