"""How fast the fit loop is, against a bare PyTorch loop of the same network and arithmetic.

    python tests/benchmarks/loop.py

Both train the same network on the same synthetic images in the same precision, memory
format, batch size and optimiser; a pair is timed in turns within one process, so that a
machine whose speed drifts slows both. `bare` is fed by indexing images that were normalised
beforehand, without any augmentation: all that ours does besides (views drawn and applied,
labels, logging, the rate of each step) counts against ours. The last line is one JSON object:

    ours_over_bare             the smaller of the two networks' ratios
    resnet18, resnet8          ours over bare, images/s
    resnet18_over_fp32_nchw    our loop over the bare one in fp32 and NCHW
    resnet18_compiled_over_fp32_nchw   (with --compile)
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from machine import describe
from torch import nn
from torch.nn import functional as F

from kdlsr.config.schema import ScheduleConfig
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.data.views import ViewMaker, recipe
from kdlsr.losses import build_loss
from kdlsr.models import Recipe, build_model
from kdlsr.training.fit import Learner, Task, train_epoch
from kdlsr.training.hardware import AUTOCAST_DTYPES, resolve_precision
from kdlsr.training.optimisation import build_optimizer, resolve_optimisation

CLASSES, SIZE, BATCH = 100, 32, 128
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
CPU = torch.device("cpu")


class Unobserved:
    """An observer that looks away, as in a run without a terminal."""

    def step(self, done: int, of: int, terms: Callable[[], Any]) -> None:
        """Nothing to see."""

    def epoch(self, record: Any) -> None:
        """Nothing to see."""


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, {}, num_classes=CLASSES, in_channels=3, image_size=(SIZE, SIZE))


def images(steps: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n = steps * BATCH
    pixels = rng.integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)
    return pixels, rng.integers(0, CLASSES, n)


def our_epoch(name: str, precision: str, steps: int, compiled: bool = False) -> Callable[[], None]:
    pixels, labels = images(steps)
    maker = ViewMaker(pixels, MEAN, STD, CPU)
    everything = np.arange(len(labels))
    schedule = ScheduleConfig(epochs=10**6, batch_size=BATCH)
    model = network(name).to(memory_format=torch.channels_last)
    if compiled:
        model.compile()
    optimizer = build_optimizer(model, resolve_optimisation(schedule, Recipe()), schedule)
    task = Task(
        train=TrainStream(maker, labels, everything, recipe("cifar"), 0, BATCH),
        test=EvalStream(maker, labels, everything[:BATCH], BATCH),
        validation=None,
        loss=build_loss("ce", {}, CLASSES),
        teacher=None,
        init_seed=0,
    )
    learner = Learner(model, optimizer, schedule, precision, CPU)
    epoch = iter(range(10**6))
    return lambda: void(train_epoch(learner, task, next(epoch), Unobserved()))


def void(_: Any) -> None:
    """Drops a value."""


def bare_epoch(name: str, precision: str, steps: int, channels_last: bool) -> Callable[[], None]:
    pixels, labels = images(steps)
    inputs = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    layout = torch.channels_last if channels_last else torch.contiguous_format
    inputs = inputs.contiguous(memory_format=layout)
    targets = torch.from_numpy(labels)
    model = network(name).to(memory_format=layout).train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True
    )
    dtype = AUTOCAST_DTYPES.get(precision)

    def epoch() -> None:
        order = torch.randperm(len(targets))
        for start in range(0, len(targets), BATCH):
            chosen = order[start : start + BATCH]
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                logits = model(inputs[chosen])
            loss = F.cross_entropy(logits.float(), targets[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return epoch


def seconds(epoch: Callable[[], None]) -> float:
    begun = time.perf_counter()
    epoch()
    return time.perf_counter() - begun


def compare(ours: Callable[[], None], theirs: Callable[[], None], rounds: int) -> float:
    """Median over rounds of their time over ours, in turns, after one warm-up of each."""
    seconds(ours), seconds(theirs)
    ratios = []
    for turn in range(rounds):
        if turn % 2:
            mine, other = seconds(ours), seconds(theirs)
        else:
            other, mine = seconds(theirs), seconds(ours)
        ratios.append(other / mine)
    print(f"  ratios {', '.join(f'{r:.3f}' for r in sorted(ratios))}")
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="measure resnet18 compiled too")
    options = parser.parse_args()
    precision = resolve_precision("auto", CPU)
    print(describe(), f"precision {precision}", f"{options.threads} threads", sep="\n")
    results: dict[str, float] = {}
    torch.set_num_threads(options.threads)
    for name, steps in (("resnet18", 4), ("resnet8", 40)):
        torch.set_num_threads(1 if name == "resnet8" else options.threads)
        print(f"{name}: ours over bare, {precision}, channels_last")
        ours = our_epoch(name, precision, steps)
        results[name] = compare(ours, bare_epoch(name, precision, steps, True), options.rounds)
    torch.set_num_threads(options.threads)
    print(f"resnet18: ours in {precision}, channels_last over bare in fp32, NCHW")
    plain = bare_epoch("resnet18", "fp32", 3, False)
    ours = our_epoch("resnet18", precision, 3)
    results["resnet18_over_fp32_nchw"] = compare(ours, plain, options.rounds)
    if options.compile:
        print("resnet18, compiled: the same")
        ours = our_epoch("resnet18", precision, 3, compiled=True)
        results["resnet18_compiled_over_fp32_nchw"] = compare(ours, plain, options.rounds)
    results["ours_over_bare"] = min(results["resnet18"], results["resnet8"])
    print(json.dumps({key: round(value, 4) for key, value in results.items()}))


if __name__ == "__main__":
    main()
