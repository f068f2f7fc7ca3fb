"""What oneDNN does with the layers of our networks on a CPU with AMX, and how well.

    python tests/benchmarks/amx.py [--networks resnet18 mobilenetv2] [--batch 128] [--rows 12]

Trains a step of each network in bf16 on one thread while oneDNN says what it runs
(`torch.backends.mkldnn.verbose`), and prints its dearest primitives: direction, implementation,
share of oneDNN's time, and FLOP/s over those of one 3x3 convolution of 128 channels on maps of
16x16 in the same direction. Each primitive counts with the quickest of its calls, since oneDNN
measures wall time and the machine may have other work. Where `amx_bf16` is not among the
processor's flags, a line says so, and the same is measured. The last line is one JSON object:

    amx         whether the processor has amx_bf16
    NETWORK     shares of oneDNN's time: forward, input gradients (`backward_data`), weight
                gradients (`backward_weights`), reorders, matrix products; `backward` over
                `forward` (2 is due); `rate`: all convolutions' FLOP/s over one convolution's;
                `side_by_side`: images/s of processor time with small maps in a row, as they are
                where there is AMX, over those without, a step of training
"""

import argparse
import math
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from machine import describe
from ours import epochs_of, our_learner, our_task
from torch.nn import functional as F
from turns import Contestant, finish, in_turns, ratio

from kdlsr.machine.device import multiplies_bf16_matrices
from kdlsr.models import layers

CPU = torch.device("cpu")
REFERENCE = "mb{batch}_ic128oc128_ih16oh16kh3sh1dh0ph1_iw16ow16kw3sw1dw0pw1"
REFERENCE_CALLS = 3
FORWARD, DATA, WEIGHTS = "forward_training", "backward_data", "backward_weights"
SIZES = re.compile(
    r"(?:g(?P<g>\d+))?mb(?P<mb>\d+)_(?:g\d+)?ic(?P<ic>\d+)oc(?P<oc>\d+)"
    r"_ih\d+oh(?P<oh>\d+)kh(?P<kh>\d+).*_iw\d+ow(?P<ow>\d+)kw(?P<kw>\d+)"
)


@dataclass(frozen=True)
class Primitive:
    """One of oneDNN's: what it computes, by which implementation, on which sizes."""

    kind: str
    implementation: str
    direction: str
    problem: str

    @property
    def flops(self) -> float:
        """FLOPs of a convolution, two per multiply-accumulate; 0 of anything else."""
        found = SIZES.match(self.problem)
        if self.kind != "convolution" or found is None:
            return 0.0
        size = {name: int(value or 1) for name, value in found.groupdict().items()}
        return 2.0 * math.prod(size.values()) / size["g"] ** 2


def read(lines: Iterable[str]) -> dict[Primitive, list[float]]:
    """Returns the milliseconds of every call, by primitive, of oneDNN's verbose lines."""
    found: dict[Primitive, list[float]] = defaultdict(list)
    for line in lines:
        if line.startswith("onednn_verbose,v1,primitive,exec,"):
            field = line.strip().split(",")
            primitive = Primitive(field[5], field[6], field[7], field[-2])
            found[primitive].append(float(field[-1]))
    return found


def trace(network: str, batch: int, steps: int) -> None:
    """Trains, while oneDNN writes onto standard output; one 3x3 convolution runs before."""
    torch.set_num_threads(1)
    epoch = epochs_of(our_learner(network, "bf16", batch, CPU), our_task(steps * batch, batch, CPU))
    epoch()
    verbose = torch.backends.mkldnn.VERBOSE_ON
    with torch.backends.mkldnn.verbose(verbose):  # type: ignore[no-untyped-call]
        for _ in range(REFERENCE_CALLS):
            reference_convolution(batch)
        epoch()


