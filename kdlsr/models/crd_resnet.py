"""The residual networks of CRD's pairs: ResNet-20, 32, 56, 110 and the wide 8x4 and 32x4.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, arXiv 1512.03385, section
4.2, as Tian, Krishnan, Isola: Contrastive Representation Distillation, arXiv 1910.10699, train
them (HobbitLong/RepDistiller, from where mdistiller has them): a 3x3 stem, three stages of n
basic blocks, 6n + 2 layers with weights. Unlike that paper and `resnet20` of this suite, whose
shortcuts have no parameters (option A), a shortcut is a 1x1 convolution with batch normalisation
wherever size or width change (option B); so `crd_resnet20` has 278,324 parameters at 100 classes
and `resnet20` 275,572. In the wide ones the stem has 32 channels and the stages 64, 128, 256, so
that the first stage has such a shortcut too. Convolutions are drawn from N(0, 2 / fan out).

Tensors have the released code's names, so files of its weights match by name. Neither timm nor
torchvision has these networks.
"""

from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv, conv_bn, draw_by_fan_out, global_average, relu
from kdlsr.models.registry import register

NARROW = (16, 16, 32, 64)  # channels of the stem and of the three stages
WIDE = (32, 64, 128, 256)


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: the identity, or 1x1 and batch normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample.extend(conv_bn(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.downsample(x)
        return relu(out)


def stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Returns blocks of one width, of which the first may halve the map."""
    first = Block(inputs, outputs, stride)
    return nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(blocks - 1)))


class CrdResNet(nn.Module):
    """A stem and three stages of `blocks` blocks, the last two halving the map."""

    def __init__(
        self, blocks: int, widths: tuple[int, int, int, int], num_classes: int, in_channels: int
    ) -> None:
        super().__init__()
        stem, first, second, third = widths
        self.conv1 = conv(in_channels, stem, 3)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = stage(blocks, stem, first, 1)
        self.layer2 = stage(blocks, first, second, 2)
        self.layer3 = stage(blocks, second, third, 2)
        self.fc = nn.Linear(third, num_classes)
        draw_by_fan_out(self)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, width of the last stage, H/4, W/4)."""
        out: Tensor = self.layer1(relu(self.bn1(self.conv1(x))))
        out = self.layer3(self.layer2(out))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(global_average(self.features(x)))
        return out


@register("crd_resnet20", small=True)
def crd_resnet20(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """0.28 M parameters at 100 classes."""
    return CrdResNet(3, NARROW, num_classes, spec.channels)


@register("crd_resnet32", small=True)
def crd_resnet32(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """0.47 M parameters at 100 classes."""
    return CrdResNet(5, NARROW, num_classes, spec.channels)


@register("crd_resnet56", small=True)
def crd_resnet56(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """0.86 M parameters at 100 classes."""
    return CrdResNet(9, NARROW, num_classes, spec.channels)


@register("crd_resnet110", small=True)
def crd_resnet110(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """1.74 M parameters at 100 classes."""
    return CrdResNet(18, NARROW, num_classes, spec.channels)


@register("crd_resnet8x4")
def crd_resnet8x4(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """1.23 M parameters at 100 classes."""
    return CrdResNet(1, WIDE, num_classes, spec.channels)


@register("crd_resnet32x4")
def crd_resnet32x4(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """7.43 M parameters at 100 classes."""
    return CrdResNet(5, WIDE, num_classes, spec.channels)
