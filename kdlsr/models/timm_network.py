"""Any network of timm's by its name, with a stem for small images where one is wanted.

timm is imported when such a network is built. Initialisation is timm's own; only a replaced
stem has ours. Before any network is built with weights, it is built without them (on torch's
meta device) and run on the shape of the images, so that one that cannot take them is refused
in a line, early.
"""

import difflib
import functools
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.models.registry import register

STEM_CONVOLUTIONS = 3  # a max-pool that comes after more of them belongs to the body


@register("timm", libraries=("timm",))
def timm_network(
    *,
    spec: ImageSpec,
    num_classes: int,
    architecture: str,
    pretrained: bool = False,
    small_input: bool = False,
) -> nn.Module:
    """Builds a network of timm's.

    Args:
        spec: of the images: timm adapts pretrained weights of 3 channels to theirs; their size
            is given to networks that are built for one (ViT).
        num_classes: K; pretrained weights of another number of classes lose their classifier.
        architecture: a name in `timm.list_models()`, with a tag of pretrained weights or not.
        pretrained: start from timm's weights.
        small_input: for images of about 32x32: replaces the first convolution, of stride 2 or
            more, by a 3x3 of stride 1 with as many channels (Kaiming-normal by its fan-out,
            also where the rest is pretrained) and the stem's max-pool, if any, by nothing.

    Raises:
        UserError: not in timm, no pretrained weights, images of a size that it cannot take,
            or a stem that cannot be replaced.
    """
    _check_name(architecture, pretrained)
    sizes = _fitting_sizes(architecture, spec, num_classes, small_input)
    on_meta = torch.get_default_device().type == "meta"
    model = _create(
        architecture, num_classes, spec.channels, sizes, pretrained=pretrained and not on_meta
    )
    if small_input:
        replace_stem(model, spec.channels)
    return model


def _check_name(architecture: str, pretrained: bool) -> None:
    import timm

    name, _, tag = architecture.partition(".")
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = "nearest: " + ", ".join(close) if close else "timm.list_models() has the names"
        raise UserError(f"model.architecture={architecture}: not in timm; {hint}")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(name)]
    if pretrained and not tags:
        raise UserError(f"model.pretrained: timm has no weights for {architecture}")
    if tag and tag not in tags:
        known = f"its tags: {', '.join(tags)}" if tags else "it has no tags"
        raise UserError(f"model.architecture={architecture}: no such tag; {known}")


@functools.lru_cache(maxsize=64)
def _fitting_sizes(
    architecture: str, spec: ImageSpec, num_classes: int, small_input: bool
) -> Mapping[str, Any]:
    """Returns the size arguments with which the network takes such images: often none."""
    images = torch.empty(2, *spec.shape, device="meta")
    reason = ""
    for sizes in ({}, {"img_size": spec.size}):
        # timm draws some numbers off the meta device, which must not move the caller's.
        with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
            try:
                model = _create(architecture, num_classes, spec.channels, sizes, pretrained=False)
                if small_input:
                    replace_stem(model, spec.channels)
                model.eval()(images)
            except (AssertionError, RuntimeError, TypeError, ValueError) as error:
                if not (sizes and isinstance(error, TypeError)):  # it has no such argument
                    reason = str(error).strip().partition("\n")[0]
            else:
                return cast(Mapping[str, Any], sizes)
    what = "with a replaced stem " if small_input else ""
    raise UserError(
        f"model.architecture={architecture} {what}cannot take images of "
        f"{spec.height}x{spec.width}: {reason}"
    )


def _create(
    architecture: str,
    num_classes: int,
    in_channels: int,
    sizes: Mapping[str, Any],
    pretrained: bool,
) -> nn.Module:
    import timm

    try:
        return cast(
            nn.Module,
            timm.create_model(
                architecture,
                pretrained=pretrained,
                num_classes=num_classes,
                in_chans=in_channels,
                **sizes,
            ),
        )
    except Exception as error:
        if not pretrained:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"model.pretrained: the weights of {architecture} cannot be had here ({reason})"
        ) from error


def replace_stem(model: nn.Module, in_channels: int) -> None:
    """Makes a network keep the size of its images up to its first stage, in place.

    Raises:
        UserError: its first convolution does not see the images or has stride 1 already.
    """
    convolutions = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    if not convolutions:
        raise UserError("model.small_input: the network has no convolution to replace")
    name, old = convolutions[0]
    if old.in_channels != in_channels or max(old.stride) < 2:
        raise UserError(
            f"model.small_input: the first convolution ({name}, {old.in_channels} channels in, "
            f"stride {old.stride[0]}) is no stem that could be replaced"
        )
    # timm's own kinds (padded as in TensorFlow, standardised weights) stay what they are.
    new = type(old)(
        in_channels,
        old.out_channels,
        kernel_size=3,
        stride=1,
        padding=1,
        groups=old.groups,
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    model.set_submodule(name, new)
    pool = _stem_pool(model)
    if pool is not None:
        model.set_submodule(pool, nn.Identity())


def _stem_pool(model: nn.Module) -> str | None:
    """Returns the name of the first pooling that halves the map if it comes early enough."""
    convolutions = 0
    for name, module in model.named_modules():
        convolutions += isinstance(module, nn.Conv2d)
        if convolutions > STEM_CONVOLUTIONS:
            return None
        # Anti-aliased networks have several layers under the one name.
        named = name.rpartition(".")[2] in ("maxpool", "pool", "pool0")
        if (named or isinstance(module, nn.MaxPool2d)) and _halves(module):
            return str(name)
    return None


def _halves(pool: nn.Module) -> bool:
    return any(getattr(part, "stride", 1) in (2, (2, 2)) for part in pool.modules())
