"""ResNet18, 50 and 101 as Yuan et al. (CVPR 2020) train them on 32x32 images; ResNet34 alike.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, arXiv 1512.03385. Unlike
the ImageNet networks of that paper: a 3x3 stem of stride 1 and no max-pool, so the map before
pooling is 4x4; the stride of a bottleneck is on its 3x3, not on its first 1x1. Unlike the
released code of Yuan et al., which averages windows of 4x4, pooling is global: the same at
32x32, and right at 64x64. PyTorch's default initialisation.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv, conv_bn, global_average, relu
from kdlsr.models.registry import register


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Returns the shortcut: empty (the identity), or 1x1 and BN where size or width change."""
    changes = stride != 1 or inputs != outputs
    return nn.Sequential(*conv_bn(inputs, outputs, 1, stride)) if changes else nn.Sequential()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., figure 5, left)."""

    expansion: ClassVar[int] = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = projection(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to four times the width, and a shortcut (He et al., figure 5, right)."""

    expansion: ClassVar[int] = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.shortcut(x)
        return relu(out)


class ResNet(nn.Module):
    """A stem and four stages of widths 64, 128, 256, 512, the last three halving the map."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        repeats: Sequence[int],
        num_classes: int,
        in_channels: int,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.stages = nn.Sequential()
        inputs = 64
        for index, count in enumerate(repeats):
            width = 64 * 2**index
            strides = [1 if index == 0 else 2] + [1] * (count - 1)
            stage = nn.Sequential()
            for stride in strides:
                stage.append(block(inputs, width, stride))
                inputs = width * block.expansion
            self.stages.append(stage)
        self.linear = nn.Linear(inputs, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 512 x expansion, H/8, W/8)."""
        out: Tensor = self.stages(relu(self.bn1(self.conv1(x))))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(global_average(self.features(x)))
        return out


@register("resnet18")
def resnet18(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """11.22 M parameters at 100 classes, 555 M MACs for a 32x32 image."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, spec.channels)


@register("resnet34")
def resnet34(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """21.33 M parameters at 100 classes; none of Yuan et al.'s."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, spec.channels)


@register("resnet50")
def resnet50(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """23.71 M parameters at 100 classes, 1,298 M MACs for a 32x32 image."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, spec.channels)


@register("resnet101")
def resnet101(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """42.70 M parameters at 100 classes, 2,510 M MACs for a 32x32 image."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, spec.channels)
