"""What the machine can do at all: rates of multiplication at one precision, and a step's share."""

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from kdlsr.machine.device import AUTOCAST_DTYPES

Clock = Callable[[], float]
ROUNDS = 5
SIDES = {"cpu": 1024, "cuda": 8192}  # of a matrix: a GPU needs more to do
RECORDED = 20  # times in one CUDA graph: else its launching is what is measured


def matmul_rate(precision: str, device: torch.device, clock: Clock = time.perf_counter) -> float:
    """Returns TFLOP/s of a product of two square matrices, the best of a few."""
    dtype, size = AUTOCAST_DTYPES.get(precision, torch.float32), SIDES[device.type]
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / _best_seconds(lambda: a @ b, device, clock) / 1e12


def convolution_rate(
    precision: str, device: torch.device, clock: Clock = time.perf_counter
) -> float:
    """Returns TFLOP/s of a 3x3 convolution of maps of 16x16, forward and backward, likewise."""
    dtype, channels = AUTOCAST_DTYPES.get(precision, torch.float32), 128
    layout = torch.channels_last

    def tensor(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device, dtype=dtype).to(memory_format=layout)

    x = tensor(128, channels, 16, 16).requires_grad_()
    weight = tensor(channels, channels, 3, 3).requires_grad_()
    upstream = tensor(128, channels, 16, 16)

    def step() -> None:
        torch.autograd.grad(F.conv2d(x, weight, padding=1), (x, weight), upstream)

    flops = 3 * 2 * 128 * 16 * 16 * 9 * channels**2
    return flops / _best_seconds(step, device, clock) / 1e12


def training_flops(model: nn.Module, size: int) -> float:
    """Returns FLOPs of one image's training step, counted: two per multiply-accumulate."""
    model = model.to("meta")
    images = torch.empty(2, 3, size, size, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    return counter.get_total_flops() / 2


def _best_seconds(work: Callable[[], object], device: torch.device, clock: Clock) -> float:
    times = RECORDED if device.type == "cuda" else 1
    if device.type == "cuda":
        work = as_graph(lambda once=work: [once() for _ in range(RECORDED)])

    def all_times() -> float:
        begun = clock()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (clock() - begun) / times

    all_times()
    return min(all_times() for _ in range(ROUNDS))


def as_graph(step: Callable[[], object]) -> Callable[[], None]:
    """Returns what replays a step, warm and recorded as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())  # which makes what the step reads
    with torch.cuda.stream(side):
        for _ in range(4):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return lambda owner=step: graph.replay()  # the step owns what the graph reads
