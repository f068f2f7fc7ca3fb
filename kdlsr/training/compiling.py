"""A network compiled: its kernels fused, and replayed as a whole on a GPU."""

import torch
from torch import nn


def compile_model(model: nn.Module, device: torch.device) -> None:
    """Has `model` compiled when it is first called; on a GPU its kernels become CUDA graphs.

    Batches have one shape but for an epoch's last, so a step is replayed as a whole, without
    the host launching kernels one by one. A graph's output is overwritten when it is next
    called, which `Learner.forward` announces: what is to last longer has to be copied.
    """
    model.compile(mode="reduce-overhead" if device.type == "cuda" else None)
