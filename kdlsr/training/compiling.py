"""A network compiled: its kernels fused."""

import torch
from torch import nn


def compile_model(model: nn.Module, device: torch.device, *, captured: bool = False) -> None:
    """Has `model` compiled when it is first called, or found in torch's cache of compiled ones.

    Args:
        model: called by its `forward` from then on.
        device: where it is.
        captured: whether steps are recorded as a whole, the compiled kernels with all else. If
            not, on a GPU the compiler has them in CUDA graphs of its own: a graph's output is
            overwritten when it is next called, which `Learner.forward` announces.
    """
    is_graphed = device.type == "cuda" and not captured
    model.compile(mode="reduce-overhead" if is_graphed else None)
