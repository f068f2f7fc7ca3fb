"""A network in training, and all of it that the next epoch depends on."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from kdlsr.config.schedule import ScheduleConfig
from kdlsr.data.samples import Inputs
from kdlsr.machine.device import AUTOCAST_DTYPES
from kdlsr.training.past import Past
from kdlsr.training.record import EpochRecord
from kdlsr.training.recording import ByShape, Recorder
from kdlsr.training.snapshot import snapshot


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
        capture: whether steps work in memory that stays where it is, and are recorded on a GPU.
        tell: takes a line on what cannot be recorded.
        past: what it remembers of its own epochs; nothing, for most.
        scaler: of the gradients in fp16.
        base_lr: the rate at full strength.
        rate: that of the last step.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: ScheduleConfig
    precision: str
    device: torch.device
    loss_state: nn.Module = field(default_factory=nn.Module)
    compiled: bool = False
    capture: bool = False
    tell: Callable[[str], None] = field(default=lambda _: None)
    past: Past = field(default_factory=Past)
    scaler: torch.amp.GradScaler = field(init=False)
    base_lr: float = field(init=False)
    rate: float = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.base_lr = self.rate = float(self.optimizer.param_groups[0]["lr"])
        # Kernels of a GPU read a rate in fp32; a CPU's is the number itself.
        is_on_cpu = self.device.type == "cpu"
        dtype = torch.float64 if is_on_cpu else torch.float32
        self._rate = torch.tensor(self.rate, dtype=dtype, device=self.device)
        self._reads_rate = self.takes_rate_tensor and (self.capture or not is_on_cpu)
        self._place_rate()
        self._begin_momentum()
        recorder = Recorder(self.device, "evaluations", self.tell)
        self._answers: ByShape[Tensor] = ByShape(recorder)

    @property
    def takes_rate_tensor(self) -> bool:
        """Whether the optimiser reads its rate on the device: torch's fused ones do."""
        return bool(self.optimizer.defaults.get("fused"))

    @property
    def is_graphed(self) -> bool:
        """Whether the compiled model's kernels are CUDA graphs of the compiler's own."""
        return self.device.type == "cuda" and self.compiled and not self.capture

    def forward(self, inputs: Inputs) -> Tensor:
        """Returns logits (N, K), computed in the chosen precision.

        Those of a model in CUDA graphs of the compiler's are overwritten by the next call.
        """
        if self.is_graphed:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._logits(inputs)

    def forward_again(self, inputs: Inputs) -> Tensor:
        """Returns logits (N, K) of other inputs in the same step, without gradient.

        In training mode it moves the running statistics of normalisations as any pass does.
        """
        with torch.no_grad():
            return self._logits(inputs)

    def _logits(self, inputs: Inputs) -> Tensor:
        dtype = AUTOCAST_DTYPES.get(self.precision)
        # One that is off would take its time, and change nothing.
        autocast = torch.autocast(self.device.type, dtype=dtype) if dtype else nullcontext()
        with autocast:
            logits: Tensor = self.model(inputs)
        return logits

    def answer(self, inputs: Inputs) -> Tensor:
        """Returns logits (N, K), fp32, that last; in evaluation and inference mode."""
        if not self.capture:
            return self.forward(inputs).to(torch.float32, copy=True)
        answers = self._answers.do([inputs], (), lambda held, _: self.forward(held[0]).float())
        return answers.clone()

    def set_rate(self, rate: float) -> None:
        """Sets the learning rate of the next step."""
        self.rate = rate
        if self._reads_rate:
            self._rate.fill_(rate)
            return
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def read_rate(self, rate: Tensor) -> None:
        """Sets the learning rate of the next step to what a tensor holds by then."""
        self._rate.copy_(rate.squeeze())

    def _place_rate(self) -> None:
        """Has the optimiser read its rate from the device, where it can, in a recorded step too."""
        for group in self.optimizer.param_groups if self._reads_rate else []:
            group["lr"] = self._rate
            if "capturable" in group:
                group["capturable"] = self.device.type == "cuda"

    def _begin_momentum(self) -> None:
        """Begins SGD's momentum at 0 in fp16, where the first step may be left out.

        torch's fused one would have made its memory in that step, and not written into it.
        """
        fused = isinstance(self.optimizer, torch.optim.SGD) and self.takes_rate_tensor
        for group in self.optimizer.param_groups if fused and self.scaler.is_enabled() else []:
            for parameter in group["params"] if group["momentum"] else []:
                state = self.optimizer.state[parameter]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)

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
        """Returns everything that the next epoch depends on, and the epochs so far.

        It is a copy, on the CPU: training may go on while it is written.
        """
        states = {name: part.state_dict() for name, part in self._parts().items()}
        for group in states["optimizer"]["param_groups"]:  # on whichever device it goes on
            group |= {"lr": self.rate, **({"capturable": False} if "capturable" in group else {})}
        past = states.pop("past", None)  # what it holds is never changed: no copy is needed
        states = {**snapshot(states), **({} if past is None else {"past": past})}
        lines = "".join(record.to_line() for record in history)
        return {**states, "epoch": len(history), "history": lines}

    def restore(self, checkpoint: Mapping[str, Any]) -> list[EpochRecord]:
        """The inverse of `checkpoint`; returns the epochs so far."""
        for name, part in self._parts().items():
            part.load_state_dict(checkpoint[name])
        self.rate = float(self.optimizer.param_groups[0]["lr"])
        self._place_rate()
        self._begin_momentum()
        return [EpochRecord.from_line(line) for line in checkpoint["history"].splitlines()]
