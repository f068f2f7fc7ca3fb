"""What a grid of students costs with one teacher, stored against live, by the real command path.

    python tests/benchmarks/sweep.py --root FOLDER --model mobilenetv2 --teacher resnet18
    python tests/benchmarks/sweep.py --quick

A tau x alpha grid of students of one teacher, each completed as `kdlsr.train` does, next to as
many runs without a teacher, in turns. The teacher is trained beforehand, outside of the clock.
FOLDER holds train/<class>/* and test/<class>/*; without it images are made. The last line is
one JSON object:

    grid_over_teacher_free   time of the grid with stored outputs over that of as many runs
                             without a teacher plus one pass of the teacher over all views
    live_over_teacher_free   the same with a live teacher
    identical                whether the grid's results are the same bytes, stored and live
"""

import argparse
import dataclasses
import itertools
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import describe
from PIL import Image
from turns import finish

from kdlsr.config.compose import compose_config
from kdlsr.config.schema import read_config
from kdlsr.data.prepare import load_streams
from kdlsr.machine.device import AUTOCAST_DTYPES
from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.session import Session
from kdlsr.teachers.network import TeacherNetwork
from kdlsr.training.checkpoint import read_checkpoint

# What a run leaves that its numbers are in; nothing of time.
FILES = ("result.json", "metrics.jsonl", "test_logits.npz")


@dataclasses.dataclass
class Grid:
    """The runs to be timed, below one folder for each way of teaching."""

    overrides: list[str]
    teacher: list[str]
    points: list[tuple[float, float]]
    folder: Path

    def run(self, way: str, number: int) -> Run:
        """Returns the run number `number` of one way: free, stored or live."""
        common = [*self.overrides, f"output_dir={self.folder / way}"]
        if way == "free":  # another seed each, so that each is a run of its own
            return _planned([*common, "loss=ce", f"init_seed={number}"])
        tau, alpha = self.points[number]
        store = f"teacher.store={'off' if way == 'live' else 'auto'}"
        point = [f"loss.tau={tau}", f"loss.alpha={alpha}"]
        return _planned([*common, "loss=kd", *self.teacher, store, *point])

    def train_teacher(self) -> None:
        """Trains the teacher once and puts it where both grids find it."""
        run = self.run("live", 0).teacher_run
        assert run is not None
        complete_run(run, Session())
        for way in ("stored", "free"):
            shutil.copytree(self.folder / "live" / "runs", self.folder / way / "runs")

    def seconds(self, way: str, number: int) -> float:
        run = self.run(way, number)
        begun = time.perf_counter()
        complete_run(run, Session())
        return time.perf_counter() - begun

    def bytes_of(self, way: str, number: int) -> list[bytes]:
        """Returns what a run's numbers are in, its weights included."""
        run = self.run(way, number)
        folder = store_of(run.config).run(run.run_id)
        epochs = run.config.schedule.epochs
        weights = read_checkpoint(checkpoint_of(run, epochs, Session()), run.run_id)["model"]
        texts = [(folder.path / name).read_bytes() for name in FILES]
        return texts + [tensor.numpy().tobytes() for tensor in weights.values()]


def _planned(overrides: list[str]) -> Run:
    return plan_run(read_config(compose_config(overrides)))


def teacher_pass(grid: Grid) -> float:
    """Returns the seconds that the teacher takes over all views of all epochs, once."""
    run = grid.run("live", 0)
    trained = run.teacher_run
    assert trained is not None
    streams = load_streams(
        run.config.dataset,
        data_seed=run.config.data_seed,
        batch_size=run.config.schedule.batch_size,
        device=run.device,
        progress=Session().watcher.loading,
    )
    model = trained.build_model()
    last = checkpoint_of(trained, trained.config.schedule.epochs, Session())
    model.load_state_dict(read_checkpoint(last, trained.run_id)["model"])
    autocast = AUTOCAST_DTYPES.get(run.precision)
    teacher = TeacherNetwork(model, run.config.teacher.dtype, run.device, autocast)
    begun = time.perf_counter()
    for epoch in range(run.config.schedule.epochs):
        for batch in streams.train.epoch(epoch):
            teacher.logits(batch.inputs)
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)
    return time.perf_counter() - begun


def made_tree(folder: Path, images: int) -> Path:
    """Writes a tree of random PNG images of CIFAR's size, ten classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("test", max(20, images // 5))):
        for number in range(count):
            path = folder / split / str(number % 10) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, help="a tree of images; made ones without it")
    parser.add_argument("--images", type=int, default=512, help="how many are made")
    parser.add_argument("--subset", type=int, help="of the training images")
    parser.add_argument("--model", default="mobilenetv2")
    parser.add_argument("--teacher", default="resnet18")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--side", type=int, default=3, help="of the grid: values of tau, alpha")
    parser.add_argument("--quick", action="store_true", help="resnet8 teaches resnet8, 2 x 2")
    options = parser.parse_args()
    if options.quick:
        options.model, options.teacher, options.side = "resnet8", "resnet8", 2
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or made_tree(Path(folder) / "images", options.images)
        measure(_grid(options, root, Path(folder)))


def _grid(options: argparse.Namespace, root: Path, folder: Path) -> Grid:
    overrides = ["dataset=image_folder", f"dataset.root={root.absolute()}", "dataset.views=cifar"]
    overrides += [f"model={options.model}", "schedule=short10"]
    overrides += [f"schedule.epochs={options.epochs}", "schedule.milestones=[]"]
    overrides += [f"dataset.subset={options.subset}"] if options.subset else []
    overrides += [f"threads={options.threads}"] if options.threads else []
    taus, alphas = (1.0, 4.0, 20.0)[: options.side], (0.1, 0.5, 0.9)[: options.side]
    # So few steps at the usual rate leave statistics that fp16 logits do not hold.
    overrides += ["schedule.sgd.lr=0.01"]
    teacher = [f"teacher={options.teacher}"]
    return Grid(overrides, teacher, list(itertools.product(taus, alphas)), folder)


def measure(grid: Grid) -> None:
    grid.train_teacher()
    grid.run("free", 0)
    seconds: dict[str, list[float]] = {"free": [], "stored": [], "live": []}
    for number in range(len(grid.points)):
        for way in seconds if number % 2 else reversed(seconds):
            seconds[way].append(grid.seconds(way, number))
    once = teacher_pass(grid)
    print(f"one pass of the teacher over all views: {once:.1f} s")
    for way, values in seconds.items():
        print(
            f"{way:8} " + " ".join(f"{value:6.1f}" for value in values) + f" = {sum(values):.1f} s"
        )
    identical = all(
        grid.bytes_of("stored", n) == grid.bytes_of("live", n) for n in range(len(grid.points))
    )
    free = sum(seconds["free"]) + once
    finish(
        {
            "grid_over_teacher_free": sum(seconds["stored"]) / free,
            "live_over_teacher_free": sum(seconds["live"]) / free,
            "identical": identical,
        }
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
