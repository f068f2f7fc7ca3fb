"""ResNet-8 and ResNet-20, the CIFAR networks of He et al., for CPUs and small images.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, arXiv 1512.03385, section
4.2: a 3x3 stem, three stages of n basic blocks with widths 16, 32, 64, global average
pooling, 6n + 2 layers with weights (n = 3 gives ResNet-20; n = 1, which the paper does not
have, ResNet-8). Shortcuts are the paper's option A, which has no parameters: where a stage
halves the map, every second row and column is taken and the new channels are zero. So
ResNet-20 has the paper's 0.27 M parameters. The paper does not say where the new channels are:
`shortcut_padding=end` puts them after the old ones, `both` half before and half after them, as
the code that most use does (github.com/akamaster/pytorch_resnet_cifar10); its weights have the
shapes and the order of ours, so that only this option tells them apart. Initialisation is
PyTorch's default (the paper's is Kaiming's). No table of Yuan et al. uses these networks.
"""

from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.config import AtLeast
from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv, global_average, relu
from kdlsr.models.registry import register

Padding = Literal["end", "both"]


class Block(nn.Module):
    """Two 3x3 convolutions; the shortcut is subsampled and padded with zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, padding: Padding = "end") -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        before = (outputs - inputs) // 2 if padding == "both" else 0
        self.new_channels = (before, outputs - inputs - before)

    def forward(self, x: Tensor) -> Tensor:
        out = relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.stride > 1:
            x = F.avg_pool2d(x, 1, self.stride)  # x[:, :, ::2, ::2] with a faster gradient
        if any(self.new_channels):
            x = F.pad(x, (0, 0, 0, 0, *self.new_channels))
        out += x
        return relu(out)


class CifarResNet(nn.Module):
    """A stem of `width` channels and three stages of widths 1, 2 and 4 times that."""

    def __init__(
        self, blocks: int, width: int, num_classes: int, in_channels: int, padding: Padding
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = nn.Sequential()
        inputs = width
        for index in range(3):
            outputs = width * 2**index
            for number in range(blocks):
                stride = 2 if index > 0 and number == 0 else 1
                self.stages.append(Block(inputs, outputs, stride, padding))
                inputs = outputs
        self.linear = nn.Linear(inputs, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 4 x width, H/4, W/4)."""
        out: Tensor = self.stages(relu(self.bn1(self.conv1(x))))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(global_average(self.features(x)))
        return out


@register("resnet8", small=True, without_tensors=("shortcut_padding",))
def resnet8(
    *,
    spec: ImageSpec,
    num_classes: int,
    width: Annotated[int, AtLeast(1)] = 16,
    shortcut_padding: Padding = "end",
) -> nn.Module:
    """One block per stage; `width`: channels of the stem and the first stage.

    `shortcut_padding`: where the shortcuts' new channels are (this module's first lines).
    """
    return CifarResNet(1, width, num_classes, spec.channels, shortcut_padding)


@register("resnet20", small=True, without_tensors=("shortcut_padding",))
def resnet20(
    *,
    spec: ImageSpec,
    num_classes: int,
    width: Annotated[int, AtLeast(1)] = 16,
    shortcut_padding: Padding = "end",
) -> nn.Module:
    """Three blocks per stage; `width`: channels of the stem and the first stage.

    `shortcut_padding`: where the shortcuts' new channels are (this module's first lines).
    """
    return CifarResNet(3, width, num_classes, spec.channels, shortcut_padding)
