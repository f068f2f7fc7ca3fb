"""ResNeXt29 (8x64d) as Yuan et al. (CVPR 2020) train it on 32x32 images.

Xie, Girshick, Dollar, Tu, He: Aggregated Residual Transformations for Deep Neural Networks,
arXiv 1611.05431, section 5.2 (CIFAR; blocks in the form of figure 3 c). Initialisation:
Kaiming-normal, convolutions by their fan-out and the classifier by its fan-in; batch
normalisation weights 1, all biases 0.
"""

from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv, conv_bn, global_average, relu
from kdlsr.models.registry import register

CARDINALITY = 8
BLOCKS = 3  # per stage


class Bottleneck(nn.Module):
    """1x1, grouped 3x3, 1x1, each with BN; projection shortcut where widths differ.

    The inner width is cardinality x outputs / 4: 8 groups of 64 channels in the first stage.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = CARDINALITY * outputs // 4
        self.conv1 = conv(inputs, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv(inner, inner, 3, stride, groups=CARDINALITY)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = conv(inner, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if inputs != outputs:
            self.shortcut.extend(conv_bn(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.shortcut(x)
        return relu(out)


class ResNeXt(nn.Module):
    """A stem and three stages of widths 256, 512, 1024, the last two halving the map."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.stages = nn.Sequential()
        inputs = 64
        for index in range(3):
            outputs = 256 * 2**index
            stage = nn.Sequential(Bottleneck(inputs, outputs, 1 if index == 0 else 2))
            stage.extend(Bottleneck(outputs, outputs, 1) for _ in range(BLOCKS - 1))
            self.stages.append(stage)
            inputs = outputs
        self.linear = nn.Linear(inputs, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.kaiming_normal_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 1024, H/4, W/4)."""
        out: Tensor = self.stages(relu(self.bn1(self.conv1(x))))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(global_average(self.features(x)))
        return out


@register("resnext29")
def resnext29(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """34.52 M parameters at 100 classes, 5,387 M MACs for a 32x32 image."""
    return ResNeXt(num_classes, spec.channels)
