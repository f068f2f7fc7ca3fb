"""The wide residual networks of CRD's pairs: WRN-16-2, WRN-40-1 and WRN-40-2.

Zagoruyko, Komodakis: Wide Residual Networks, arXiv 1605.07146, as Tian et al. (CRD, arXiv
1910.10699; HobbitLong/RepDistiller) train them: WRN-d-k has a 3x3 stem of 16 channels and three
stages of (d - 4) / 6 blocks with widths 16k, 32k, 64k. Batch normalisation and ReLU come before
each convolution; where the width changes, the shortcut is a 1x1 convolution of what they give.
At k = 1 the first stage has no such shortcut. No dropout. Convolutions are drawn from
N(0, 2 / fan out); the linear layer's bias begins at 0.

Tensors have the released code's names, so files of its weights match by name. Neither timm nor
torchvision has these networks.
"""

from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv, draw_by_fan_out, global_average, relu
from kdlsr.models.registry import register

STEM = 16


class Block(nn.Module):
    """BN-ReLU-3x3 twice; the shortcut is the identity, or a 1x1 of the first BN-ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        self.convShortcut = None if inputs == outputs else conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        activated = relu(self.bn1(x))
        out: Tensor = self.conv2(relu(self.bn2(self.conv1(activated))))
        out += x if self.convShortcut is None else self.convShortcut(activated)
        return out


class Stage(nn.Module):
    """Blocks of one width, of which the first may halve the map."""

    def __init__(self, blocks: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        first = Block(inputs, outputs, stride)
        self.layer = nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class WideResNet(nn.Module):
    """A stem and three stages of (depth - 4) / 6 blocks, the last two halving the map."""

    def __init__(self, depth: int, widen: int, num_classes: int, in_channels: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        first, second, third = 16 * widen, 32 * widen, 64 * widen
        self.conv1 = conv(in_channels, STEM, 3)
        self.block1 = Stage(blocks, STEM, first, 1)
        self.block2 = Stage(blocks, first, second, 2)
        self.block3 = Stage(blocks, second, third, 2)
        self.bn1 = nn.BatchNorm2d(third)
        self.fc = nn.Linear(third, num_classes)
        draw_by_fan_out(self)
        nn.init.zeros_(self.fc.bias)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 64 x widen, H/4, W/4)."""
        out: Tensor = self.block3(self.block2(self.block1(self.conv1(x))))
        return relu(self.bn1(out))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(global_average(self.features(x)))
        return out


@register("crd_wrn_16_2")
def crd_wrn_16_2(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """0.70 M parameters at 100 classes."""
    return WideResNet(16, 2, num_classes, spec.channels)


@register("crd_wrn_40_1")
def crd_wrn_40_1(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """0.57 M parameters at 100 classes."""
    return WideResNet(40, 1, num_classes, spec.channels)


@register("crd_wrn_40_2")
def crd_wrn_40_2(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """2.26 M parameters at 100 classes."""
    return WideResNet(40, 2, num_classes, spec.channels)
