"""What a registered network is: a builder, and the recipe it is trained by on its own.

No network stands here; each family has its own module.
"""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar, get_args, get_type_hints

import torch
from torch import nn

from kdlsr.config import Registry, UserError, build_call
from kdlsr.config.encoding import Encoder
from kdlsr.config.inputs import ImageSpec, InputSpec
from kdlsr.machine.device import BF16
from kdlsr.machine.memory import total_memory
from kdlsr.models.classifier import with_classifier

Builder = Callable[..., nn.Module]
B = TypeVar("B", bound=Builder)
T = TypeVar("T")


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
        build: called with `spec` and `num_classes` by the program and with the network's own
            options from the config, all by keyword.
        recipe: its own optimiser.
        small: it gains nothing from a second CPU thread.
        without_tensors: options that change what it computes and none of its tensors, so that
            no file of weights tells them.
        encoder: of a network of texts, what gives its tokenizer: called with those of the
            network's own options from the config that it has arguments for, by keyword.
        identity: gives what stands in identities in place of the options, called like the
            `encoder`: of a network that begins with weights of a file, what tells those; None:
            the options as they are.
        bf16_flags: of a processor's flags, of which one makes bf16 the quicker arithmetic.
        libraries: packages whose versions its numbers depend on, beside torch's.
    """

    build: Builder
    recipe: Recipe = Recipe()
    small: bool = False
    without_tensors: tuple[str, ...] = ()
    encoder: Callable[..., Encoder] | None = None
    identity: Callable[..., Mapping[str, Any]] | None = None
    bf16_flags: frozenset[str] = BF16
    libraries: tuple[str, ...] = ()

    @property
    def takes(self) -> tuple[type[InputSpec], ...]:
        """The kinds of input that it is built for: the annotation of the builder's `spec`."""
        kinds = get_type_hints(self.build)["spec"]
        return get_args(kinds) or (kinds,)


models: Registry[ModelOption] = Registry("model", "kdlsr.models")


def register(
    name: str,
    *,
    recipe: Recipe | None = None,
    small: bool = False,
    without_tensors: tuple[str, ...] = (),
    encoder: Callable[..., Encoder] | None = None,
    identity: Callable[..., Mapping[str, Any]] | None = None,
    bf16_flags: frozenset[str] = BF16,
    libraries: tuple[str, ...] = (),
) -> Callable[[B], B]:
    """Returns a decorator that registers a builder function under `name`.

    The builder's arguments are keyword-only and typed: `spec: ImageSpec` (or `TokenSpec`: the
    kind of input that the network takes; or several, by `|`), `num_classes: int`, then options
    with defaults. A network of texts (`TextSpec`) brings its `encoder`.
    """

    def decorate(build: B) -> B:
        models.register(name)(
            ModelOption(
                build=build,
                recipe=recipe or Recipe(),
                small=small,
                without_tensors=without_tensors,
                encoder=encoder,
                identity=identity,
                bf16_flags=bf16_flags,
                libraries=libraries,
            )
        )
        return build

    return decorate


def build_model(
    name: str,
    options: Mapping[str, Any],
    *,
    spec: InputSpec,
    num_classes: int,
    dataset: str = "",
) -> nn.Module:
    """Builds a network with freshly drawn weights (from torch's global generator).

    Args:
        name: a registered network.
        options: its own options, as the config has them.
        spec: of the inputs that it will be given.
        num_classes: K, the number of logits.
        dataset: the name of the data set that gives them, for messages.

    Raises:
        UserError: no such network, one for another kind of input, an option that it does
            not have, a value out of range, or images too small for it.
    """
    model = models.get(name)
    if not isinstance(spec, model.takes):
        taken = " or ".join(kind.kind for kind in model.takes)
        giver = f"dataset={dataset}" if dataset else "the data set"
        raise UserError(f"model={name} takes {taken}; {giver} gives {spec}")
    built = build_call(model.build, options, "model", spec=spec, num_classes=num_classes)
    return with_classifier(built, num_classes)


def encoder_of(name: str, options: Mapping[str, Any]) -> Encoder | None:
    """Returns the tokenizer of a network of texts; None for a network of anything else.

    Args:
        name: a registered network.
        options: its own options, as the config has them.

    Raises:
        UserError: no such network, or its tokenizer cannot be had.
    """
    return _encoder_once(name, json.dumps(options))


@functools.lru_cache(maxsize=16)
def _encoder_once(name: str, options: str) -> Encoder | None:
    make = models.get(name).encoder
    return None if make is None else _called(make, json.loads(options))


def identity_of_options(name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what a network's options are in an identity: themselves, or what they lead to.

    Raises:
        UserError: no such network, or a file of it cannot be had.
    """
    make = models.get(name).identity
    return dict(options) if make is None else _called(make, options)


def _called(make: Callable[..., T], options: Mapping[str, Any]) -> T:
    known = inspect.signature(make).parameters
    return build_call(make, {k: v for k, v in options.items() if k in known}, "model")


def library_versions(name: str) -> dict[str, str]:
    """Returns the versions of the packages that a network's numbers depend on, beside torch's."""
    return {package: version(package) for package in models.get(name).libraries}


def options_without_tensors(name: str, options: Mapping[str, Any]) -> list[str]:
    """Returns the options, `key=value`, that give a network with the same tensors other logits."""
    build = models.get(name).build
    hints, parameters = get_type_hints(build), inspect.signature(build).parameters
    return [
        f"{key}={str(value).lower()}"
        for key in models.get(name).without_tensors
        for value in get_args(hints[key]) or (False, True)
        if value != options.get(key, parameters[key].default)
    ]


def check_builds(
    name: str,
    options: Mapping[str, Any],
    *,
    spec: InputSpec,
    num_classes: int,
    dataset: str = "",
    views: InputSpec | None = None,
) -> None:
    """Refuses what `build_model` would refuse, without drawing or holding any weights.

    Args:
        name, options, spec, num_classes, dataset: as of `build_model`.
        views: what it is trained on, where that may be of another size than `spec`.

    Raises:
        UserError: it cannot be built, or takes inputs of one size and these are two.
    """
    model = _build_once(name, json.dumps(options), spec, num_classes, dataset)
    if isinstance(views, ImageSpec) and views != spec:
        _check_takes(model, name, spec, views)


def _check_takes(model: nn.Module, name: str, spec: InputSpec, views: ImageSpec) -> None:
    try:
        with torch.device("meta"), torch.inference_mode():
            model.eval()(torch.empty(2, *views.shape))
    except RuntimeError as error:
        raise UserError(
            f"model={name} is made for {spec}, and dataset.views makes {views} of them: leave out "
            "the step that does, or choose a network that takes any size"
        ) from error


@functools.lru_cache(maxsize=256)
def _build_once(
    name: str, options: str, spec: InputSpec, num_classes: int, dataset: str
) -> nn.Module:
    try:
        with torch.device("meta"):
            model = build_model(
                name, json.loads(options), spec=spec, num_classes=num_classes, dataset=dataset
            )
    except (RuntimeError, TypeError, OverflowError) as error:
        if "verflow" not in str(error):  # torch's words for sizes beyond 64 bits
            raise
        raise UserError(f"model={name} with {options} is larger than any memory") from error
    size, memory = sum(p.nbytes for p in model.parameters()), total_memory()
    if size > memory:
        raise UserError(
            f"model={name} with {options} has {size / 1e9:,.0f} GB of weights; this machine has "
            f"{memory / 1e9:,.0f} GB of memory"
        )
    return model
