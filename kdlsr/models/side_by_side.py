"""A 3x3 convolution that is quick on small maps where a CPU has AMX. No other layer, no network."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Widths from which on a map fills the unit: in products, and in the gradient of the weight.
WIDE, WIDE_FOR_WEIGHTS = 5, 9
LEAST_CHANNELS = 128  # with fewer, the copies cost what is gained


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
            grad_x = _gradients(grads, inputs, weight, stride, [True, False, False])[0]
            grad_x = apart(grad_x, len(x)) if small else grad_x
        if ctx.needs_input_grad[1]:
            grad_weight = _gradients(row_grad, row_x, weight, stride, [False, True, False])[1]
        return grad_x, grad_weight, None


def _gradients(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int, wanted: list[bool]
) -> list[Tensor]:
    """Returns torch's gradients of input, weight and bias, as far as they are wanted."""
    ones = [1, 1]
    return list(
        torch.ops.aten.convolution_backward(
            grad, x, weight, None, [stride] * 2, ones, ones, False, [0, 0], 1, wanted
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
