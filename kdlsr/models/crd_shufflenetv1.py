"""The ShuffleNet (its first version) of CRD's pairs, for 32x32 images.

Zhang et al.: ShuffleNet, arXiv 1707.01083, with 3 groups and stages of 240, 480 and 960 channels,
as Tian et al. (CRD, arXiv 1910.10699; HobbitLong/RepDistiller) train it. Unlike that paper: the
stem is a 1x1 convolution of stride 1 without max-pool, and the inner width of a unit that halves
the map is a quarter of the channels that it adds, not of all. Its first unit's 1x1 is not grouped,
as in the paper. No biases; PyTorch's default initialisation.

Tensors have the released code's names, so files of its weights match by name. Neither timm nor
torchvision has this network. In `crd240` its rate is 0.01.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv, global_average, relu
from kdlsr.models.registry import Recipe, register

GROUPS, STEM = 3, 24
STAGES = ((240, 4), (480, 8), (960, 4))  # output channels, units; the first unit has stride 2


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleaves the groups of a map's channels (N, C, H, W), in its own memory format."""
    parts = x.chunk(groups, dim=1)
    if x.is_contiguous(memory_format=torch.channels_last):
        last = tuple(part.permute(0, 2, 3, 1) for part in parts)
        return torch.stack(last, dim=4).flatten(3).permute(0, 3, 1, 2)
    return torch.stack(parts, dim=2).flatten(1, 2)


class Unit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1, beside the identity.

    With a stride of 2 the identity is an average over 3x3, and is concatenated, not added.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        added = outputs - inputs if stride == 2 else outputs
        inner = added // 4
        self.groups = 1 if inputs == STEM else GROUPS
        self.stride = stride
        self.conv1 = conv(inputs, inner, 1, groups=self.groups)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = conv(inner, inner, 3, stride, groups=inner)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = conv(inner, added, 1, groups=GROUPS)
        self.bn3 = nn.BatchNorm2d(added)

    def forward(self, x: Tensor) -> Tensor:
        out = shuffle(relu(self.bn1(self.conv1(x))), self.groups)
        out = relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.stride == 2:
            return relu(torch.cat((out, F.avg_pool2d(x, 3, 2, padding=1)), dim=1))
        out += x
        return relu(out)


def stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    """Returns a unit that halves the map, and those that keep it."""
    return nn.Sequential(
        Unit(inputs, outputs, 2), *(Unit(outputs, outputs, 1) for _ in range(units - 1))
    )


class ShuffleNetV1(nn.Module):
    """A stem of 24 channels and three stages, each halving the map."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, STEM, 1)
        self.bn1 = nn.BatchNorm2d(STEM)
        (first, units1), (second, units2), (third, units3) = STAGES
        self.layer1 = stage(STEM, first, units1)
        self.layer2 = stage(first, second, units2)
        self.layer3 = stage(second, third, units3)
        self.linear = nn.Linear(third, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 960, H/8, W/8)."""
        out: Tensor = self.layer1(relu(self.bn1(self.conv1(x))))
        out = self.layer3(self.layer2(out))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(global_average(self.features(x)))
        return out


@register("crd_shufflenetv1", recipe=Recipe(lr=0.01))
def crd_shufflenetv1(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """0.95 M parameters at 100 classes."""
    return ShuffleNetV1(num_classes, spec.channels)
