"""Where the time of a training step goes, by kind of work.

    python tests/benchmarks/profile_step.py [--networks resnet18 mobilenetv2 resnet8] [--compile]

torch.profiler over a few steps of our loop on made images of CIFAR's size, batch 128, one
thread: the operators' own times, added up by kind. The last line is one JSON object: for each
network the share of each kind, and `images_per_second` without the profiler.
"""

import argparse
import collections
import time
import warnings

import torch
from machine import describe
from ours import epochs_of, our_learner, our_task
from torch.profiler import ProfilerActivity, profile
from turns import finish

from kdlsr.machine.device import resolve_precision

BATCH = 128
CPU = torch.device("cpu")
# The first kind counts one of whose words an operator's name has in it.
KINDS = {
    "convolution, backward": ("convolution_backward", "depthwisebackward"),
    "convolution, forward": ("convolution", "conv2d", "depthwise"),
    "batch normalisation": ("batch_norm", "batchnorm"),
    "optimiser": ("sgd", "adam", "optimizer"),
    "activation": ("threshold", "hardtanh", "clamp", "relu"),
    "views and labels": ("index_select", "bitwise", "dataloader"),
    "compiled kernels": ("cpp_fused", "compiled", "torch-compiled"),
    "linear and pooling": ("addmm", "::mm", "linear", "pool", "mean"),
    "copies and casts": ("copy", "::to", "empty", "zero", "fill", "resize"),
}


def kind_of(operator: str) -> str:
    """Returns the kind of work that an operator does."""
    name = operator.lower()
    return next((kind for kind, words in KINDS.items() if any(w in name for w in words)), "other")


def shares(name: str, precision: str, steps: int, compiled: bool) -> dict[str, float]:
    """Returns each kind's share of a network's step, and its images per second."""
    learner = our_learner(name, precision, BATCH, CPU, compiled)
    epoch = epochs_of(learner, our_task(steps * BATCH, BATCH, CPU))
    epoch()
    begun = time.perf_counter()
    epoch()
    rate = steps * BATCH / (time.perf_counter() - begun)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        epoch()
    times: collections.Counter[str] = collections.Counter()
    for event in profiled.key_averages():
        times[kind_of(event.key)] += event.self_cpu_time_total
    found = {kind: spent / times.total() for kind, spent in times.most_common()}
    return {"images_per_second": round(rate, 1)} | {k: round(v, 4) for k, v in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["resnet18", "mobilenetv2", "resnet8"])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="torch.profiler")
    torch.set_num_threads(1)
    precision = resolve_precision("auto", CPU)
    print(describe(), f"1 thread, {precision}, batch {BATCH}", sep="; ")
    results = {}
    for name in options.networks:
        steps = options.steps * (10 if name == "resnet8" else 1)
        results[name] = shares(name, precision, steps, options.compile)
        print(f"{name}: {results[name]['images_per_second']:,} images/s")
        for kind, share in list(results[name].items())[1:]:
            print(f"  {kind:22} {share:6.1%}", flush=True)
    finish(results)


if __name__ == "__main__":
    main()
