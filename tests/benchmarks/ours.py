"""Our training step on made images, as a run has it: the loop of `kdlsr.training.fit`."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.config.schedule import ScheduleConfig
from kdlsr.data import Images
from kdlsr.data.normalisation import Normalisation
from kdlsr.data.recipe import read_recipe
from kdlsr.data.samples import Samples
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.losses import build_loss
from kdlsr.models import Recipe, build_model
from kdlsr.teachers.network import TeacherNetwork
from kdlsr.teachers.outputs import OutputStore, epoch_part
from kdlsr.teachers.soft_targets import SoftTargets as StoredSoftTargets
from kdlsr.training.compiling import compile_model
from kdlsr.training.fit import train_epoch
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer, resolve_optimisation
from kdlsr.training.steps import TrainingSteps
from kdlsr.training.task import SoftTargets, Task

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


def stored_teacher(samples: int, epochs: int, device: torch.device) -> StoredSoftTargets:
    """Returns a teacher all of whose outputs, made ones, are stored: it has no network."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    outputs = OutputStore(Path(folder), "made", {}, limit_gb=1.0, tell=print)
    shape = (samples, CLASSES)
    logits = np.random.default_rng(0).standard_normal(shape).astype(np.float16)
    for epoch in range(epochs):
        outputs.write(epoch_part(epoch), logits)
    rows = np.arange(samples)
    return StoredSoftTargets(_no_network, outputs, rows, samples, CLASSES, "float16", device)


def _no_network() -> TeacherNetwork:
    raise AssertionError("an output of a stored teacher is missing")


def network(name: str) -> nn.Module:
    """Returns a network with the same weights each time."""
    torch.manual_seed(0)
    return build_model(name, {}, spec=ImageSpec(SIZE, SIZE, 3), num_classes=CLASSES)


def made_images(count: int, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Returns random pixels (count, 32, 32, 3), uint8, and labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    return pixels, rng.integers(0, classes, count)


def our_learner(
    name: str,
    precision: str,
    batch: int,
    device: torch.device,
    compiled: bool = False,
    capture: bool | None = None,
) -> Learner:
    """Returns a network in training, as a run makes it; recorded, unless said, on a GPU."""
    capture = device.type == "cuda" if capture is None else capture
    schedule = ScheduleConfig(epochs=FOREVER, batch_size=batch)
    model = network(name).to(device, memory_format=torch.channels_last)
    if compiled:
        compile_model(model, device, captured=capture)
    optimizer = build_optimizer(model, resolve_optimisation(schedule, Recipe()), schedule)
    return Learner(
        model,
        optimizer,
        schedule,
        precision,
        device,
        compiled=compiled,
        capture=capture,
        tell=lambda line: print(line, flush=True),
    )


def image_samples(pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Samples:
    """Returns made images as kdlsr holds CIFAR's, with the papers' views."""
    spec, normalisation = ImageSpec(*pixels.shape[1:]), Normalisation(MEAN, STD)
    return Images(pixels, labels).samples(spec, normalisation, read_recipe("cifar"), device)


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
    samples = image_samples(pixels, labels, device)
    everything = np.arange(count)
    return Task(
        train=TrainStream(samples, everything, 0, batch),
        test=EvalStream(samples, everything[:batch]),
        validation=None,
        loss=build_loss(loss, options or {}, CLASSES),
        teacher=teacher,
        init_seed=0,
    )


def epochs_of(learner: Learner, task: Task) -> Callable[[], object]:
    """Returns what trains one epoch more each time it is called."""
    epoch = iter(range(FOREVER))
    steps = TrainingSteps(learner, task)
    return lambda: train_epoch(steps, next(epoch), Unobserved())
