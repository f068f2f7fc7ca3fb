"""ShuffleNetV2 (1x) as Yuan et al. (CVPR 2020) train it on 32x32 images.

Ma et al.: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, arXiv
1807.11164. Unlike that paper: the stem is 3x3 with stride 1, without ReLU and without
max-pool; every convolution has a bias. PyTorch's default initialisation.
"""

from typing import Any

import torch
from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv_bn, global_average
from kdlsr.models.registry import register

STAGES = ((116, 4), (232, 8), (464, 4))  # output channels, units; the first unit has stride 2


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Concatenates two maps (N, C, H, W) and shuffles with two groups: a0 b0 a1 b1 ...

    One copy does both. It is made in the memory format of the maps (the usual reshaping to
    five dimensions turns channels_last into NCHW), which autograd then keeps on its way back.
    On a CPU each map's gradient, every second channel, is gathered before others read it.
    """
    if first.is_contiguous(memory_format=torch.channels_last) or second.is_contiguous(
        memory_format=torch.channels_last
    ):
        if first.device.type == "cpu" and torch.is_grad_enabled():
            first, second = _GatheredGradient.apply(first), _GatheredGradient.apply(second)
        last = (first.permute(0, 2, 3, 1), second.permute(0, 2, 3, 1))
        return torch.stack(last, dim=4).flatten(3).permute(0, 3, 1, 2)
    return torch.stack((first, second), dim=2).flatten(1, 2)


class _GatheredGradient(torch.autograd.Function):
    """The identity, whose gradient lies in memory without gaps: ReLU's runs quicker over it."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, *grad_outputs: Tensor) -> Tensor:
        (grad,) = grad_outputs
        return grad.contiguous(memory_format=torch.channels_last)


def branch(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """Returns depthwise 3x3-BN, 1x1-BN-ReLU."""
    return [
        *conv_bn(inputs, inputs, 3, stride, groups=inputs, bias=True),
        *conv_bn(inputs, outputs, 1, bias=True),
        nn.ReLU(inplace=True),
    ]


def pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    """Returns 1x1-BN-ReLU."""
    return [*conv_bn(inputs, outputs, 1, bias=True), nn.ReLU(inplace=True)]


class DownUnit(nn.Module):
    """Halves the map: both branches see all channels (Ma et al., figure 3 d)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        # The residual branch comes first in the released definition, hence in its weights.
        self.residual = nn.Sequential(*pointwise(inputs, inputs), *branch(inputs, half, 2))
        self.shortcut = nn.Sequential(*branch(inputs, half, 2))

    def forward(self, x: Tensor) -> Tensor:
        return interleave(self.shortcut(x), self.residual(x))


class Unit(nn.Module):
    """Passes half of the channels on and the other half through a branch (figure 3 c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.residual = nn.Sequential(*pointwise(half, half), *branch(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        return interleave(kept, self.residual(changed))


class ShuffleNetV2(nn.Module):
    """The network at width 1."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(in_channels, 24, 3, bias=True))
        self.stages = nn.Sequential()
        inputs = 24
        for outputs, units in STAGES:
            stage = nn.Sequential(DownUnit(inputs, outputs))
            stage.extend(Unit(outputs) for _ in range(units - 1))
            self.stages.append(stage)
            inputs = outputs
        self.head = nn.Sequential(*pointwise(inputs, 1024))
        self.linear = nn.Linear(1024, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 1024, H/8, W/8)."""
        out: Tensor = self.head(self.stages(self.stem(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(global_average(self.features(x)))
        return out


@register("shufflenetv2")
def shufflenetv2(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """1.36 M parameters at 100 classes, 44 M MACs for a 32x32 image."""
    return ShuffleNetV2(num_classes, spec.channels)
