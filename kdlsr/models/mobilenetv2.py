"""MobileNetV2 as Yuan et al. (CVPR 2020) train it on 32x32 images.

Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv 1801.04381.
Unlike that paper: the stem is a 1x1 convolution of stride 1 with a padding of 1 (so a 32x32
image becomes 34x34, with a frame of normalised biases); strides are in the stages of 24, 32
and 64 channels only; the bottleneck with expansion 1 keeps its first 1x1; every convolution
has a bias; the classifier is a 1x1 convolution and there is no dropout. PyTorch's default
initialisation.

ReLU6 is not in place: autograd needs what goes into it, and would copy that first. The average is a
pooling over the whole map, whose gradient is channels_last as the map is; a mean's is not.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv_bn
from kdlsr.models.registry import register

# repeats, output channels, stride of the first, expansion
STAGES = (
    (1, 16, 1, 1),
    (2, 24, 2, 6),
    (3, 32, 2, 6),
    (4, 64, 2, 6),
    (3, 96, 1, 6),
    (3, 160, 1, 6),
    (1, 320, 1, 6),
)


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the width, depthwise 3x3, linear 1x1; identity where it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.residual = nn.Sequential(
            *conv_bn(inputs, inner, 1, bias=True),
            nn.ReLU6(),
            *conv_bn(inner, inner, 3, stride, groups=inner, bias=True),
            nn.ReLU6(),
            *conv_bn(inner, outputs, 1, bias=True),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.residual(x)
        if self.has_shortcut:
            out += x
        return out


class MobileNetV2(nn.Module):
    """The network at width 1."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 32, 1, padding=1), nn.BatchNorm2d(32), nn.ReLU6()
        )
        self.stages = nn.Sequential()
        inputs = 32
        for repeats, outputs, first_stride, expansion in STAGES:
            stage = nn.Sequential()
            for stride in [first_stride] + [1] * (repeats - 1):
                stage.append(InvertedResidual(inputs, outputs, stride, expansion))
                inputs = outputs
            self.stages.append(stage)
        self.head = nn.Sequential(*conv_bn(inputs, 1280, 1, bias=True), nn.ReLU6())
        self.classifier = nn.Conv2d(1280, num_classes, 1)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 1280, h, w), h = 5 for H = 32."""
        out: Tensor = self.head(self.stages(self.stem(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        pooled = F.avg_pool2d(features, features.shape[-2:])
        out: Tensor = self.classifier(pooled).flatten(1)
        return out


@register("mobilenetv2")
def mobilenetv2(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """2.37 M parameters at 100 classes, 65 M MACs for a 32x32 image."""
    return MobileNetV2(num_classes, spec.channels)
