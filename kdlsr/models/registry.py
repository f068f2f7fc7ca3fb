"""What a registered network is: a builder, and the recipe it is trained by on its own.

No network stands here; each family has its own module.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from kdlsr.config import Registry, build_call

Builder = Callable[..., nn.Module]
B = TypeVar("B", bound=Builder)


@dataclass(frozen=True)
class Recipe:
    """What `schedule.optimizer=auto` means for a network.

    Attributes:
        optimizer: `sgd`, `adam`, or a name of timm's.
        lr: at a batch of `schedule.lr_batch_size` images; None: the schedule's.
        weight_decay: None: the schedule's.
    """

    optimizer: str = "sgd"
    lr: float | None = None
    weight_decay: float | None = None


@dataclass(frozen=True)
class ModelOption:
    """A network that a config can name.

    Attributes:
        build: called with `num_classes`, `in_channels` and `image_size` (height, width) by
            the program and with the network's own options from the config, all by keyword.
        recipe: its own optimiser.
        small: it gains nothing from a second CPU thread.
    """

    build: Builder
    recipe: Recipe = Recipe()
    small: bool = False


models: Registry[ModelOption] = Registry("model", "kdlsr.models")


def register(name: str, *, recipe: Recipe | None = None, small: bool = False) -> Callable[[B], B]:
    """Returns a decorator that registers a builder function under `name`.

    The builder's arguments are keyword-only and typed: `num_classes: int`,
    `in_channels: int`, `image_size: tuple[int, int]`, then options with defaults.
    """

    def decorate(build: B) -> B:
        models.register(name)(ModelOption(build, recipe or Recipe(), small))
        return build

    return decorate


def build_model(
    name: str,
    options: Mapping[str, Any],
    *,
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int],
) -> nn.Module:
    """Builds a network with freshly drawn weights (from torch's global generator).

    Args:
        name: a registered network.
        options: its own options, as the config has them.
        num_classes: K, the number of logits.
        in_channels: C of the images (N, C, H, W).
        image_size: (H, W) of the images.

    Raises:
        UserError: no such network, an option that it does not have, a value out of range,
            or images too small for it.
    """
    return build_call(
        models.get(name).build,
        options,
        "model",
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
    )
