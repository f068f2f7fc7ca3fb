"""The VGG networks of CRD's pairs: VGG-8 and VGG-13 with batch normalisation.

Simonyan, Zisserman: Very Deep Convolutional Networks, arXiv 1409.1556, as Tian et al. (CRD, arXiv
1910.10699; HobbitLong/RepDistiller) train them on 32x32 images: five blocks of one (VGG-8, which
that paper does not have) or two (VGG-13) 3x3 convolutions of 64, 128, 256, 512 and 512 channels,
each with a bias, batch normalisation and ReLU; max-pooling after the first three blocks, and
after the fourth in images of height 64 alone; a global average and one linear layer. Convolutions
are drawn from N(0, 2 / fan out), the linear layer from N(0, 0.01 squared), with biases of 0.

Tensors have the released code's names, so files of its weights match by name. torchvision's
networks of these names have three linear layers and no global average.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.config.inputs import ImageSpec
from kdlsr.models.layers import conv_bn, draw_by_fan_out, global_average, relu
from kdlsr.models.registry import register

WIDTHS = (64, 128, 256, 512, 512)
LARGE = 64  # the height of images whose fourth block is followed by a pooling too


def block(convolutions: int, inputs: int, outputs: int) -> nn.Sequential:
    """Returns 3x3-BN, with a ReLU between two; the last one's is applied after the block."""
    layers = conv_bn(inputs, outputs, 3, bias=True)
    for _ in range(convolutions - 1):
        layers += [nn.ReLU(inplace=True), *conv_bn(outputs, outputs, 3, bias=True)]
    return nn.Sequential(*layers)


class Vgg(nn.Module):
    """Five blocks and a linear layer."""

    def __init__(self, convolutions: int, num_classes: int, spec: ImageSpec) -> None:
        super().__init__()
        if min(spec.size) < 8:
            raise ValueError(f"VGG needs images of at least 8x8, not {spec.size}")
        inputs = (spec.channels, *WIDTHS)
        self.block0 = block(convolutions, inputs[0], WIDTHS[0])
        self.block1 = block(convolutions, inputs[1], WIDTHS[1])
        self.block2 = block(convolutions, inputs[2], WIDTHS[2])
        self.block3 = block(convolutions, inputs[3], WIDTHS[3])
        self.block4 = block(convolutions, inputs[4], WIDTHS[4])
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)
        draw_by_fan_out(self)
        nn.init.normal_(self.classifier.weight, 0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def features(self, x: Tensor) -> Tensor:
        """Maps images (N, C, H, W) to features (N, 512, H/8, W/8), of H = 64 (N, 512, 4, 4)."""
        height = x.shape[2]
        for early in (self.block0, self.block1, self.block2):
            x = F.max_pool2d(relu(early(x)), 2)
        x = relu(self.block3(x))
        if height == LARGE:
            x = F.max_pool2d(x, 2)
        return relu(self.block4(x))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(global_average(self.features(x)))
        return out


@register("crd_vgg8")
def crd_vgg8(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """3.97 M parameters at 100 classes."""
    return Vgg(1, num_classes, spec)


@register("crd_vgg13")
def crd_vgg13(*, spec: ImageSpec, num_classes: int) -> nn.Module:
    """9.46 M parameters at 100 classes."""
    return Vgg(2, num_classes, spec)
