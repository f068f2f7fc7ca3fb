"""A layer that computes its gradient by another way than torch's gives torch's gradient."""

import pytest
import torch
from torch import Tensor, nn

from kdlsr.config.inputs import ImageSpec
from kdlsr.machine.device import multiplies_bf16_matrices
from kdlsr.models import build_model, layers
from kdlsr.models.convolutions import (
    SideBySide,
    SideBySideConvolution,
    StridedDepthwise,
    apart,
    in_a_row,
)
from kdlsr.models.layers import conv

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


@pytest.mark.parametrize(("has_amx", "laid_in_a_row"), [(True, 11), (False, 0)])
def test_wide_convolutions_lay_maps_side_by_side_where_the_cpu_has_amx(
    monkeypatch: pytest.MonkeyPatch, has_amx: bool, laid_in_a_row: int
) -> None:
    monkeypatch.setattr(layers, "multiplies_bf16_matrices", lambda: has_amx)
    with torch.device("meta"):
        model = build_model("resnet18", {}, spec=ImageSpec(32, 32, 3), num_classes=10)
    assert sum(isinstance(m, SideBySide) for m in model.modules()) == laid_in_a_row


def test_maps_side_by_side_have_zeros_between_them_and_come_apart_again() -> None:
    maps = torch.randn(3, 2, 4, 5)
    row = in_a_row(maps)
    assert row.shape == (1, 2, 4, 18)
    assert torch.equal(row[0, :, :, 6:11], maps[1])
    assert not row[0, :, :, 5::6].any()
    assert torch.equal(apart(row, 3), maps)


@pytest.mark.parametrize(
    ("size", "stride"),
    [((4, 4), 1), ((1, 1), 1), ((2, 3), 1), ((8, 8), 1), ((8, 8), 2), ((5, 4), 2)],
)
def test_a_convolution_of_maps_side_by_side_and_its_gradients_are_torchs(
    size: tuple[int, int], stride: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 6, *size, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    ours = SideBySideConvolution.apply(x, weight, stride)
    theirs = nn.functional.conv2d(x, weight, stride=stride, padding=1)
    upstream = torch.randn_like(theirs)
    pairs = [
        (ours, theirs),
        *zip(
            torch.autograd.grad(ours, (x, weight), upstream),
            torch.autograd.grad(theirs, (x, weight), upstream),
            strict=True,
        ),
    ]
    for a, b in pairs:
        torch.testing.assert_close(a, b)


@pytest.mark.skipif(not multiplies_bf16_matrices(), reason="a CPU without AMX")
@pytest.mark.parametrize(("count", "size"), [(32, 4), (7, 4), (20, 2), (1, 4), (9, 8)])
def test_with_amx_maps_side_by_side_move_only_roundings_of_the_weights_gradient(
    count: int, size: int
) -> None:
    torch.manual_seed(0)
    ours = conv(256, 320, 3).to(memory_format=torch.channels_last)
    assert isinstance(ours, SideBySide)
    theirs = nn.Conv2d(256, 320, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    theirs.load_state_dict(ours.state_dict())
    x, upstream = (
        torch.randn(count, channels, size, size).bfloat16().to(memory_format=torch.channels_last)
        for channels in (256, 320)
    )
    *mine, weight = _step(ours, x, upstream)
    *others, of_torch = _step(theirs, x, upstream)
    assert all(torch.equal(a, b) for a, b in zip(mine, others, strict=True))
    assert (weight == of_torch).float().mean() > 0.99
    torch.testing.assert_close(weight, of_torch, rtol=2**-7, atol=1e-2)
