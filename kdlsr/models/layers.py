"""The few layers that several families share. No network stands here."""

from torch import Tensor, nn
from torch.nn import functional as F


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """Returns a convolution that keeps the size of the map, up to its stride (odd kernels)."""
    return nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias
    )


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> list[nn.Module]:
    """Returns a convolution and its batch normalisation."""
    return [conv(inputs, outputs, kernel, stride, groups, bias), nn.BatchNorm2d(outputs)]


def relu(x: Tensor) -> Tensor:
    """ReLU in place: for results of a batch normalisation or a sum, which nobody else reads."""
    return F.relu(x, inplace=True)


def global_average(features: Tensor) -> Tensor:
    """Averages maps (N, C, h, w) of any size over positions: (N, C)."""
    return F.adaptive_avg_pool2d(features, 1).flatten(1)
