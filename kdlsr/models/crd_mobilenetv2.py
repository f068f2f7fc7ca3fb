"""The MobileNetV2 of CRD's pairs: half the width, for 32x32 images.

Sandler et al.: MobileNetV2, arXiv 1801.04381, as Tian et al. (CRD, arXiv 1910.10699;
HobbitLong/RepDistiller) train it. Unlike that paper: strides of 1 in the stage of 24 channels;
ReLU in place of ReLU6; all widths halved but the last, 1280; no dropout. Unlike `mobilenetv2` of
this suite, which is Yuan et al.'s: a 3x3 stem of stride 2, convolutions without biases, a stride
of 1 in the stage of 24 and of 2 in that of 160, half the width. Convolutions are drawn from
N(0, 2 / fan out), the linear layer from N(0, 0.01 squared).

Tensors have the released code's names, so files of its weights match by name. timm's and
torchvision's networks have the paper's strides. In `crd240` its rate is 0.01.
"""

from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv_bn, draw_by_fan_out, global_average
from kdlsr.models.registry import Recipe, register

STEM, LAST = 16, 1280
# repeats, output channels at half the width, stride of the first, expansion
STAGES = (
    (1, 8, 1, 1),
    (2, 12, 1, 6),
    (3, 16, 2, 6),
    (4, 32, 2, 6),
    (3, 48, 1, 6),
    (3, 80, 2, 6),
    (1, 160, 1, 6),
)


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the width, depthwise 3x3, linear 1x1; identity where it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.conv = nn.Sequential(
            *conv_bn(inputs, inner, 1),
            nn.ReLU(inplace=True),
            *conv_bn(inner, inner, 3, stride, groups=inner),
            nn.ReLU(inplace=True),
            *conv_bn(inner, outputs, 1),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        if self.has_shortcut:
            out += x
        return out


class MobileNetV2(nn.Module):
    """A stem that halves the map, seven stages, 1x1 to 1280 and a linear layer."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*conv_bn(in_channels, STEM, 3, 2), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential()
        inputs = STEM
        for repeats, outputs, first_stride, expansion in STAGES:
            stage = nn.Sequential()
            for stride in [first_stride] + [1] * (repeats - 1):
                stage.append(InvertedResidual(inputs, outputs, stride, expansion))
                inputs = outputs
            self.blocks.append(stage)
        self.conv2 = nn.Sequential(*conv_bn(inputs, LAST, 1), nn.ReLU(inplace=True))
        linear = nn.Linear(LAST, num_classes)
        self.classifier = nn.Sequential(linear)
        draw_by_fan_out(self)
        nn.init.normal_(linear.weight, 0, 0.01)
        nn.init.zeros_(linear.bias)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 1280, H/16, W/16)."""
        out: Tensor = self.conv2(self.blocks(self.conv1(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(global_average(self.features(x)))
        return out


@register("crd_mobilenetv2", recipe=Recipe(lr=0.01))
def crd_mobilenetv2(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """0.81 M parameters at 100 classes."""
    return MobileNetV2(num_classes, spec.channels)
