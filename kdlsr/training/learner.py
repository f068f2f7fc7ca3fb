"""A network in training, and all of it that the next epoch depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdlsr.config.schedule import ScheduleConfig
from kdlsr.data.samples import Inputs
from kdlsr.machine.device import AUTOCAST_DTYPES
from kdlsr.training.past import Past
from kdlsr.training.record import EpochRecord


@dataclass
class Learner:
    """What is learned, and how: weights, optimiser, arithmetic.

    Attributes:
        model: the network.
        optimizer: over the parameters of the network and of `loss_state`.
        schedule: of its rate.
        precision: of the network's arithmetic: fp32, bf16 or fp16.
        device: where all of it is.
        loss_state: what its loss keeps from step to step and learns; empty for most.
        compiled: whether the model is.
        past: what it remembers of its own epochs; nothing, for most.
        scaler: of the gradients in fp16.
        base_lr: the rate at full strength.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: ScheduleConfig
    precision: str
    device: torch.device
    loss_state: nn.Module = field(default_factory=nn.Module)
    compiled: bool = False
    past: Past = field(default_factory=Past)
    scaler: torch.amp.GradScaler = field(init=False)
    base_lr: float = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.base_lr = self.optimizer.param_groups[0]["lr"]

    @property
    def is_graphed(self) -> bool:
        """Whether the model's kernels are replayed as CUDA graphs."""
        return self.device.type == "cuda" and self.compiled

    def forward(self, inputs: Inputs) -> Tensor:
        """Returns logits (N, K), computed in the chosen precision.

        On a GPU those of a compiled model are overwritten by the next call.
        """
        if self.is_graphed:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        dtype = AUTOCAST_DTYPES.get(self.precision)
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            logits: Tensor = self.model(inputs)
        return logits

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_rate(self, rate: float) -> None:
        """Sets the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def update(self, loss: Tensor) -> None:
        """One step of the optimiser down the gradient of `loss`."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.schedule.clip_norm is not None:
            self._clip(self.schedule.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _clip(self, norm: float) -> None:
        """Shrinks the network's gradient to a norm, if it is longer; the host does not wait.

        In fp16 a gradient that is not finite becomes NaN here, in a step that the scaler leaves
        out: it has looked at the gradient before.
        """
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), norm)

    def _parts(self) -> dict[str, Any]:
        """What has a state, by its name in a checkpoint."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
            "loss": self.loss_state,
            **({"past": self.past} if self.past.depth else {}),
        }

    def checkpoint(self, history: Sequence[EpochRecord]) -> dict[str, Any]:
        """Returns everything that the next epoch depends on, and the epochs so far."""
        states = {name: part.state_dict() for name, part in self._parts().items()}
        lines = "".join(record.to_line() for record in history)
        return {**states, "epoch": len(history), "history": lines}

    def restore(self, checkpoint: Mapping[str, Any]) -> list[EpochRecord]:
        """The inverse of `checkpoint`; returns the epochs so far."""
        for name, part in self._parts().items():
            part.load_state_dict(checkpoint[name])
        return [EpochRecord.from_line(line) for line in checkpoint["history"].splitlines()]
