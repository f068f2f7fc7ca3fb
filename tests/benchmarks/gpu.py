"""What one GPU makes of training: a run's own steps against what the card can do.

    python tests/benchmarks/gpu.py                      # about ten minutes on a fast card
    python tests/benchmarks/gpu.py resnet18 mobilenetv2 --at-once 4
    python tests/benchmarks/gpu.py --cpu                # tiny, for trying the script itself

Batch 128 of made images of 32x32, 100 classes, bf16, channels_last, the papers' views. Warm-up,
recording and compilation are outside of the clock; ratios are taken within a turn. What fails is
named and leaves the rest standing. Parts: `steps,teacher,peers,together` (`--parts`). The last
line is one JSON object, an object for each network:

    first_epoch_s         of a process that trains such a network for the first time
    images_per_second     of `train`'s own loop: views, loss, optimiser, term log; epochs of them
    over_bare             that over a bare network, cross-entropy and SGD on one fixed batch, in
                          one CUDA graph
    over_plain            over the same loop with `capture=false`
    of_convolution_rate   its FLOP/s over those of one 3x3 convolution
    together              images/s of N runs at once over those of one (epochs with evaluation)
    stored_over_none      (mobilenetv2, batch 64) with stored outputs over without any teacher
    over_peers            (resnet18, mobilenetv2) over the loop that peers have

and `card`, `matmul_tflops`, `convolution_tflops`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ceiling import as_graph, convolution_rate, matmul_rate, training_flops
from machine import describe
from ours import CLASSES, SIZE, epochs_of, made_images, network, our_learner, our_task
from ours import stored_teacher as stored_outputs
from peers import PeerLoop, cross_entropy, loader_of
from PIL import Image
from torch.nn import functional as F
from turns import Contestant, finish, in_turns, ratio, show

from kdlsr.machine.device import AUTOCAST_DTYPES, resolve_device, resolve_precision

PAPERS = ["resnet18", "mobilenetv2", "shufflenetv2", "googlenet", "resnet50", "densenet121"]
NETWORKS = ["resnet20", *PAPERS, "resnext29", "resnet101"]
TRIED = ["resnet20", "mobilenetv2"]  # on a CPU
WITH_PEERS = ("resnet18", "mobilenetv2")
TAUGHT, TAUGHT_BATCH = "mobilenetv2", 64
KD = {"form": "as_released", "alpha": 0.95, "tau": 20.0}
CLASSES_ON_DISK = 10
WARM_EPOCHS = 1  # whose first steps are those before the recording
PLAIN_SHARE = 5  # the slow way is timed on fewer steps
TRAIN = [sys.executable, "-m", "kdlsr.train"]


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Attributes:
        steps: of an epoch.
        rounds: turns that are counted.
        at_once: runs side by side.
        epochs: of each of these.
        folder: where these find their images and leave what they do.
    """

    device: torch.device
    precision: str
    batch: int
    steps: int
    rounds: int
    at_once: int
    epochs: int
    folder: Path

    def ours(
        self, name: str, *, capture: bool, batch: int | None = None, taught: bool = False
    ) -> Contestant:
        """Returns epochs of a run's own loop, warm."""
        batch = batch or self.batch
        steps = self.steps if capture else max(self.steps // PLAIN_SHARE, 1)
        count, epochs = batch * steps, WARM_EPOCHS + self.rounds + 1
        teacher = stored_outputs(count, epochs, self.device) if taught else None
        loss, options = ("kd", KD) if taught else ("ce", {})
        task = our_task(count, batch, self.device, loss, options, teacher)
        learner = our_learner(name, self.precision, batch, self.device, capture=capture)
        epoch = epochs_of(learner, task)
        for _ in range(WARM_EPOCHS):
            epoch()
        return Contestant(epoch, count)

    def bare(self, name: str) -> Contestant:
        """Returns as many steps on one batch, each of them one CUDA graph."""
        step = self._bare_step(name)
        if self.device.type == "cuda":
            step = as_graph(step)

        def run() -> None:
            for _ in range(self.steps):
                step()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

        return Contestant(run, self.batch * self.steps)

    def _bare_step(self, name: str) -> Callable[[], None]:
        model = network(name).to(self.device, memory_format=torch.channels_last).train()
        on_gpu = self.device.type == "cuda"
        rate = torch.tensor(0.01, device=self.device) if on_gpu else 0.01
        optimizer = torch.optim.SGD(
            model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4, fused=True
        )
        x = torch.randn(self.batch, 3, SIZE, SIZE, device=self.device)
        x = x.to(memory_format=torch.channels_last)
        y = torch.randint(0, CLASSES, (self.batch,), device=self.device)
        dtype = AUTOCAST_DTYPES.get(self.precision)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
                logits = model(x)
            F.cross_entropy(logits.float(), y).backward()
            optimizer.step()

        return step

    def theirs(self, name: str) -> Contestant:
        count = self.batch * 3
        loader = loader_of(*made_images(count), self.batch, 0)
        return Contestant(PeerLoop(network(name), cross_entropy, loader, self.device), count)


# ---------------------------------------------------------------- parts


def steps(bench: Bench, name: str) -> dict[str, float]:
    begun = time.perf_counter()
    ours = bench.ours(name, capture=True)  # in whose epoch kernels are chosen, a step recorded
    first = time.perf_counter() - begun
    contestants = {
        "ours": ours,
        "plain": bench.ours(name, capture=False),
        "bare": bench.bare(name),
    }
    found = in_turns(contestants, bench.rounds)
    show(found)
    reached = statistics.median(found["ours"])
    tflops = reached * training_flops(network(name), SIZE) / 1e12
    convolution = convolution_rate(bench.precision, bench.device)
    return {
        "first_epoch_s": first,
        "images_per_second": round(reached),
        "over_bare": ratio(found["ours"], found["bare"]),
        "over_plain": ratio(found["ours"], found["plain"]),
        "of_convolution_rate": tflops / convolution,
    }


def teacher(bench: Bench, name: str) -> dict[str, float]:
    if name != TAUGHT:
        return {}
    batch = TAUGHT_BATCH if bench.batch > TAUGHT_BATCH else bench.batch
    ours = {
        "stored": bench.ours(name, capture=True, batch=batch, taught=True),
        "none": bench.ours(name, capture=True, batch=batch),
    }
    found = in_turns(ours, bench.rounds)
    show(found)
    return {"stored_over_none": ratio(found["stored"], found["none"])}


def peers(bench: Bench, name: str) -> dict[str, float]:
    if name not in WITH_PEERS:
        return {}
    pair = {"ours": bench.ours(name, capture=True), "theirs": bench.theirs(name)}
    found = in_turns(pair, min(3, bench.rounds))
    show(found)
    return {"over_peers": ratio(found["ours"], found["theirs"])}


def together(bench: Bench, name: str) -> dict[str, float]:
    """Runs by the commands that a user types; rates by the epochs of their own clocks."""
    root, count = bench.folder, bench.batch * bench.steps
    if not (root / "images").exists():
        write_images(root / "images", count)
    one, several = (_seconds_per_epoch(bench, name, root, runs) for runs in (1, bench.at_once))
    images = count // CLASSES_ON_DISK * CLASSES_ON_DISK
    print(f"  {name}: one {images / one:,.0f} images/s, ", end="")
    print(f"{bench.at_once} at once {bench.at_once * images / several:,.0f}", flush=True)
    return {"together": bench.at_once * one / several, "at_once": bench.at_once}


def _seconds_per_epoch(bench: Bench, name: str, root: Path, runs: int) -> float:
    output = root / f"{name}-{runs}"
    words = ["-m", f"seed=range({runs})", "dataset=image_folder", f"dataset.root={root / 'images'}"]
    words += ["dataset.views=cifar", f"model={name}", "schedule.milestones=[]"]
    words += [f"schedule.epochs={bench.epochs}", f"schedule.batch_size={bench.batch}"]
    words += ["schedule.warmup_epochs=0", f"device={bench.device.type}", f"output_dir={output}"]
    words += ["+cluster=local", f"hydra.launcher.jobs_per_gpu={runs}"]
    done = subprocess.run([*TRAIN, *words], cwd=root, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()
    if done.returncode:
        raise RuntimeError(said[-1])
    print(*(line for line in said if "MPS" in line), sep="\n", end="")
    epochs = [_epoch_seconds(run) for run in (output / "runs").iterdir()]
    # The first ones warm up; the last ones some have to themselves.
    middle = [s for seconds in epochs for s in seconds[len(seconds) // 3 : -1]]
    return statistics.median(middle)


def _epoch_seconds(run: Path) -> list[float]:
    (session,) = json.loads((run / "timing.json").read_text())["sessions"]
    return list(session["epoch_seconds"])


def write_images(root: Path, count: int) -> None:
    """Writes a tree of made images, once."""
    rng = np.random.default_rng(0)
    for split, images in (("train", count), ("test", max(count // 10, CLASSES_ON_DISK))):
        for label in range(CLASSES_ON_DISK):
            folder = root / split / f"{label:02}"
            folder.mkdir(parents=True)
            for number in range(images // CLASSES_ON_DISK):
                pixels = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:05}.png", compress_level=0)


PARTS: dict[str, Callable[[Bench, str], dict[str, float]]] = {
    "steps": steps,
    "teacher": teacher,
    "peers": peers,
    "together": together,
}


def measure(bench: Bench, name: str, parts: Sequence[str]) -> dict[str, object]:
    """Returns all that is measured of a network; a part that fails says so in its place."""
    found: dict[str, object] = {}
    for part in parts:
        begun = time.perf_counter()
        try:
            torch.cuda.empty_cache()  # of the part before; nothing without a GPU
            found |= PARTS[part](bench, name)
        except Exception as error:  # the others' figures are worth having: a lease is short
            found[part] = f"{type(error).__name__}: {str(error)[:200]}"
        print(f"{name} {part}: {time.perf_counter() - begun:.0f} s, {found}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="of an epoch")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=15, help="of the runs at once")
    parser.add_argument(
        "--no-search", action="store_true", help="cuDNN's heuristics choose kernels"
    )
    parser.add_argument("--cpu", action="store_true", help="tiny, to try the script")
    options = parser.parse_args()
    device = torch.device("cpu") if options.cpu else resolve_device("cuda")
    precision = resolve_precision("auto", device)
    torch.backends.cudnn.benchmark = not options.no_search
    sizes = (128, options.steps, options.rounds, options.at_once, options.epochs)
    if options.cpu:
        torch.set_num_threads(1)
        sizes = (20, 2, 2, 2, 4)
    print(describe(), precision, f"batch {sizes[0]}", sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(device, precision, *sizes, Path(scratch))
        names = TRIED if options.cpu and options.networks == NETWORKS else options.networks
        finish(everything(bench, names, options.parts.split(",")))


def everything(bench: Bench, names: Sequence[str], parts: Sequence[str]) -> dict[str, object]:
    """Returns the machine's rates and each network's figures."""
    device, precision = bench.device, bench.precision
    results: dict[str, object] = {
        "card": torch.cuda.get_device_name() if device.type == "cuda" else "none",
        "torch": torch.__version__,
        "matmul_tflops": round(matmul_rate(precision, device), 3),
        "convolution_tflops": round(convolution_rate(precision, device), 3),
    }
    for name in names:
        found = measure(bench, name, parts)
        results[name] = {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}
    return results


if __name__ == "__main__":
    main()
