"""Convolutions that are quicker than torch's, in bf16 on a CPU. No other layer, no network."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Widths from which on a map fills the unit: in products, and in the gradient of the weight.
WIDE, WIDE_FOR_WEIGHTS = 5, 9
LEAST_CHANNELS = 128  # with fewer, the copies cost what is gained


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
        _, grad_weight, grad_bias = _gradients(
            grad, x, weight, stride, padding, channels, [False, True, ctx.has_bias]
        )
        return grad_x, grad_weight, grad_bias, None, None


class SideBySide(nn.Conv2d):
    """A convolution of stride 1 or 2 without a bias that lays small maps in one row, in bf16.

    oneDNN's kernels for AMX take as many pixels at once as a map is wide: those of 4x4 leave
    three quarters of the unit idle, in the weight's gradient seven eighths. Values and the input's
    gradient are torch's own, bit by bit; the weight's is the same sum in another order.
    """

    def forward(self, x: Tensor) -> Tensor:
        stride = self.stride[0]
        if x.dtype != torch.bfloat16 or x.device.type != "cpu" or x.shape[3] % stride:
            return super().forward(x)
        if -(-x.shape[3] // stride) >= WIDE_FOR_WEIGHTS:
            return super().forward(x)
        out: Tensor = SideBySideConvolution.apply(x, self.weight.to(x.dtype), stride)
        return out


class SideBySideConvolution(torch.autograd.Function):
    """Maps (N, C, H, W), weights (C', C, 3, 3), stride s, which divides W: (N, C', H/s, W/s)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        if stride == 1 and x.shape[3] < WIDE:
            return apart(F.conv2d(in_a_row(x), weight, padding=1), len(x))
        return F.conv2d(x, weight, stride=stride, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), stride, (grad,) = ctx.saved_tensors, ctx.stride, grad_outputs
        small = stride == 1 and x.shape[3] < WIDE
        row_grad, row_x = in_a_row(grad), in_a_row(x, stride)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grads, inputs = (row_grad, row_x) if small else (grad, x)
            grad_x = _gradients(grads, inputs, weight, stride, 1, 1, [True, False, False])[0]
            grad_x = apart(grad_x, len(x)) if small else grad_x
        if ctx.needs_input_grad[1]:
            grad_weight = _gradients(row_grad, row_x, weight, stride, 1, 1, [False, True, False])[1]
        return grad_x, grad_weight, None


def _gradients(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    groups: int,
    wanted: list[bool],
) -> list[Tensor]:
    """Returns torch's gradients of input, weight and bias, as far as they are wanted."""
    bias = [len(weight)] if wanted[2] else None
    sizes = [stride] * 2, [padding] * 2, [1, 1]
    return list(
        torch.ops.aten.convolution_backward(
            grad, x, weight, bias, *sizes, False, [0, 0], groups, wanted
        )
    )


def in_a_row(maps: Tensor, gap: int = 1) -> Tensor:
    """Lays maps (N, C, H, W) side by side, `gap` zeros after each: (1, C, H, N (W + gap))."""
    count, channels, height, width = maps.shape
    row = maps.new_zeros(height, count, width + gap, channels)
    row[:, :, :width] = maps.permute(2, 0, 3, 1)
    return row.view(1, height, -1, channels).permute(0, 3, 1, 2)


def apart(row: Tensor, count: int) -> Tensor:
    """Takes `count` maps out of their row again, channels_last: the inverse of `in_a_row`."""
    _, channels, height, _ = row.shape
    maps = row.permute(0, 2, 3, 1).reshape(height, count, -1, channels)[:, :, :-1]
    return maps.transpose(0, 1).contiguous().permute(0, 3, 1, 2)
