"""The few layers that several families share. No network stands here."""

from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.machine.device import multiplies_bf16_matrices
from kdlsr.models.convolutions import LEAST_CHANNELS, SideBySide, StridedDepthwise


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """Returns a convolution that keeps the size of the map, up to its stride (odd kernels)."""
    layer: type[nn.Conv2d] = nn.Conv2d
    if stride > 1 and groups == inputs == outputs:
        layer = StridedDepthwise
    plain = (kernel, groups, bias) == (3, 1, False) and stride in (1, 2)
    if plain and inputs >= LEAST_CHANNELS and multiplies_bf16_matrices():
        layer = SideBySide
    return layer(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias
    )


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> list[nn.Module]:
    """Returns a convolution and its batch normalisation."""
    return [conv(inputs, outputs, kernel, stride, groups, bias), nn.BatchNorm2d(outputs)]


def draw_by_fan_out(model: nn.Module) -> None:
    """Draws the weights of all convolutions anew from N(0, 2 / fan out); their biases become 0.

    The fan out is kernel height x width x output channels, also of a grouped convolution.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def relu(x: Tensor) -> Tensor:
    """ReLU in place: for results of a batch normalisation or a sum, which nobody else reads."""
    return F.relu(x, inplace=True)


def global_average(features: Tensor) -> Tensor:
    """Averages maps (N, C, h, w) of any size over positions: (N, C)."""
    return F.adaptive_avg_pool2d(features, 1).flatten(1)
