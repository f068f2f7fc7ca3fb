"""How time grows with what is asked for: images, classes, epochs, runs of a plan, students.

    python tests/benchmarks/cost.py [--quick]

Training is that of resnet8 on made images in one thread, plans are made of a table in memory,
students are completed as `kdlsr.train` does. Exponents are slopes in a log-log plot: 1 is
proportional, 0 is no growth. The last line is one JSON object:

    images_exponent      time of an epoch, images x 2, x 4, x 8
    classes_exponent     time of an epoch, classes from 10 to 1000
    epochs_exponent      time of a run, epochs x 2, x 4
    plan_seconds         for a plan of --runs runs
    plan_exponent        time of a plan, runs x 4, x 16
    students_over_first  each further student of one teacher over a run without one
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from machine import describe
from ours import SIZE, Unobserved, image_samples, made_images
from sweep import Grid
from turns import finish

from kdlsr.config.inputs import ImageSpec
from kdlsr.config.schedule import ScheduleConfig
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.losses import build_loss
from kdlsr.models import Recipe, build_model
from kdlsr.tables.plan import Request
from kdlsr.tables.planning import plan_tables
from kdlsr.tables.schema import Cell, Table
from kdlsr.tables.setting import Profile
from kdlsr.training.fit import fit, train_epoch
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer, resolve_optimisation
from kdlsr.training.steps import TrainingSteps
from kdlsr.training.task import Task

CPU = torch.device("cpu")
BATCH = 128
DIGITS = ("dataset=digits", "schedule=quick")


def learner_and_task(images: int, classes: int) -> tuple[Learner, Task]:
    pixels, labels = made_images(images, classes)
    samples = image_samples(pixels, labels, CPU)
    everything = np.arange(images)
    schedule = ScheduleConfig(epochs=1000, batch_size=BATCH)
    model = build_model("resnet8", {}, spec=ImageSpec(SIZE, SIZE, 3), num_classes=classes).to(
        memory_format=torch.channels_last
    )
    optimizer = build_optimizer(model, resolve_optimisation(schedule, Recipe()), schedule)
    task = Task(
        TrainStream(samples, everything, 0, BATCH),
        EvalStream(samples, everything[:BATCH]),
        None,
        build_loss("ce", {}, classes),
        None,
        0,
    )
    return Learner(model, optimizer, schedule, "fp32", CPU), task


def epoch_of(images: int, classes: int = 10) -> Callable[[], object]:
    learner, task = learner_and_task(images, classes)
    steps = TrainingSteps(learner, task)
    return lambda: train_epoch(steps, 0, Unobserved())


def run_of(images: int, epochs: int) -> Callable[[], object]:
    learner, task = learner_and_task(images, 10)
    return lambda: fit(learner, task, [], epochs, Unobserved(), lambda: None)


def plan_of(runs: int) -> Callable[[], object]:
    """Plans a table of cells with 10 seeds each, all of them different runs."""
    cells = tuple(
        Cell(
            row=f"{alpha:.4f}",
            column="LSR",
            method="lsr",
            network="ResNet18",
            options={"alpha": alpha},
        )
        for alpha in np.linspace(0.01, 0.8, runs // 10 - 1).tolist()
    )
    table = Table(
        name="cost",
        title="made",
        source="none",
        shows="what planning costs",
        setting="cifar100",
        grade="D",
        cells=cells,
    )
    profile = Profile(
        name="cost",
        means="nothing",
        overrides=DIGITS,
        weak=("model=resnet8", "model.width=8"),
        strong=("model=resnet8", "model.width=16"),
        batch_size=64,
        seeds=10,
    )
    request = Request(profile, tuple(range(10)), forms=("as_written",), controls=False)

    def plan() -> None:
        found = len(plan_tables([table], request).jobs)
        if found != runs:
            raise SystemExit(f"{found} runs were planned, not {runs}")

    return plan


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def exponent(
    what: str, make: Callable[[int], Callable[[], object]], sizes: Sequence[int], rounds: int
) -> float:
    """Returns the slope of log time over log size, from the medians of turns."""
    works = [make(size) for size in sizes]
    for work in works:
        work()
    turns = [[seconds(work) for work in works] for _ in range(rounds)]
    times = [statistics.median(column) for column in zip(*turns, strict=True)]
    shown = ", ".join(f"{size:,}: {t:.3f} s" for size, t in zip(sizes, times, strict=True))
    print(f"{what}: {shown}", flush=True)
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def students(count: int) -> float:
    """Returns the median time of the students after a teacher's first, over a run without one."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = [*DIGITS, "model=resnet8", "schedule.epochs=3", "schedule.milestones=[]"]
        points = [(4.0, 0.05 + 0.9 * number / count) for number in range(count)]
        grid = Grid(overrides, ["teacher=resnet20"], points, Path(folder))
        grid.train_teacher()
        turns = [(grid.seconds("stored", n), grid.seconds("free", n)) for n in range(count)]
    shown = ", ".join(f"{taught:.2f} / {free:.2f}" for taught, free in turns)
    print(f"students of one teacher, with / without it, seconds: {shown}")
    return statistics.median(taught / free for taught, free in turns[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10_000, help="of the largest plan")
    parser.add_argument("--quick", action="store_true", help="a tenth of it, one round")
    options = parser.parse_args()
    if options.quick:
        options = argparse.Namespace(rounds=1, runs=1600, quick=True)
    torch.set_num_threads(1)
    print(describe(), "1 thread", sep="; ")
    images = [256 * 2**k for k in range(4)]
    plans = [options.runs // 16 // 10 * 10, options.runs // 4 // 10 * 10, options.runs]
    results = {
        "images_exponent": exponent("images", epoch_of, images, options.rounds),
        "classes_exponent": exponent(
            "classes", lambda k: epoch_of(512, k), [10, 100, 1000], options.rounds
        ),
        "epochs_exponent": exponent("epochs", lambda e: run_of(256, e), [1, 2, 4], options.rounds),
        "plan_exponent": exponent("runs of a plan", plan_of, plans, 1),
        "plan_seconds": seconds(plan_of(options.runs)),
        "students_over_first": students(4 if options.quick else 8),
    }
    finish(results)


if __name__ == "__main__":
    main()
