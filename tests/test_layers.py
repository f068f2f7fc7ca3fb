"""A layer that computes its gradient by another way than torch's gives torch's gradient."""

import pytest
import torch
from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.models import build_model
from kdlsr.models.layers import StridedDepthwise, conv

CHANNELS = 8


def _pair(kernel: int, stride: int, bias: bool) -> tuple[nn.Conv2d, nn.Conv2d]:
    ours = conv(CHANNELS, CHANNELS, kernel, stride, groups=CHANNELS, bias=bias)
    theirs = nn.Conv2d(CHANNELS, CHANNELS, kernel, stride, kernel // 2, groups=CHANNELS, bias=bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def _step(layer: nn.Conv2d, x: Tensor, upstream: Tensor) -> list[Tensor]:
    """Output, then gradients of input, weight and bias, as a step under autocast has them."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(x)
    out.backward(upstream)
    return [
        t for t in (out.detach(), x.grad, *(p.grad for p in layer.parameters())) if t is not None
    ]


@pytest.mark.parametrize("size", [(9, 9), (8, 8), (7, 10)])
@pytest.mark.parametrize(("kernel", "stride", "bias"), [(3, 2, True), (3, 2, False), (5, 3, True)])
def test_the_gradients_of_a_strided_depthwise_convolution_are_torchs(
    size: tuple[int, int], kernel: int, stride: int, bias: bool
) -> None:
    torch.manual_seed(0)
    ours, theirs = _pair(kernel, stride, bias)
    assert isinstance(ours, StridedDepthwise)
    x = torch.randn(4, CHANNELS, *size).bfloat16().to(memory_format=torch.channels_last)
    upstream = torch.randn(4, CHANNELS, *(-(-side // stride) for side in size)).bfloat16()
    mine, others = _step(ours, x, upstream), _step(theirs, x, upstream)
    assert len(mine) == len(others) == 3 + bias
    for index, (a, b) in enumerate(zip(mine, others, strict=True)):
        if index == 1:  # the input's: one sum in another order, at most one rounding apart
            assert torch.allclose(a, b, rtol=2**-7, atol=1e-6)
            assert (a == b).float().mean() > 0.99
        else:
            assert torch.equal(a, b)


def test_in_fp32_it_is_torchs_convolution_itself() -> None:
    torch.manual_seed(0)
    ours, theirs = _pair(3, 2, True)
    x = torch.randn(4, CHANNELS, 9, 9, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    ours(x).square().sum().backward()
    theirs(other).square().sum().backward()
    assert x.grad is not None
    assert other.grad is not None
    assert torch.equal(x.grad, other.grad)


@pytest.mark.parametrize(("name", "strided"), [("mobilenetv2", 3), ("shufflenetv2", 6)])
def test_the_networks_with_strided_depthwise_convolutions_use_it(name: str, strided: int) -> None:
    with torch.device("meta"):
        model = build_model(name, {}, spec=ImageSpec(32, 32, 3), num_classes=10)
    of_torch = [
        m
        for m in model.modules()
        if isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 and m.stride[0] > 1
    ]
    assert len(of_torch) == strided
    assert all(isinstance(m, StridedDepthwise) for m in of_torch)
