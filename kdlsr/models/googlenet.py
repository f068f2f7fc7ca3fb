"""GoogLeNet as Yuan et al. (CVPR 2020) train it on 32x32 images.

Szegedy et al.: Going Deeper with Convolutions, arXiv 1409.4842. Unlike that paper: the stem is
one 3x3 convolution of stride 1 with 192 channels; every convolution has a bias and is followed
by batch normalisation and ReLU; the 5x5 convolutions are two of 3x3; there are no auxiliary
classifiers. PyTorch's default initialisation.

In the released code the batch normalisation after the first 3x3 of each "5x5" has, by a slip
in the order of its arguments, eps = its number of channels (32 to 128 instead of 1e-5). That
is not the paper's network; `released_eps_slip=true` reproduces it, for loading weights that
were trained with it.
"""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.config import Between
from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv, global_average
from kdlsr.models.registry import register


def conv_bn_relu(inputs: int, outputs: int, kernel: int, eps: float = 1e-5) -> list[nn.Module]:
    """Returns a convolution with bias, its batch normalisation, and ReLU."""
    normalisation = nn.BatchNorm2d(outputs, eps=eps)
    return [conv(inputs, outputs, kernel, bias=True), normalisation, nn.ReLU(inplace=True)]


class Inception(nn.Module):
    """Four branches side by side (Szegedy et al., figure 2 b).

    Args:
        inputs: channels that come in.
        one: channels of the 1x1 branch.
        three: channels of the 3x3 branch: after its 1x1 reduction, and at its end.
        five: the same of the "5x5" branch.
        pool: channels of the 1x1 after max-pooling.
        eps_slip: give the one batch normalisation the eps of the released code.
    """

    def __init__(
        self,
        inputs: int,
        one: int,
        three: tuple[int, int],
        five: tuple[int, int],
        pool: int,
        eps_slip: bool,
    ) -> None:
        super().__init__()
        self.one = nn.Sequential(*conv_bn_relu(inputs, one, 1))
        self.three = nn.Sequential(*conv_bn_relu(inputs, three[0], 1), *conv_bn_relu(*three, 3))
        self.five = nn.Sequential(
            *conv_bn_relu(inputs, five[0], 1),
            *conv_bn_relu(*five, 3, eps=five[1] if eps_slip else 1e-5),
            *conv_bn_relu(five[1], five[1], 3),
        )
        self.pool = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), *conv_bn_relu(inputs, pool, 1)
        )
        self.outputs = one + three[1] + five[1] + pool

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], dim=1)


# Szegedy et al., table 1: 1x1, 3x3 reduce and 3x3, 5x5 reduce and 5x5, pool projection.
Widths = tuple[int, tuple[int, int], tuple[int, int], int]
STAGES: tuple[tuple[Widths, ...], ...] = (
    ((64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64)),
    (
        (192, (96, 208), (16, 48), 64),
        (160, (112, 224), (24, 64), 64),
        (128, (128, 256), (24, 64), 64),
        (112, (144, 288), (32, 64), 64),
        (256, (160, 320), (32, 128), 128),
    ),
    ((256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128)),
)


class GoogLeNet(nn.Module):
    """A stem and nine inception blocks, the map halved after the second and the seventh."""

    def __init__(self, num_classes: int, in_channels: int, dropout: float, eps_slip: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn_relu(in_channels, 192, 3))
        self.stages = nn.Sequential()
        inputs = 192
        for index, blocks in enumerate(STAGES):
            stage = nn.Sequential()
            if index > 0:
                stage.append(nn.MaxPool2d(3, stride=2, padding=1))
            for widths in blocks:
                block = Inception(inputs, *widths, eps_slip=eps_slip)
                stage.append(block)
                inputs = block.outputs
            self.stages.append(stage)
        self.linear = nn.Linear(inputs, num_classes)
        self.dropout = dropout

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 1024, H/4, W/4)."""
        out: Tensor = self.stages(self.stem(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        # After pooling, dropping channels is dropping elements.
        pooled = F.dropout(global_average(self.features(x)), self.dropout, self.training)
        out: Tensor = self.linear(pooled)
        return out


@register("googlenet", without_tensors=("released_eps_slip",))
def googlenet(
    *,
    spec: ImageSpec,
    num_classes: int,
    dropout: Annotated[float, Between(0, 1, open_high=True)] = 0.4,
    released_eps_slip: bool = False,
) -> nn.Module:
    """6.26 M parameters at 100 classes, 1,522 M MACs for a 32x32 image.

    `dropout`: of the pooled features. `released_eps_slip`: this module's first lines.
    """
    return GoogLeNet(num_classes, spec.channels, dropout, released_eps_slip)
