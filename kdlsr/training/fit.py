"""The training loop: one epoch of steps, one evaluation, a record of both.

No step waits for the device: loss terms are collected on it and read at the epoch's end;
a progress display is shown what has arrived by then.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from kdlsr.config import RunFailed
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.metrics import Metrics, classification_metrics
from kdlsr.training.learner import Learner
from kdlsr.training.record import EpochRecord
from kdlsr.training.steps import TrainingSteps
from kdlsr.training.task import Task


class Observer(Protocol):
    """Sees training go by; may not change it."""

    def step(self, done: int, of: int, terms: Callable[[], Mapping[str, float]]) -> None:
        """After a step; calling `terms` gives what is known of them by now, and never waits."""

    def epoch(self, record: EpochRecord) -> None: ...


@dataclass(frozen=True)
class Predictions:
    """A network's logits (N, K), fp32, of the test samples, and of those held out if any are."""

    test: Tensor
    validation: Tensor | None


def fit(
    learner: Learner,
    task: Task,
    history: list[EpochRecord],
    until: int,
    observer: Observer,
    save: Callable[[], None],
) -> Predictions | None:
    """Trains from the epoch after the last of `history` to epoch `until`, both extended here.

    After each epoch its record is appended to `history` and `save` is called.

    Returns:
        The predictions of the last epoch, or None if there was nothing left to do.

    Raises:
        RunFailed: a loss was not finite, or the test logits are not; the message names the
            epoch (and step).
    """
    found, steps = None, TrainingSteps(learner, task)
    while len(history) < until:
        epoch = len(history)
        terms = train_epoch(steps, epoch, observer)
        learner.past.remember(learner.model)
        found = predictions(learner, task)
        if not found.test.isfinite().all():
            raise RunFailed(f"the network's test logits are not finite after epoch {epoch + 1}")
        record = _record(learner, task, epoch, terms, found)
        history.append(record)
        save()
        observer.epoch(record)
    return found


def _record(
    learner: Learner, task: Task, epoch: int, terms: Mapping[str, float], found: Predictions
) -> EpochRecord:
    record = EpochRecord(
        epoch=epoch + 1,
        lr=learner.rate,
        train=terms,
        val=metrics_on(task.validation, found.validation),
        test=metrics_of(task.test, found.test),
        more={name: metrics_of(s, predict(learner, s)) for name, s in task.more.items()},
    )
    if not task.train_metrics:
        return record
    teacher = task.teacher.on_training(task.train, epoch) if task.teacher else None
    return replace(record, train_views=on_views(learner, task.train, epoch), teacher=teacher)


def train_epoch(steps: TrainingSteps, epoch: int, observer: Observer) -> dict[str, float]:
    """Trains on every training view of `epoch` once; returns the mean of each loss term."""
    learner, task, log = steps.learner, steps.task, steps.log
    if task.teacher:
        task.teacher.begin_epoch(epoch)
    # Dropout is a function of seed and epoch alone, so that resuming needs no generator state.
    torch.manual_seed(_mix(task.init_seed, epoch))
    learner.model.train()
    for index, size in enumerate(steps.of_epoch(epoch)):
        log.count(size)
        observer.step(index + 1, len(task.train), log.latest)
    with torch.no_grad():
        task.loss.end_epoch(learner.loss_state)
    if task.teacher:
        task.teacher.end_epoch()
    log.check_finite(epoch)
    return log.means()


def predict(learner: Learner, stream: EvalStream) -> Tensor:
    """Returns the logits (N, K), fp32, of all samples of `stream`, in its order."""
    learner.model.eval()
    with torch.inference_mode():
        return stream.collect(lambda batch: learner.answer(batch.inputs))


def predictions(learner: Learner, task: Task) -> Predictions:
    """Returns what the network says of the test and of the validation samples."""
    test = predict(learner, task.test)
    return Predictions(test, predict(learner, task.validation) if task.validation else None)


def on_views(learner: Learner, train: TrainStream, epoch: int) -> Metrics:
    """Returns the metrics of the network, in evaluation mode, on the views of `epoch` (from 0).

    What a teacher is measured on too: the samples as they are would be easier.
    """
    learner.model.eval()
    with torch.inference_mode():
        found = [(learner.answer(batch.inputs), batch.labels) for batch in train.epoch(epoch)]
    logits, labels = zip(*found, strict=True)
    return classification_metrics(torch.cat(logits), torch.cat(labels))


def metrics_on(stream: EvalStream | None, logits: Tensor | None) -> Metrics | None:
    """Returns the metrics of a stream's logits (N, K); None where there are none."""
    return None if stream is None or logits is None else metrics_of(stream, logits)


def metrics_of(stream: EvalStream, logits: Tensor) -> Metrics:
    """Returns the metrics of a stream's logits (N, K)."""
    return classification_metrics(logits, stream.labels, with_f1=stream.with_f1)


def _mix(seed: int, epoch: int) -> int:
    """A seed of its own for each (seed, epoch): distinct for all epochs below a million."""
    return (seed * 1_000_003 + epoch + 1) % (2**63)