def reference_convolution(batch: int) -> None:
    """A 3x3 convolution of 128 channels on maps of 16x16, forward and backward."""
    maps, kernel = ((batch, 128, 16, 16), (128, 128, 3, 3))
    x, upstream, weight = (
        torch.randn(shape).bfloat16().to(memory_format=torch.channels_last)
        for shape in (maps, maps, kernel)
    )
    x.requires_grad_()
    weight.requires_grad_()
    torch.autograd.grad(F.conv2d(x, weight, padding=1), (x, weight), upstream)


def traced(network: str, batch: int, steps: int) -> dict[Primitive, list[float]]:
    """Returns the calls of a child process that traces, since oneDNN writes where C does."""
    own = [sys.executable, str(Path(__file__).resolve()), "--trace", network]
    words = [*own, "--batch", str(batch), "--steps", str(steps)]
    done = subprocess.run(
        words, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True
    )
    return read(done.stdout.decode().splitlines())


def side_by_side(network: str, batch: int, rounds: int) -> float:
    """Returns how much as quick training is with small maps laid side by side, in turns."""
    torch.set_num_threads(1)
    contestants = {}
    for name, laid in (("in a row", True), ("apart", False)):
        with patch.object(layers, "multiplies_bf16_matrices", lambda laid=laid: laid):
            learner = our_learner(network, "bf16", batch, CPU)
        contestants[name] = Contestant(epochs_of(learner, our_task(batch, batch, CPU)), batch)
    found = in_turns(contestants, rounds, time.process_time)
    return ratio(found["in a row"], found["apart"])


def show(
    calls: dict[Primitive, list[float]], batch: int, steps: int, rows: int
) -> dict[str, float]:
    """Prints a network's dearest primitives and returns its figures."""
    rates = {
        p.direction: p.flops / min(spent)
        for p, spent in calls.items()
        if p.problem == REFERENCE.format(batch=batch)
    }
    spent = {p: min(times) * (len(times) - _extra(p, batch)) / steps for p, times in calls.items()}
    whole = sum(spent.values())
    for p in sorted(spent, key=lambda p: -spent[p])[:rows]:
        relative = p.flops / min(calls[p]) / rates[p.direction] if p.flops else math.nan
        print(
            f"  {spent[p] / whole:6.1%} {relative:7.2f} {p.direction:17} {p.implementation:46}"
            f" {p.problem}"
        )
    of = {d: sum(t for p, t in spent.items() if p.direction == d) for d in rates}
    kinds = {k: sum(t for p, t in spent.items() if p.kind == k) for k in ("reorder", "matmul")}
    due = sum(p.flops * spent[p] / min(calls[p]) / rates[p.direction] for p in spent if p.flops)
    shares = {name: value / whole for name, value in (of | kinds).items()}
    backward = (of[DATA] + of[WEIGHTS]) / of[FORWARD]
    return shares | {"backward": backward, "rate": due / sum(of.values())}


def _extra(primitive: Primitive, batch: int) -> int:
    """Calls that are the reference's and no network's."""
    return REFERENCE_CALLS if primitive.problem == REFERENCE.format(batch=batch) else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["resnet18", "mobilenetv2"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of what is timed in turns")
    parser.add_argument("--rows", type=int, default=12, help="primitives shown of each network")
    parser.add_argument("--trace", metavar="NETWORK", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.trace:
        return trace(options.trace, options.batch, options.steps)
    amx = multiplies_bf16_matrices()
    print(describe(), f"1 thread, bf16, batch {options.batch}", sep="; ")
    if not amx:
        print("This processor has no amx_bf16: these are figures of its other instructions.")
    results: dict[str, object] = {"amx": amx}
    for network in options.networks:
        print(f"{network}: share of oneDNN's time; rate over one 3x3 convolution's; primitive")
        calls = traced(network, options.batch, options.steps)
        figures = show(calls, options.batch, options.steps, options.rows)
        figures["side_by_side"] = side_by_side(network, options.batch, options.rounds)
        print("  " + ", ".join(f"{name} {value:.2f}" for name, value in figures.items()))
        results[network] = {name: round(value, 3) for name, value in figures.items()}
    finish(results)


if __name__ == "__main__":
    main()
