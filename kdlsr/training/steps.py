"""The steps of an epoch: what is done to a batch, and the three ways in which batches come to it.

Plain steps are given a batch each. Planned ones make theirs of the epoch's plan, which lies on the
device with all else that differs from step to step, and count by themselves where they are: on a
GPU one is recorded whole and replayed. Copied ones are what is left of that where the host has a
hand in a batch. All three do the same arithmetic, to the same bits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from kdlsr.data.samples import Inputs, Made, PlannedViews
from kdlsr.data.stream import Batch, EpochPlan, TrainStream
from kdlsr.losses import Step
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import learning_rate
from kdlsr.training.recording import ByShape, Recorder, Recording
from kdlsr.training.task import Task
from kdlsr.training.term_log import TermLog

Take: TypeAlias = Callable[[Batch, Tensor | None, Tensor, Tensor], None]


@dataclass(frozen=True)
class Timetable:
    """What is known of an epoch's steps before the first.

    Attributes:
        rates: (steps,), of learning.
        progress: (steps,), float64, on the device: the share of the training before each.
        epoch: 0-dimensional, int64, on the device: counted from 0.
    """

    rates: list[float]
    progress: Tensor
    epoch: Tensor

    def __iter__(self) -> Iterator[tuple[float, Tensor]]:
        """Gives rate and progress of each step."""
        return zip(self.rates, self.progress.unbind(), strict=True)


class TrainingSteps:
    """A learner's steps on a task, epoch by epoch.

    Attributes:
        log: the terms of the epoch's steps so far.
    """

    def __init__(self, learner: Learner, task: Task) -> None:
        self.learner, self.task = learner, task
        self.log = TermLog(len(task.train))
        self._recorder = Recorder(learner.device, "training steps", learner.tell)
        self._planned = _PlannedSteps(learner, task.train, self._recorder)
        self._copied: ByShape[None] = ByShape(self._recorder)

    def of_epoch(self, epoch: int) -> Iterator[int]:
        """Takes the steps of an epoch (from 0); yields after each how many samples it had."""
        self.log.begin()
        task, times = self.task, self._timetable(epoch)
        plan = task.train.plan(epoch, with_partners="partner_logits" in task.loss.needs)
        if not self.learner.capture:
            return self._plain(plan, times)
        if not self.learner.takes_rate_tensor:
            self._recorder.give_up("this optimiser takes its rate from the host")
            return self._plain(plan, times)
        soft_targets = task.teacher.stored(plan.rows) if task.teacher else None
        if not (task.train.samples.on_device and isinstance(plan.views, PlannedViews)):
            self._recorder.remark("without their views, which the host has a hand in")
        elif task.teacher and soft_targets is None:
            self._recorder.remark("without views and teacher, whose outputs are not stored yet")
        else:
            return self._planned.of_epoch(plan, soft_targets, times, self.take)
        return self._copies(plan, times)

    def take(
        self, batch: Batch, soft_targets: Tensor | None, progress: Tensor, epoch: Tensor
    ) -> None:
        """Learns from a batch, at the learner's rate: work of the device alone."""
        learner, task, partners = self.learner, self.task, batch.partners
        step = Step(
            logits=learner.forward(batch.inputs),
            labels=batch.labels,
            rows=batch.rows,
            progress=progress,
            epoch=epoch,
            epochs=learner.schedule.epochs,
            soft_targets=soft_targets,
            state=learner.loss_state,
            partner_logits=None if partners is None else learner.forward_again(partners),
        )
        is_untaught = task.teacher is not None and soft_targets is None
        terms = task.loss.untaught(step) if is_untaught else task.loss(step)
        learner.update(terms["total"])
        self.log.write(terms)

    def _plain(self, plan: EpochPlan, times: Timetable) -> Iterator[int]:
        for batch, (rate, progress) in zip(self.task.train.batches(plan), times, strict=True):
            self.learner.set_rate(rate)
            soft_targets = self.task.teacher.logits(batch) if self.task.teacher else None
            self.take(batch, soft_targets, progress, times.epoch)
            yield len(batch.labels)

    def _copies(self, plan: EpochPlan, times: Timetable) -> Iterator[int]:
        for batch, (rate, progress) in zip(self.task.train.batches(plan), times, strict=True):
            self.learner.set_rate(rate)
            soft_targets = self.task.teacher.logits(batch) if self.task.teacher else None
            others = [batch.labels, batch.rows, progress, times.epoch]
            others += [] if soft_targets is None else [soft_targets]
            inputs = [batch.inputs] if batch.partners is None else [batch.inputs, batch.partners]
            self._copied.do(inputs, others, self._take_copied)
            yield len(batch.labels)

    def _take_copied(self, inputs: Sequence[Inputs], others: Sequence[Tensor]) -> None:
        (views, *partners), (labels, rows, progress, epoch, *soft_targets) = inputs, others
        batch = Batch(views, labels, rows, partners[0] if partners else None)
        self.take(batch, soft_targets[0] if soft_targets else None, progress, epoch)

    def _timetable(self, epoch: int) -> Timetable:
        schedule, steps, device = self.learner.schedule, len(self.task.train), self.learner.device
        base = self.learner.base_lr
        rates = [learning_rate(schedule, base, epoch, index, steps) for index in range(steps)]
        shares = [(epoch + index / steps) / schedule.epochs for index in range(steps)]
        progress = torch.tensor(shares, dtype=torch.float64, device=device)
        return Timetable(rates, progress, torch.tensor(epoch, device=device))


