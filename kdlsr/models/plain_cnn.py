"""The plain CNN of Yuan et al. (CVPR 2020, table 2), their weakest teacher.

Three times convolution 3x3 (32, 64, 128 channels), batch normalisation, max-pool and ReLU;
then two linear layers with batch normalisation, ReLU and dropout between them. The paper gives
no more than "plain CNN"; this is the network of its released code. The features are
flattened, not pooled, so the first linear layer's size follows the image's (4x4x128 inputs at
32x32). PyTorch's default initialisation.

Trained by Adam without weight decay at a rate of 1e-3: the released code's rate in
distillation, and its recipe here. For the baseline the released code has a rate of 1e-1.
"""

from typing import Annotated

from torch import Tensor, nn

from kdlsr.config import Between
from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv_bn
from kdlsr.models.registry import Recipe, register


def pooled_conv(inputs: int, outputs: int) -> list[nn.Module]:
    """Returns conv 3x3-BN-maxpool-ReLU, which halves the map."""
    return [*conv_bn(inputs, outputs, 3, bias=True), nn.MaxPool2d(2), nn.ReLU(inplace=True)]


class PlainCNN(nn.Module):
    """Five layers with weights."""

    def __init__(self, spec: ImageSpec, num_classes: int, dropout: float) -> None:
        super().__init__()
        height, width = (size // 8 for size in spec.size)
        if min(height, width) < 1:
            raise ValueError(f"plain_cnn needs images of at least 8x8, not {spec.size}")
        self.convolutions = nn.Sequential(
            *pooled_conv(spec.channels, 32), *pooled_conv(32, 64), *pooled_conv(64, 128)
        )
        self.linear1 = nn.Linear(128 * height * width, 128)
        self.normalisation = nn.BatchNorm1d(128)
        self.nonlinearity = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(dropout))
        self.linear2 = nn.Linear(128, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 128, H/8, W/8)."""
        out: Tensor = self.convolutions(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        flat = self.features(x).flatten(1)
        hidden = self.nonlinearity(self.normalisation(self.linear1(flat)))
        out: Tensor = self.linear2(hidden)
        return out


@register("plain_cnn", recipe=Recipe(optimizer="adam", lr=1e-3, weight_decay=0.0), small=True)
def plain_cnn(
    *,
    spec: ImageSpec,
    num_classes: int,
    dropout: Annotated[float, Between(0, 1, open_high=True)] = 0.5,
) -> nn.Module:
    """`dropout`: between the two linear layers."""
    return PlainCNN(spec, num_classes, dropout)
