"""Our training step against the loop that peers have.

    python tests/benchmarks/step.py [--quick] [--compile] [--threads N] [--device cuda]

Both train the same networks on the same made images of CIFAR's size (32x32, 100 classes), timed
in turns in one process. Theirs is `peers.py`; ours is the loop of a run, in the precision that
`auto` is here, channels_last. Where a teacher teaches, theirs asks it live and ours has its
outputs stored. Warm-up and compilation are outside of the clock. Losses and batch sizes are
those of the released configs. The last line is one JSON object:

    resnet18_tfkd_reg           ours over theirs, images/s (batch 128)
    resnet18_tfkd_reg_compiled  the same with a compiled model (with --compile)
    mobilenetv2_ce              ours over theirs (batch 128)
    mobilenetv2_from_resnet18   ours, outputs stored, over theirs, live teacher (batch 128)
    mobilenetv2_from_resnext29  the same with a larger teacher (batch 64)
    teacher_stored_over_none    our time with stored outputs over that without any teacher
    of_convolution_rate         ours, resnet18: FLOP/s over those of one 3x3 convolution
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from ceiling import convolution_rate, matmul_rate, training_flops
from machine import describe
from ours import SIZE, epochs_of, made_images, network, our_learner, our_task, stored_teacher
from peers import KD, TFKD_REG, PeerLoop, PeerLoss, cross_entropy, loader_of
from turns import WARM_UP, Contestant, finish, in_turns, ratio, show

from kdlsr.machine.device import resolve_device, resolve_precision

OUR_KD = {"form": "as_released", "alpha": 0.95, "tau": 20.0}
OUR_REG = {"form": "as_released", "alpha": 0.1, "tau": 20.0, "multiplier": 100.0}


@dataclass
class Bench:
    """What all comparisons share."""

    device: torch.device
    precision: str
    steps: int
    rounds: int
    workers: int
    clock: Callable[[], float]

    def theirs(
        self, name: str, batch: int, loss: PeerLoss, teacher: str | None = None
    ) -> Contestant:
        count = batch * self.steps
        loader = loader_of(*made_images(count), batch, self.workers)
        teaching = network(teacher) if teacher else None
        return Contestant(PeerLoop(network(name), loss, loader, self.device, teaching), count)

    def ours(self, name: str, batch: int, loss: str, compiled: bool = False) -> Contestant:
        count = batch * self.steps
        options = {"kd": OUR_KD, "tfkd_reg": OUR_REG}.get(loss, {})
        epochs = self.rounds + WARM_UP
        teacher = stored_teacher(count, epochs, self.device) if loss == "kd" else None
        task = our_task(count, batch, self.device, loss, options, teacher)
        learner = our_learner(name, self.precision, batch, self.device, compiled)
        return Contestant(epochs_of(learner, task), count)

    def compare(self, title: str, **contestants: Contestant) -> dict[str, list[float]]:
        print(title, flush=True)
        found = in_turns(contestants, self.rounds, self.clock)
        show(found)
        return found


def resnet18(bench: Bench, compiled: bool) -> dict[str, float]:
    contestants = {
        "theirs": bench.theirs("resnet18", 128, TFKD_REG),
        "ours": bench.ours("resnet18", 128, "tfkd_reg"),
    }
    if compiled:
        contestants["compiled"] = bench.ours("resnet18", 128, "tfkd_reg", compiled=True)
    found = bench.compare("resnet18, Tf-KD_reg, batch 128", **contestants)
    results = {"resnet18_tfkd_reg": ratio(found["ours"], found["theirs"])}
    if compiled:
        results["resnet18_tfkd_reg_compiled"] = ratio(found["compiled"], found["theirs"])
    flops = training_flops(network("resnet18"), SIZE)
    reached = max(found["ours"]) * flops / 1e12
    matmul, convolution = (
        rate(bench.precision, bench.device, bench.clock) for rate in (matmul_rate, convolution_rate)
    )
    print(
        f"  {bench.precision}: matmul {matmul:.3f}, convolution {convolution:.3f} TFLOP/s at most, "
        f"our best turn {reached:.3f} ({flops / 1e9:.2f} GFLOP per image)"
    )
    return results | {"of_convolution_rate": reached / convolution}


def mobilenetv2(bench: Bench) -> dict[str, float]:
    found = bench.compare(
        "mobilenetv2, batch 128",
        theirs=bench.theirs("mobilenetv2", 128, cross_entropy),
        ours=bench.ours("mobilenetv2", 128, "ce"),
        theirs_from_resnet18=bench.theirs("mobilenetv2", 128, KD, "resnet18"),
        ours_from_stored=bench.ours("mobilenetv2", 128, "kd"),
    )
    return {
        "mobilenetv2_ce": ratio(found["ours"], found["theirs"]),
        "mobilenetv2_from_resnet18": ratio(
            found["ours_from_stored"], found["theirs_from_resnet18"]
        ),
    }


def taught_by_resnext29(bench: Bench) -> dict[str, float]:
    found = bench.compare(
        "mobilenetv2, batch 64",
        theirs_from_resnext29=bench.theirs("mobilenetv2", 64, KD, "resnext29"),
        ours_without_teacher=bench.ours("mobilenetv2", 64, "ce"),
        ours_from_stored=bench.ours("mobilenetv2", 64, "kd"),
    )
    return {
        "mobilenetv2_from_resnext29": ratio(
            found["ours_from_stored"], found["theirs_from_resnext29"]
        ),
        "teacher_stored_over_none": ratio(found["ours_without_teacher"], found["ours_from_stored"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one step, three rounds")
    parser.add_argument("--steps", type=int, default=3, help="per turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=0, help="of the peers' DataLoader")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="measure resnet18 compiled too")
    parser.add_argument(
        "--cpu-time", action="store_true", help="of this process, on a busy machine (one thread)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    precision = resolve_precision("auto", device)
    steps, rounds = (1, 3) if options.quick else (options.steps, options.rounds)
    print(describe(), _conditions(options, precision, rounds), sep="\n")
    clock = time.process_time if options.cpu_time else time.perf_counter
    bench = Bench(device, precision, steps, rounds, options.workers, clock)
    results = resnet18(bench, options.compile)
    results |= mobilenetv2(bench)
    results |= taught_by_resnext29(bench)
    finish(results)


def _conditions(options: argparse.Namespace, precision: str, rounds: int) -> str:
    clock = "processor time" if options.cpu_time else "wall time"
    return f"{options.threads} threads, {precision}, {rounds} rounds, {clock}"


if __name__ == "__main__":
    main()
