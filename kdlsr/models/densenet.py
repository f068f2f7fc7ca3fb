"""DenseNet121 as Yuan et al. (CVPR 2020) train it on 32x32 images.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, arXiv
1608.06993 (DenseNet-BC, growth rate 32). Unlike that paper: a 3x3 stem of stride 1 straight
into the first block (no batch normalisation, ReLU or max-pool), and no ReLU in the
transitions. PyTorch's default initialisation.
"""

import torch
from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv, global_average
from kdlsr.models.registry import register

BLOCKS = (6, 12, 24, 16)
GROWTH = 32


class DenseLayer(nn.Module):
    """BN-ReLU-1x1, BN-ReLU-3x3; its 32 new channels are appended to what came in."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        inner = 4 * GROWTH
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(inplace=True),
            conv(inputs, inner, 1),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            conv(inner, GROWTH, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.layers(x)], dim=1)


class DenseNet(nn.Module):
    """A stem and four dense blocks; transitions between them halve channels and map."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        channels = 2 * GROWTH
        self.conv1 = conv(in_channels, channels, 3)
        self.stages = nn.Sequential()
        for index, count in enumerate(BLOCKS):
            if index > 0:
                halved = channels // 2
                self.stages.append(
                    nn.Sequential(
                        nn.BatchNorm2d(channels), conv(channels, halved, 1), nn.AvgPool2d(2)
                    )
                )
                channels = halved
            layers = [DenseLayer(channels + GROWTH * number) for number in range(count)]
            self.stages.append(nn.Sequential(*layers))
            channels += GROWTH * count
        self.stages.append(nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True)))
        self.linear = nn.Linear(channels, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 1024, H/8, W/8)."""
        out: Tensor = self.stages(self.conv1(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(global_average(self.features(x)))
        return out


@register("densenet121")
def densenet121(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """7.05 M parameters at 100 classes, 888 M MACs for a 32x32 image."""
    if min(spec.size) < 8:
        raise ValueError(f"densenet121 needs images of at least 8x8, not {spec.size}")
    return DenseNet(num_classes, spec.channels)
