"""The few layers that several families share. No network stands here."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from kdlsr.machine.device import multiplies_bf16_matrices
from kdlsr.models.side_by_side import LEAST_CHANNELS, SideBySide


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """Returns a convolution that keeps the size of the map, up to its stride (odd kernels)."""
    layer: type[nn.Conv2d] = nn.Conv2d
    if stride > 1 and groups == inputs == outputs:
        layer = StridedDepthwise
    plain = (kernel, groups, bias) == (3, 1, False) and stride in (1, 2)
    if plain and inputs >= LEAST_CHANNELS and multiplies_bf16_matrices():
        layer = SideBySide
    return layer(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias
    )


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution with a stride, whose backward pass is quick in bf16 on a CPU too.

    oneDNN has no fast kernel for its input gradient in that type, and a slow one takes a third
    of MobileNetV2's step and half of ShuffleNetV2's. Values and the gradients of weight and
    bias are torch's own, bit by bit; the input gradient is the same sum in another order.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16 and x.device.type == "cpu" and torch.is_grad_enabled():
            bias = None if self.bias is None else self.bias.to(x.dtype)
            out: Tensor = _StridedDepthwise.apply(
                x, self.weight.to(x.dtype), bias, self.stride[0], self.kernel_size[0] // 2
            )
            return out
        return super().forward(x)


class _StridedDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.has_bias = stride, padding, bias is not None
        return F.conv2d(x, weight, bias, stride=stride, padding=padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (stride, padding) = ctx.saved_tensors, (ctx.stride, ctx.padding)
        channels, (grad,) = len(weight), grad_outputs
        grad_x = None
        if ctx.needs_input_grad[0]:
            # The outputs that a stride leaves out have no gradient: with zeros in their places
            # it is the gradient of a convolution of stride 1, which is one of stride 1 itself.
            spread = torch.zeros_like(x)
            spread[:, :, ::stride, ::stride] = grad
            grad_x = F.conv2d(spread, weight.flip(2, 3), padding=padding, groups=channels)
        _, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            grad,
            x,
            weight,
            [channels] if ctx.has_bias else None,
            [stride] * 2,
            [padding] * 2,
            [1, 1],
            False,
            [0, 0],
            channels,
            [False, True, ctx.has_bias],
        )
        return grad_x, grad_weight, grad_bias, None, None


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> list[nn.Module]:
    """Returns a convolution and its batch normalisation."""
    return [conv(inputs, outputs, kernel, stride, groups, bias), nn.BatchNorm2d(outputs)]


def draw_by_fan_out(model: nn.Module) -> None:
    """Draws the weights of all convolutions anew from N(0, 2 / fan out); their biases become 0.

    The fan out is kernel height x width x output channels, also of a grouped convolution.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def relu(x: Tensor) -> Tensor:
    """ReLU in place: for results of a batch normalisation or a sum, which nobody else reads."""
    return F.relu(x, inplace=True)


def global_average(features: Tensor) -> Tensor:
    """Averages maps (N, C, h, w) of any size over positions: (N, C)."""
    return F.adaptive_avg_pool2d(features, 1).flatten(1)
