"""What evaluating in fp32 costs a run in bf16, and how far bf16 moves its accuracy.

    python tests/benchmarks/evaluation.py cost [--models resnet8 resnet18] [--rounds 5]
    python tests/benchmarks/evaluation.py accuracy ROOT [--model resnet8] [--epochs 4] [--seeds 3]

`cost` times training in bf16 and evaluation in bf16, in fp32, and in bf16 with the last layer in
fp32 (as the program does), in turns, by processor time in one thread, on made images of 32x32;
shares are of a run with 5 training images for each test image (CIFAR). `accuracy` trains on a
subset of an image folder and evaluates the same weights after each epoch in each of the three
ways. The last line is one JSON object.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from machine import describe
from ours import SIZE, Unobserved, image_samples, made_images
from torch import Tensor, nn
from turns import Contestant, finish, in_turns, show

from kdlsr.config.inputs import ImageSpec
from kdlsr.config.schedule import ScheduleConfig
from kdlsr.config.schema import DatasetConfig
from kdlsr.data.dataset import quiet
from kdlsr.data.prepare import load_streams
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.losses import build_loss
from kdlsr.models import Recipe, build_model
from kdlsr.training.fit import predict, train_epoch
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer, resolve_optimisation
from kdlsr.training.steps import TrainingSteps
from kdlsr.training.task import Task

CPU = torch.device("cpu")
PER_TEST_IMAGE = 5  # training images of CIFAR
COST_IMAGES = 1000


def learner_of(model: str, classes: int, schedule: ScheduleConfig) -> Learner:
    network = build_model(model, {}, spec=ImageSpec(SIZE, SIZE, 3), num_classes=classes)
    network = network.to(memory_format=torch.channels_last)
    optimizer = build_optimizer(network, resolve_optimisation(schedule, Recipe()), schedule)
    return Learner(network, optimizer, schedule, "bf16", CPU)


def task_of(train: TrainStream, test: EvalStream, classes: int) -> Task:
    return Task(train, test, None, build_loss("ce", {}, classes), None, 0)


@contextmanager
def evaluated(learner: Learner, how: str) -> Iterator[None]:
    """Evaluation in `bf16`, in `fp32`, or with the `fp32 classifier` alone, as it is."""
    last = [m for m in learner.model.modules() if isinstance(m, nn.Linear)][-1]
    forward, before = last.forward, learner.precision
    try:
        if how == "fp32":
            learner.precision = "fp32"
        elif how == "bf16":
            last.forward = functools.partial(nn.Linear.forward, last)  # type: ignore[method-assign]
        yield
    finally:
        learner.precision = before
        last.forward = forward  # type: ignore[method-assign]


WAYS = ("bf16", "fp32", "fp32 classifier")


def predicted(learner: Learner, stream: EvalStream, how: str) -> Tensor:
    with evaluated(learner, how):
        return predict(learner, stream)


def contestants_of(name: str) -> dict[str, Contestant]:
    samples, rows = image_samples(*made_images(COST_IMAGES), CPU), np.arange(COST_IMAGES)
    learner = learner_of(name, 100, ScheduleConfig(epochs=1000))
    test = EvalStream(samples, rows)
    task = task_of(TrainStream(samples, rows, 0, 128), test, 100)

    def evaluation(how: str) -> Contestant:
        return Contestant(lambda: predicted(learner, test, how), COST_IMAGES)

    steps = TrainingSteps(learner, task)
    training = Contestant(lambda: train_epoch(steps, 0, Unobserved()), COST_IMAGES)
    return {"train": training} | {how: evaluation(how) for how in WAYS}


def cost(models: list[str], rounds: int) -> dict[str, float]:
    results = {}
    for name in models:
        print(name)
        found = in_turns(contestants_of(name), rounds, time.process_time)
        show(found)
        seconds = {key: 1 / statistics.median(values) for key, values in found.items()}
        training = PER_TEST_IMAGE * seconds["train"]
        now = training + seconds["bf16"]
        results[f"{name}_evaluation_share"] = seconds["bf16"] / now
        for how in WAYS[1:]:
            results[f"{name}_{how}_costs"] = (training + seconds[how]) / now - 1
    return results


def accuracy(root: Path, model: str, epochs: int, seeds: int, subset: int) -> dict[str, float]:
    options = {"root": str(root)}
    config = DatasetConfig(name="image_folder", views="cifar", subset=subset, options=options)
    moved: dict[str, list[float]] = {how: [] for how in WAYS}
    ties, turned, predictions = dict.fromkeys(WAYS, 0), dict.fromkeys(WAYS, 0), 0
    for seed in range(seeds):
        torch.manual_seed(seed)
        streams = load_streams(config, data_seed=seed, batch_size=128, device=CPU, progress=quiet)
        learner = learner_of(model, 10, ScheduleConfig(epochs=epochs, milestones=(epochs - 1,)))
        task, labels = task_of(streams.train, streams.test, 10), streams.test.labels
        steps = TrainingSteps(learner, task)
        for epoch in range(epochs):
            train_epoch(steps, epoch, Unobserved())
            logits = {how: predicted(learner, streams.test, how) for how in WAYS}
            classes = {how: found.argmax(1) for how, found in logits.items()}
            top1 = {h: 100 * float((c == labels).double().mean()) for h, c in classes.items()}
            for how in WAYS:
                first, second = logits[how].topk(2).values.unbind(1)
                ties[how] += int((first == second).sum())
                turned[how] += int((classes[how] != classes["fp32"]).sum())
                moved[how].append(top1[how] - top1["fp32"])
            predictions += len(labels)
            shown = ", ".join(f"{how} {value:.2f}" for how, value in top1.items())
            print(f"seed {seed}, epoch {epoch + 1}: {shown}", flush=True)
    results: dict[str, float] = {"predictions": predictions}
    for how in ("bf16", "fp32 classifier"):
        results[f"{how}_deviation"] = statistics.pstdev(moved[how])
        results[f"{how}_largest"] = max(map(abs, moved[how]))
        results |= {f"{how}_ties": ties[how], f"{how}_other_class": turned[how]}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["cost", "accuracy"])
    parser.add_argument("root", type=Path, nargs="?", help="of an image folder, for accuracy")
    parser.add_argument("--models", nargs="+", default=["resnet8", "resnet18"])
    parser.add_argument("--model", default="resnet8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--subset", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(describe(), "1 thread", sep="; ")
    if options.what == "cost":
        finish(cost(options.models, options.rounds))
    else:
        finish(accuracy(options.root, options.model, options.epochs, options.seeds, options.subset))


if __name__ == "__main__":
    main()