class _PlannedSteps:
    """Steps that find on the device all that they need, and count there where they are.

    What differs from epoch to epoch is put into the same memory, so that a step recorded in one
    is a step of every other.
    """

    def __init__(self, learner: Learner, train: TrainStream, recorder: Recorder) -> None:
        self._learner, self._train, self._recorder = learner, train, recorder
        self._recordings: dict[int, Recording[None]] = {}  # by the number of samples
        self._held: dict[str, Tensor] = {}
        self._within = torch.arange(train.batch_size, device=recorder.device)
        self._views, self._partners = _HeldViews(), _HeldViews()

    def of_epoch(
        self, plan: EpochPlan, soft_targets: Tensor | None, times: Timetable, take: Take
    ) -> Iterator[int]:
        """Takes the steps of an epoch, of planned views, with its rows' soft targets (n, K)."""
        rows = plan.rows
        rates = torch.tensor(times.rates, dtype=torch.float64, device=rows.device)
        self._hold(rows=rows, rates=rates, progress=times.progress, epoch=times.epoch)
        self._hold(index=rows.new_zeros(1))
        if soft_targets is not None:
            self._hold(soft_targets=soft_targets)
        self._views.put(plan.views)
        self._partners.put(plan.partners)
        size = self._train.batch_size
        for index, start in enumerate(range(0, len(rows), size)):
            count = min(size, len(rows) - start)
            recording = self._recordings.setdefault(count, Recording(self._recorder))
            recording.do(partial(self._next, count, take))
            self._learner.rate = times.rates[index]
            yield count

    def _hold(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            if name in self._held:
                self._held[name].copy_(tensor)
            else:
                self._held[name] = tensor.clone()

    def _next(self, count: int, take: Take) -> None:
        """Takes the next step, of `count` samples, and counts it."""
        held, index = self._held, self._held["index"]
        places = index * self._train.batch_size + self._within[:count]
        rows = held["rows"].index_select(0, places)
        labels = self._train.samples.labels.index_select(0, rows)
        soft = held.get("soft_targets")
        soft = None if soft is None else soft.index_select(0, places).to(torch.float32)
        progress = held["progress"].index_select(0, index).squeeze()
        self._learner.read_rate(held["rates"].index_select(0, index))
        views = self._views.of(places)
        assert views is not None
        batch = Batch(views, labels, rows, self._partners.of(places))
        take(batch, soft, progress, held["epoch"])
        index += 1


class _HeldViews:
    """Views whose plan stays where it is, each epoch's in the place of the one before; or none."""

    def __init__(self) -> None:
        self._plan: list[Tensor] | None = None
        self._make: Callable[[Sequence[Tensor]], Tensor]

    def put(self, views: Made | None) -> None:
        """Takes an epoch's views, if there are some."""
        if not isinstance(views, PlannedViews):
            return
        if self._plan is None:
            self._plan = [columns.clone() for columns in views.plan]
        for held, columns in zip(self._plan, views.plan, strict=True):
            held.copy_(columns)
        self._make = views.make

    def of(self, places: Tensor) -> Tensor | None:
        """Returns the views (B, ...) at places (B,) of the epoch."""
        if self._plan is None:
            return None
        return self._make([columns.index_select(1, places) for columns in self._plan])
