"""CRD's networks again, from the names of their tensors alone: what a file of theirs holds, and
what is to be computed with it (HobbitLong/RepDistiller, models/; mdistiller has the same).

Written apart from `kdlsr/models`: shapes from the published widths, and forward passes as plain
functions of a state dict in which no module of ours takes part.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

# ---------------------------------------------------------------- names and shapes


def conv(name: str, outputs: int, inputs: int, kernel: int, bias: bool = False) -> Shapes:
    own = {f"{name}.weight": (outputs, inputs, kernel, kernel)}
    return own | ({f"{name}.bias": (outputs,)} if bias else {})


def bn(name: str, width: int) -> Shapes:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (width,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def resnet(blocks: int, widths: tuple[int, ...], classes: int) -> Shapes:
    found = conv("conv1", widths[0], 3, 3) | bn("bn1", widths[0])
    before = widths[0]
    for stage, width in enumerate(widths[1:], 1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            found |= conv(f"{at}.conv1", width, before, 3) | bn(f"{at}.bn1", width)
            found |= conv(f"{at}.conv2", width, width, 3) | bn(f"{at}.bn2", width)
            if block == 0 and (stage > 1 or before != width):
                found |= conv(f"{at}.downsample.0", width, before, 1)
                found |= bn(f"{at}.downsample.1", width)
            before = width
    return found | linear("fc", classes, before)


def wrn(blocks: int, widen: int, classes: int) -> Shapes:
    found, before = conv("conv1", 16, 3, 3), 16
    for stage in (1, 2, 3):
        width = widen * 8 * 2**stage
        for block in range(blocks):
            at = f"block{stage}.layer.{block}"
            found |= bn(f"{at}.bn1", before) | conv(f"{at}.conv1", width, before, 3)
            found |= bn(f"{at}.bn2", width) | conv(f"{at}.conv2", width, width, 3)
            if before != width:
                found |= conv(f"{at}.convShortcut", width, before, 1)
            before = width
    return found | bn("bn1", before) | linear("fc", classes, before)


def vgg(convolutions: int, classes: int) -> Shapes:
    found: Shapes = {}
    before = 3
    for block, width in enumerate((64, 128, 256, 512, 512)):
        for number in range(convolutions):
            found |= conv(f"block{block}.{3 * number}", width, before, 3, bias=True)
            found |= bn(f"block{block}.{3 * number + 1}", width)
            before = width
    return found | linear("classifier", classes, 512)


MOBILE = ((1, 8, 1), (2, 12, 6), (3, 16, 6), (4, 32, 6), (3, 48, 6), (3, 80, 6), (1, 160, 6))


def mobilenet(classes: int) -> Shapes:
    found, before = conv("conv1.0", 16, 3, 3) | bn("conv1.1", 16), 16
    for stage, (repeats, width, expansion) in enumerate(MOBILE):
        for number in range(repeats):
            at, inner = f"blocks.{stage}.{number}.conv", before * expansion
            found |= conv(f"{at}.0", inner, before, 1) | bn(f"{at}.1", inner)
            found |= conv(f"{at}.3", inner, 1, 3) | bn(f"{at}.4", inner)
            found |= conv(f"{at}.6", width, inner, 1) | bn(f"{at}.7", width)
            before = width
    found |= conv("conv2.0", 1280, 160, 1) | bn("conv2.1", 1280)
    return found | linear("classifier.0", classes, 1280)


def shuffle_v1(classes: int) -> Shapes:
    found, before = conv("conv1", 24, 3, 1) | bn("bn1", 24), 24
    for stage, (width, units) in enumerate(((240, 4), (480, 8), (960, 4)), 1):
        for unit in range(units):
            at, added = f"layer{stage}.{unit}", width - before if unit == 0 else width
            groups, inner = 1 if before == 24 else 3, added // 4
            found |= conv(f"{at}.conv1", inner, before // groups, 1) | bn(f"{at}.bn1", inner)
            found |= conv(f"{at}.conv2", inner, 1, 3) | bn(f"{at}.bn2", inner)
            found |= conv(f"{at}.conv3", added, inner // 3, 1) | bn(f"{at}.bn3", added)
            before = width
    return found | linear("linear", classes, 960)


def shuffle_v2(classes: int) -> Shapes:
    found, before = conv("conv1", 24, 3, 1) | bn("bn1", 24), 24
    for stage, (width, units) in enumerate(((116, 3), (232, 7), (464, 3)), 1):
        at, half = f"layer{stage}.0", width // 2
        found |= conv(f"{at}.conv1", before, 1, 3) | bn(f"{at}.bn1", before)
        found |= conv(f"{at}.conv2", half, before, 1) | bn(f"{at}.bn2", half)
        found |= conv(f"{at}.conv3", half, before, 1) | bn(f"{at}.bn3", half)
        found |= conv(f"{at}.conv4", half, 1, 3) | bn(f"{at}.bn4", half)
        found |= conv(f"{at}.conv5", half, half, 1) | bn(f"{at}.bn5", half)
        for unit in range(1, units + 1):
            at = f"layer{stage}.{unit}"
            for number, inputs, kernel in ((1, half, 1), (2, 1, 3), (3, half, 1)):
                found |= conv(f"{at}.conv{number}", half, inputs, kernel)
                found |= bn(f"{at}.bn{number}", half)
        before = width
    found |= conv("conv2", 1024, 464, 1) | bn("bn2", 1024)
    return found | linear("linear", classes, 1024)


def made_state(shapes: Shapes, seed: int = 0) -> State:
    """A state dict of those shapes: weights that keep the size of what passes, odd statistics."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif len(shape) > 1:
            spread = (2 / torch.Size(shape[1:]).numel()) ** 0.5
            state[name] = torch.randn(shape, generator=generator) * spread
        elif name.endswith("running_var") or name.endswith("weight"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            state[name] = 0.2 * torch.randn(shape, generator=generator)
    return state


# ---------------------------------------------------------------- forward passes, in float64


class Pass:
    """Layers by the names of their tensors."""

    def __init__(self, state: State) -> None:
        self.state = {name: t.double() for name, t in state.items()}

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(x, weight, bias, stride, weight.shape[2] // 2, groups=groups)

    def bn(self, x: Tensor, name: str) -> Tensor:
        leaves = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{name}.{leaf}"] for leaf in leaves))

    def linear(self, x: Tensor, name: str) -> Tensor:
        pooled = x.mean((2, 3))
        return pooled @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def numbered(self, prefix: str) -> Iterator[tuple[int, str]]:
        number = 0
        while any(name.startswith(f"{prefix}.{number}.") for name in self.state):
            yield number, f"{prefix}.{number}"
            number += 1


def resnet_logits(net: Pass, x: Tensor) -> Tensor:
    x = net.bn(net.conv(x, "conv1"), "bn1").relu()
    for stage in (1, 2, 3):
        for block, at in net.numbered(f"layer{stage}"):
            stride = 2 if stage > 1 and block == 0 else 1
            out = net.bn(net.conv(x, f"{at}.conv1", stride), f"{at}.bn1").relu()
            out = net.bn(net.conv(out, f"{at}.conv2"), f"{at}.bn2")
            if f"{at}.downsample.0.weight" in net.state:
                x = net.bn(net.conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            x = (out + x).relu()
    return net.linear(x, "fc")


def wrn_logits(net: Pass, x: Tensor) -> Tensor:
    x = net.conv(x, "conv1")
    for stage in (1, 2, 3):
        for block, at in net.numbered(f"block{stage}.layer"):
            stride = 2 if stage > 1 and block == 0 else 1
            first = net.bn(x, f"{at}.bn1").relu()
            out = net.bn(net.conv(first, f"{at}.conv1", stride), f"{at}.bn2").relu()
            out = net.conv(out, f"{at}.conv2")
            has_shortcut = f"{at}.convShortcut.weight" in net.state
            x = out + (net.conv(first, f"{at}.convShortcut", stride) if has_shortcut else x)
    return net.linear(net.bn(x, "bn1").relu(), "fc")


def vgg_logits(net: Pass, x: Tensor) -> Tensor:
    poolings = 4 if x.shape[2] == 64 else 3
    for block in range(5):
        for number in (0, 3):
            if f"block{block}.{number}.weight" in net.state:
                out = net.conv(x, f"block{block}.{number}")
                x = net.bn(out, f"block{block}.{number + 1}").relu()
        if block < poolings:
            x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    return net.linear(x, "classifier")


def mobilenet_logits(net: Pass, x: Tensor) -> Tensor:
    x = net.bn(net.conv(x, "conv1.0", 2), "conv1.1").relu()
    for stage in range(7):
        for number, block in net.numbered(f"blocks.{stage}"):
            at, stride = f"{block}.conv", 2 if number == 0 and stage in (2, 3, 5) else 1
            out = net.bn(net.conv(x, f"{at}.0"), f"{at}.1").relu()
            out = net.bn(net.conv(out, f"{at}.3", stride), f"{at}.4").relu()
            out = net.bn(net.conv(out, f"{at}.6"), f"{at}.7")
            x = out + x if stride == 1 and out.shape == x.shape else out
    return net.linear(net.bn(net.conv(x, "conv2.0"), "conv2.1").relu(), "classifier.0")


def shuffled(x: Tensor, groups: int) -> Tensor:
    order = torch.arange(x.shape[1]).reshape(groups, -1).T.flatten()
    return x[:, order]


def shuffle_v1_logits(net: Pass, x: Tensor) -> Tensor:
    x = net.bn(net.conv(x, "conv1"), "bn1").relu()
    for stage in (1, 2, 3):
        for unit, at in net.numbered(f"layer{stage}"):
            stride, groups = 2 if unit == 0 else 1, 1 if x.shape[1] == 24 else 3
            out = shuffled(net.bn(net.conv(x, f"{at}.conv1"), f"{at}.bn1").relu(), groups)
            out = net.bn(net.conv(out, f"{at}.conv2", stride), f"{at}.bn2").relu()
            out = net.bn(net.conv(out, f"{at}.conv3"), f"{at}.bn3")
            if unit == 0:
                window = torch.full((x.shape[1], 1, 3, 3), 1 / 9, dtype=x.dtype)
                kept = F.conv2d(x, window, None, 2, 1, groups=x.shape[1])
                x = torch.cat((out, kept), 1).relu()
            else:
                x = (out + x).relu()
    return net.linear(x, "linear")


def shuffle_v2_logits(net: Pass, x: Tensor) -> Tensor:
    x = net.bn(net.conv(x, "conv1"), "bn1").relu()
    for stage in (1, 2, 3):
        for unit, at in net.numbered(f"layer{stage}"):
            if unit == 0:
                left = net.bn(net.conv(x, f"{at}.conv1", 2), f"{at}.bn1")
                left = net.bn(net.conv(left, f"{at}.conv2"), f"{at}.bn2").relu()
                right = net.bn(net.conv(x, f"{at}.conv3"), f"{at}.bn3").relu()
                right = net.bn(net.conv(right, f"{at}.conv4", 2), f"{at}.bn4")
                right = net.bn(net.conv(right, f"{at}.conv5"), f"{at}.bn5").relu()
            else:
                left, right = x.split(x.shape[1] // 2, 1)
                right = net.bn(net.conv(right, f"{at}.conv1"), f"{at}.bn1").relu()
                right = net.bn(net.conv(right, f"{at}.conv2"), f"{at}.bn2")
                right = net.bn(net.conv(right, f"{at}.conv3"), f"{at}.bn3").relu()
            x = shuffled(torch.cat((left, right), 1), 2)
    return net.linear(net.bn(net.conv(x, "conv2"), "bn2").relu(), "linear")
