"""The optimiser by name and its rate step by step.

Steps and milestones as in Yuan et al. 2020 (text and released code); AdamW with a line to 0 and
a clipped gradient as GLUE's recipes have them, which is common practice and no one paper's.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kdlsr.config import UserError, nearest
from kdlsr.config.schedule import ScheduleConfig
from kdlsr.models import Recipe

OURS = ("sgd", "adam", "adamw")  # torch's; every other name is timm's


@dataclass(frozen=True)
class Optimisation:
    """A schedule with everything that was `auto` or null filled in."""

    optimizer: str
    lr: float
    weight_decay: float


def resolve_optimisation(schedule: ScheduleConfig, recipe: Recipe) -> Optimisation:
    """Fills in optimiser, rate and weight decay: set by the user, by the model, by SGD's own.

    Raises:
        UserError: no optimiser of that name in torch's SGD, Adam and AdamW or in timm.
    """
    own = schedule.optimizer == "auto"
    name = recipe.optimizer if own else schedule.optimizer
    lr, weight_decay = schedule.lr, schedule.weight_decay
    if own:
        lr = recipe.lr if lr is None else lr
        weight_decay = recipe.weight_decay if weight_decay is None else weight_decay
    if name != "sgd" and lr is None:
        raise UserError(f"schedule.optimizer={name} needs schedule.lr (sgd.lr is for SGD)")
    if name not in OURS:
        _check_timm_name(name)
    return Optimisation(
        optimizer=name,
        lr=schedule.sgd.lr if lr is None else lr,
        weight_decay=schedule.sgd.weight_decay if weight_decay is None else weight_decay,
    )


def _check_timm_name(name: str) -> None:
    from timm.optim import list_optimizers

    known = ["auto", *OURS, *list_optimizers()]
    if name not in known:
        raise UserError(f"schedule.optimizer={name}: no such optimiser{nearest(name, known)}")


def schedule_identity(schedule: ScheduleConfig, chosen: Optimisation) -> dict[str, Any]:
    """Returns what of a schedule moves a run's numbers, its optimiser resolved.

    Fields younger than runs that are there are left out at their default, and whole epochs of
    warm-up are a whole number, as they were when there were no others.
    """
    identity = dataclasses.asdict(schedule)
    del identity["sgd"]
    for younger in ("decay", "clip_norm"):
        if identity[younger] == getattr(ScheduleConfig, younger):
            del identity[younger]
    if schedule.warmup_epochs.is_integer():
        identity["warmup_epochs"] = int(schedule.warmup_epochs)
    # An AdamW of timm's, which the name once chose, decayed every parameter.
    decayed = {"decayed": "matrices"} if chosen.optimizer == "adamw" else {}
    return identity | vars(chosen) | decayed


def build_optimizer(
    model: nn.Module,
    chosen: Optimisation,
    schedule: ScheduleConfig,
    loss_state: nn.Module | None = None,
    *,
    decays_state: bool = False,
) -> torch.optim.Optimizer:
    """Returns the optimiser over all of the model's parameters.

    Weight decay is on every one of them, with AdamW on those of two dimensions and more alone:
    neither on biases nor on normalisations. What a loss learns (the parameters of `loss_state`)
    is learned at the same rate, without decay, which would pull a temperature or a weight to 0,
    unless the loss has it so (`decays_state`).

    SGD, Adam and AdamW are torch's fused ones, which do the same arithmetic in one pass and,
    under fp16, need no host synchronisation.
    """
    learned = _learned(model)
    decayed = [p for p in learned if p.ndim > 1] if chosen.optimizer == "adamw" else learned
    others = [p for p in learned if p.ndim <= 1] if chosen.optimizer == "adamw" else []
    parameters: list[dict[str, Any]] = [{"params": decayed}]
    of_loss = _learned(loss_state) if loss_state is not None else []
    for free, is_decayed in ((others, False), (of_loss, decays_state)):
        if free:
            own = {} if is_decayed else {"weight_decay": 0.0}
            parameters.append({"params": free, **own})
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
    if chosen.optimizer in OURS:
        kind = torch.optim.Adam if chosen.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, lr=rate, weight_decay=chosen.weight_decay, fused=True)
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


def learning_rate(
    schedule: ScheduleConfig, base: float, epoch: int, step: int, steps: int
) -> float:
    """Returns the rate of one step.

    Args:
        schedule: milestones and gamma, or a line; warm-up.
        base: the rate at full strength, already scaled to the batch size.
        epoch: completed epochs before this step's (0 in the first).
        step: completed steps of this epoch before it.
        steps: of this epoch.

    Returns:
        base x (position in the warm-up, at most 1) x the decay. With E epochs of S steps, W of
        them for the warm-up, and t steps completed before this one:

        - warm-up: (t + 1) / (W S). Its first step has base / (W S), its last one base.
        - `step`: gamma^(milestones passed).
        - `linear`: (E S - t) / (E S - W S) from the warm-up's end on. The first step after it has
          base, the last of all base / (E S - W S): the line is at 0 one step after the end.
    """
    done = epoch + step / steps
    rate = base * _decay(schedule, epoch, done)
    if schedule.warmup_epochs:
        rate *= min(1.0, (epoch + (step + 1) / steps) / schedule.warmup_epochs)
    return rate


def _decay(schedule: ScheduleConfig, epoch: int, done: float) -> float:
    if schedule.decay == "linear":
        left = (schedule.epochs - done) / (schedule.epochs - schedule.warmup_epochs)
        return min(1.0, left)
    passed = sum(epoch >= milestone for milestone in schedule.milestones)
    return float(schedule.gamma**passed)
