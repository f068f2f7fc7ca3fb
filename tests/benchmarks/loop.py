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

import torch
from machine import describe
from ours import epochs_of, made_images, network, our_learner, our_task
from torch.nn import functional as F
from turns import Contestant, finish, in_turns, ratio, show

from kdlsr.machine.device import AUTOCAST_DTYPES, resolve_precision

BATCH = 128
CPU = torch.device("cpu")


def ours(name: str, precision: str, steps: int, compiled: bool = False) -> Contestant:
    learner = our_learner(name, precision, BATCH, CPU, compiled)
    return Contestant(epochs_of(learner, our_task(steps * BATCH, BATCH, CPU)), steps * BATCH)


def bare(name: str, precision: str, steps: int, channels_last: bool) -> Contestant:
    pixels, labels = made_images(steps * BATCH)
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

    return Contestant(epoch, len(targets))


def compare(title: str, rounds: int, **contestants: Contestant) -> dict[str, list[float]]:
    print(title, flush=True)
    found = in_turns(contestants, rounds)
    show(found)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--compile", action="store_true", help="measure resnet18 compiled too")
    parser.add_argument("--quick", action="store_true", help="two rounds, few steps")
    options = parser.parse_args()
    rounds, share = (2, 4) if options.quick else (options.rounds, 1)
    precision = resolve_precision("auto", CPU)
    print(describe(), f"precision {precision}", f"{options.threads} threads", sep="\n")
    results: dict[str, float] = {}
    for name, steps in (("resnet18", 4 // share), ("resnet8", 40 // share)):
        torch.set_num_threads(1 if name == "resnet8" else options.threads)
        found = compare(
            f"{name}, {precision}, channels_last",
            rounds,
            ours=ours(name, precision, steps),
            bare=bare(name, precision, steps, True),
        )
        results[name] = ratio(found["ours"], found["bare"])
    torch.set_num_threads(options.threads)
    steps = 4 // share
    contestants = {
        "ours": ours("resnet18", precision, steps),
        "bare": bare("resnet18", "fp32", steps, False),
    }
    if options.compile:
        contestants["compiled"] = ours("resnet18", precision, steps, compiled=True)
    found = compare(f"resnet18, ours in {precision}, bare in fp32 and NCHW", rounds, **contestants)
    results["resnet18_over_fp32_nchw"] = ratio(found["ours"], found["bare"])
    if options.compile:
        results["resnet18_compiled_over_fp32_nchw"] = ratio(found["compiled"], found["bare"])
    finish({"ours_over_bare": min(results["resnet18"], results["resnet8"]), **results})


if __name__ == "__main__":
    main()
