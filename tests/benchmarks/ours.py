"""Our training step on made images, as a run has it: the loop of `kdlsr.training.fit`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdlsr.config.schema import ScheduleConfig
from kdlsr.data.stream import Batch, EvalStream, TrainStream
from kdlsr.data.views import ViewMaker, recipe
from kdlsr.losses import build_loss
from kdlsr.models import Recipe, build_model
from kdlsr.training.fit import Learner, SoftTargets, Task, train_epoch
from kdlsr.training.optimisation import build_optimizer, resolve_optimisation

CLASSES, SIZE = 100, 32
# CIFAR-100's, as the released code has them.
MEAN, STD = (0.50707, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615)
FOREVER = 10**6


class Unobserved:
    """An observer that looks away, as in a run without a terminal."""

    def step(self, done: int, of: int, terms: Callable[[], Any]) -> None:
        """Nothing to see."""

    def epoch(self, record: Any) -> None:
        """Nothing to see."""


class Replayed:
    """Teacher outputs that are known beforehand: fp16 logits by sample, as a store keeps them."""

    def __init__(self, samples: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(samples, CLASSES, generator=generator)
        self._logits = logits.half().to(device)

    def logits(self, batch: Batch) -> Tensor:
        return self._logits.index_select(0, batch.indices).float()

    def begin_epoch(self, epoch: int) -> None:
        """The same outputs serve every epoch."""

    def end_epoch(self) -> None:
        """They were checked as they were stored."""

    def check(self) -> None:
        """Likewise."""


def network(name: str) -> nn.Module:
    """Returns a network with the same weights each time."""
    torch.manual_seed(0)
    return build_model(name, {}, num_classes=CLASSES, in_channels=3, image_size=(SIZE, SIZE))


def made_images(count: int, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Returns random pixels (count, 32, 32, 3), uint8, and labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return pixels, rng.integers(0, classes, count)


def our_learner(
    name: str, precision: str, batch: int, device: torch.device, compiled: bool = False
) -> Learner:
    """Returns a network in training, as a run makes it."""
    schedule = ScheduleConfig(epochs=FOREVER, batch_size=batch)
    model = network(name).to(device, memory_format=torch.channels_last)
    if compiled:
        model.compile()
    optimizer = build_optimizer(model, resolve_optimisation(schedule, Recipe()), schedule)
    return Learner(model, optimizer, schedule, precision, device)


def our_task(
    count: int,
    batch: int,
    device: torch.device,
    loss: str = "ce",
    options: dict[str, Any] | None = None,
    teacher: SoftTargets | None = None,
) -> Task:
    """Returns what is learnt, on `count` made images."""
    pixels, labels = made_images(count)
    maker = ViewMaker(pixels, MEAN, STD, device)
    everything = np.arange(count)
    return Task(
        train=TrainStream(maker, labels, everything, recipe("cifar"), 0, batch),
        test=EvalStream(maker, labels, everything[:batch], batch),
        validation=None,
        loss=build_loss(loss, options or {}, CLASSES),
        teacher=teacher,
        init_seed=0,
    )


def epochs_of(learner: Learner, task: Task) -> Callable[[], object]:
    """Returns what trains one epoch more each time it is called."""
    epoch = iter(range(FOREVER))
    return lambda: train_epoch(learner, task, next(epoch), Unobserved())
