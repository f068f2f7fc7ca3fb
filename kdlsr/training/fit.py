"""The training loop: one epoch of steps, one evaluation, and the state between epochs.

No step waits for the device: loss terms are collected on it and read at the epoch's end
(or when a progress display asks, at most a few times a second).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kdlsr.config import RunFailed
from kdlsr.config.schema import ScheduleConfig
from kdlsr.data.stream import Batch, EvalStream, Inputs, TrainStream
from kdlsr.losses import Loss
from kdlsr.metrics import classification_metrics
from kdlsr.training.hardware import AUTOCAST_DTYPES
from kdlsr.training.optimisation import learning_rate

Record = dict[str, Any]  # one epoch's line of metrics.jsonl
TERMS = ("hard", "soft", "total")


class SoftTargets(Protocol):
    """What `teachers/` gives: logits for a batch of views, rounded to the teacher's dtype."""

    def begin_epoch(self, epoch: int) -> None:
        """Before the first batch of an epoch, counted from 0."""

    def logits(self, batch: Batch) -> Tensor:
        """Logits (B, K) for the epoch's next batch: all are asked for, in their order."""

    def end_epoch(self) -> None:
        """Raises RunFailed if any of the epoch's logits were out of the dtype's range."""


class Observer(Protocol):
    """Sees training go by; may not change it."""

    def step(self, done: int, of: int, terms: Callable[[], Mapping[str, float]]) -> None:
        """After a step; calling `terms` waits for the device."""

    def epoch(self, record: Record) -> None: ...


@dataclass
class Learner:
    """A network in training: weights, optimiser, arithmetic."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: ScheduleConfig
    precision: str
    device: torch.device
    scaler: torch.amp.GradScaler = field(init=False)
    base_lr: float = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.base_lr = self.optimizer.param_groups[0]["lr"]

    @property
    def is_graphed(self) -> bool:
        """Whether the model's kernels are replayed as CUDA graphs."""
        return self.device.type == "cuda" and self.model._compiled_call_impl is not None

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

    def set_rate(self, rate: float) -> None:
        """Sets the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def update(self, loss: Tensor) -> None:
        """One step of the optimiser down the gradient of `loss`."""
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()


@dataclass
class Task:
    """What is learnt from what: the data, the loss and, where it needs one, the teacher."""

    train: TrainStream
    test: EvalStream
    validation: EvalStream | None
    loss: Loss
    teacher: SoftTargets | None
    init_seed: int


def fit(
    learner: Learner,
    task: Task,
    history: list[Record],
    until: int,
    observer: Observer,
    save: Callable[[], None],
) -> Tensor | None:
    """Trains from the epoch after the last of `history` to epoch `until`, both extended here.

    After each epoch its record is appended to `history` and `save` is called.

    Returns:
        The test logits (N, K) of the last epoch, or None if there was nothing left to do.

    Raises:
        RunFailed: a loss was not finite, or the test logits are not; the message names the
            epoch (and step).
    """
    logits = None
    while len(history) < until:
        epoch = len(history)
        terms = train_epoch(learner, task, epoch, observer)
        logits = predict(learner, task.test)
        if not logits.isfinite().all():
            raise RunFailed(f"the network's test logits are not finite after epoch {epoch + 1}")
        history.append(
            {
                "epoch": epoch + 1,
                "lr": learner.optimizer.param_groups[0]["lr"],
                "train": terms,
                "val": _validation_metrics(learner, task.validation),
                "test": classification_metrics(logits, task.test.labels),
            }
        )
        save()
        observer.epoch(history[-1])
    return logits


def train_epoch(learner: Learner, task: Task, epoch: int, observer: Observer) -> dict[str, float]:
    """Trains on every training view of `epoch` once; returns the mean of each loss term."""
    if task.teacher:
        task.teacher.begin_epoch(epoch)
    # Dropout is a function of seed and epoch alone, so that resuming needs no generator state.
    torch.manual_seed(_mix(task.init_seed, epoch))
    learner.model.train()
    steps = len(task.train)
    log = _TermLog(steps, learner.device)
    for step, batch in enumerate(task.train.epoch(epoch)):
        learner.set_rate(
            learning_rate(learner.schedule, learner.base_lr, epoch, (step + 1) / steps)
        )
        soft_targets = task.teacher.logits(batch) if task.teacher else None
        terms = task.loss(learner.forward(batch.inputs), batch.labels, soft_targets)
        learner.update(terms.total)
        log.add(terms, len(batch.labels))
        observer.step(step + 1, steps, log.means)
    if task.teacher:
        task.teacher.end_epoch()
    log.check_finite(epoch)
    return log.means()


def predict(learner: Learner, stream: EvalStream) -> Tensor:
    """Returns the logits (N, K), fp32, of all images of `stream`, in its order."""
    learner.model.eval()
    with torch.inference_mode():
        copies = [learner.forward(b.inputs).to(torch.float32, copy=True) for b in stream]
        return torch.cat(copies)


def _validation_metrics(learner: Learner, stream: EvalStream | None) -> Record | None:
    if stream is None:
        return None
    return dict(classification_metrics(predict(learner, stream), stream.labels))


class _TermLog:
    """The loss terms of an epoch's steps, kept on the device until they are asked for."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self._terms = torch.zeros(steps, len(TERMS), device=device)
        self._sizes: list[int] = []

    def add(self, terms: Any, size: int) -> None:
        row = torch.stack([getattr(terms, name).detach() for name in TERMS])
        self._terms[len(self._sizes)] = row
        self._sizes.append(size)

    def means(self) -> dict[str, float]:
        """Means over samples so far; waits for the device."""
        terms = self._terms[: len(self._sizes)].cpu().double()
        weights = torch.tensor(self._sizes, dtype=torch.float64)
        means = (terms * weights[:, None]).sum(0) / weights.sum()
        return dict(zip(TERMS, means.tolist(), strict=True))

    def check_finite(self, epoch: int) -> None:
        finite = self._terms.isfinite().all(dim=1).cpu()
        if not finite.all():
            step = int(torch.nonzero(~finite)[0, 0])
            values = dict(zip(TERMS, self._terms[step].tolist(), strict=True))
            raise RunFailed(
                f"the loss is not finite at step {step + 1} of epoch {epoch + 1}: "
                + ", ".join(f"{name} {value:g}" for name, value in values.items())
            )


def _mix(seed: int, epoch: int) -> int:
    """A seed of its own for each (seed, epoch): distinct for all epochs below a million."""
    return (seed * 1_000_003 + epoch + 1) % (2**63)


def best_epoch(history: list[Record], split: str) -> int:
    """Returns the epoch of the highest top-1 on `split` (`test`, `val`); ties: the later."""
    return max(history, key=lambda record: (record[split]["top1"], record["epoch"]))["epoch"]  # type: ignore[no-any-return]


def training_state(learner: Learner, history: list[Record]) -> dict[str, Any]:
    """Returns everything that the next epoch depends on, for a checkpoint."""
    return {
        "model": learner.model.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "scaler": learner.scaler.state_dict(),
        "epoch": len(history),
        "history": json.dumps(history),
    }


def restore_training_state(learner: Learner, state: Mapping[str, Any]) -> list[Record]:
    """The inverse of `training_state`; returns the history."""
    learner.model.load_state_dict(state["model"])
    learner.optimizer.load_state_dict(state["optimizer"])
    learner.scaler.load_state_dict(state["scaler"])
    history: list[Record] = json.loads(state["history"])
    return history
