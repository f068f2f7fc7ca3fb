"""The ShuffleNetV2 (1x) of CRD's pairs, for 32x32 images.

Ma et al.: ShuffleNet V2, arXiv 1807.11164, as Tian et al. (CRD, arXiv 1910.10699;
HobbitLong/RepDistiller) train it. Unlike that paper: the stem is a 1x1 convolution of stride 1
without max-pool. Unlike `shufflenetv2` of this suite, which is Yuan et al.'s: that stem, with a
ReLU; no convolution has a bias; the branch of a unit that halves the map has half of the output's
channels from its first 1x1 on, not the input's. PyTorch's default initialisation.

Tensors have the released code's names, so files of its weights match by name. timm has no
ShuffleNetV2; torchvision's has the paper's stem. In `crd240` its rate is 0.01.
"""

from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv, global_average, relu
from kdlsr.models.registry import Recipe, register
from kdlsr.models.shufflenetv2 import interleave

STEM, LAST = 24, 1024
STAGES = ((116, 4), (232, 8), (464, 4))  # output channels, units; the first unit has stride 2


class DownUnit(nn.Module):
    """Halves the map: both branches see all channels (Ma et al., figure 3 d)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = conv(inputs, inputs, 3, 2, groups=inputs)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = conv(inputs, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv(inputs, half, 1)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = conv(half, half, 3, 2, groups=half)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = conv(half, half, 1)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        left = relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.bn4(self.conv4(relu(self.bn3(self.conv3(x)))))
        return interleave(left, relu(self.bn5(self.conv5(right))))


class Unit(nn.Module):
    """Passes half of the channels on and the other half through a branch (figure 3 c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = conv(half, half, 1)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = conv(half, half, 3, groups=half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv(half, half, 1)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        kept, changed = x.chunk(2, dim=1)
        out = self.bn2(self.conv2(relu(self.bn1(self.conv1(changed)))))
        return interleave(kept, relu(self.bn3(self.conv3(out))))


def stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    """Returns a unit that halves the map, and those that keep it."""
    return nn.Sequential(DownUnit(inputs, outputs), *(Unit(outputs) for _ in range(units - 1)))


class ShuffleNetV2(nn.Module):
    """A stem of 24 channels, three stages that each halve the map, 1x1 to 1024."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, STEM, 1)
        self.bn1 = nn.BatchNorm2d(STEM)
        (first, units1), (second, units2), (third, units3) = STAGES
        self.layer1 = stage(STEM, first, units1)
        self.layer2 = stage(first, second, units2)
        self.layer3 = stage(second, third, units3)
        self.conv2 = conv(third, LAST, 1)
        self.bn2 = nn.BatchNorm2d(LAST)
        self.linear = nn.Linear(LAST, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 1024, H/8, W/8)."""
        out: Tensor = self.layer1(relu(self.bn1(self.conv1(x))))
        out = self.layer3(self.layer2(out))
        return relu(self.bn2(self.conv2(out)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(global_average(self.features(x)))
        return out


@register("crd_shufflenetv2", recipe=Recipe(lr=0.01))
def crd_shufflenetv2(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """1.36 M parameters at 100 classes."""
    return ShuffleNetV2(num_classes, spec.channels)
