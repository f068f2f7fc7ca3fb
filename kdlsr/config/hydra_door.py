"""The one door into Hydra: its grammar of overrides, composing, its help; public API only.

Text goes in, plain values come out. No other module of kdlsr imports hydra, and nothing of a run
depends on Hydra once its config is composed.
"""

import copy
import functools
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, cast

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as HydrasOverride
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from kdlsr.config.errors import UserError
from kdlsr.config.refusals import no_such_option, one_line, unknown_key
from kdlsr.config.yaml_file import read_yaml

MOST_VALUES = 10_000  # of one key of a sweep
Sign = Literal["", "+", "++", "~"]
Plain = dict[str, object]
# Which of Hydra's defaults: 1.3 wants to be told, and 1.4 not to be.
_DEFAULTS = {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}


# --- the grammar ----------------------------------------------------------------------------


class ReadOverride(NamedTuple):
    """An override as Hydra's grammar reads it; `is_sweep` where it stands for several values."""

    sign: Sign
    key: str
    value: object
    is_sweep: bool


@functools.lru_cache(maxsize=4096)  # a plan reads the same ones again and again
def read_override(text: str) -> ReadOverride:
    """Reads one override, such as `loss.alpha=0.1`, `+cluster=ray` or `~tracker`.

    Its value must not be changed: it is read once and shared. A sweep has none.

    Raises:
        UserError: it cannot be read.
    """
    parsed = _parsed(text)
    signed = parsed.get_key_element()
    key = signed.lstrip("+~")
    sign = cast(Sign, signed[: len(signed) - len(key)])
    is_sweep = parsed.is_sweep_override()
    return ReadOverride(sign, key, None if is_sweep else parsed.value(), is_sweep)


def alternatives(text: str, folders: Sequence[Path]) -> list[str]:
    """Returns the overrides that a sweep over one key stands for; of any other, itself.

    Args:
        text: `seed=0,1`, `loss.tau=range(1,4)`, `model=glob(resnet*)`, `seed=0`, ...
        folders: of configs, in which a glob looks.

    Raises:
        UserError: it cannot be read, or the values of it not counted.
    """
    parsed = _parsed(text)
    if not parsed.is_sweep_override():
        return [text]
    _prepare(tuple(folders))
    parsed.config_loader = GlobalHydra.instance().config_loader()
    try:
        values = list(itertools.islice(parsed.sweep_string_iterator(), MOST_VALUES + 1))
    except HydraException as error:
        raise UserError(f"{text}: {str(error).splitlines()[0]}") from error
    if len(values) > MOST_VALUES:
        raise UserError(f"{text}: more than {MOST_VALUES:,} values to sweep over")
    return [f"{parsed.get_key_element()}={value}" for value in values]


def _parsed(text: str) -> HydrasOverride:
    try:
        (parsed,) = OverridesParser.create().parse_overrides([text])
    except HydraException as error:
        first, *rest = str(error).splitlines()
        reason = rest[0] if rest and first.startswith("Error parsing") else first
        raise UserError(f"cannot read {text}: {reason}{_how_to_quote(text)}") from error
    return parsed


def _how_to_quote(text: str) -> str:
    """Says how a value that the grammar does not take as it is can be given all the same."""
    key, is_assigned, value = text.partition("=")
    if not key or not is_assigned or not value or value[0] in "'\"[{$" or '"' in value:
        return ""
    return f"; a string can be quoted: {shlex.quote(f'{key}={quoted(value)}')}"


def quoted(text: str) -> str:
    """Quotes a string as the grammar reads it back."""
    # Hydra reads a backslash as itself, but before a quote and at the very end.
    escaped = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ("\\" if m[2] else "") + m[2], text)
    return f'"{escaped}"'


# --- composing ------------------------------------------------------------------------------


def offer(group: str, name: str, values: Mapping[str, object]) -> None:
    """Adds an option to a group, or takes the place of one, that no file is needed for."""
    store = ConfigStore.instance()
    store.repo.get(group, {}).pop(f"{name}.yaml", None)
    store.store(group=group, name=name, node=dict(values))


def composed(
    config_name: str, texts: Sequence[str], folders: Sequence[Path], *, with_hydra: bool = False
) -> Plain:
    """Composes and resolves a config as Hydra's command line would; runs nothing of it.

    What values are set to is filled into one composition of the groups, which takes a fiftieth
    of the time and is the same: Hydra does so itself.

    Args:
        config_name: of a file in one of the folders.
        texts: overrides.
        folders: of configs, the first of two options of one name counts.
        with_hydra: keep the section `hydra`, of which the launcher and the sweep are resolved.

    Raises:
        UserError: Hydra or OmegaConf refuse it; one line.
    """
    overrides = [(text, read_override(text)) for text in texts]
    _check_choices((override for _, override in overrides), folders)
    is_value = [_sets_a_value(override, folders) for _, override in overrides]
    chosen = tuple(text for (text, _), plain in zip(overrides, is_value, strict=True) if not plain)
    with _refusals(config_name, folders):
        config = copy.deepcopy(_base(config_name, chosen, tuple(folders)))
        for (_, override), is_plain in zip(overrides, is_value, strict=True):
            if is_plain:
                _set_value(config, override)
        return _resolved(config, with_hydra=with_hydra)


def _sets_a_value(override: ReadOverride, folders: Sequence[Path]) -> bool:
    """Whether an override only gives a key that is there another value."""
    is_path = re.fullmatch(r"[^/@]+", override.key) and not override.key.startswith("hydra.")
    if override.sign or override.is_sweep or isinstance(override.value, dict) or not is_path:
        return False
    return not _is_group(override.key, folders)


def _is_group(key: str, folders: Sequence[Path]) -> bool:
    group, _, _ = key.partition("@")
    return "." not in key and any((folder / group).is_dir() for folder in folders)


def _check_choices(overrides: Iterable[ReadOverride], folders: Sequence[Path]) -> None:
    """Refuses a group that is given no name of an option, over which Hydra stumbles."""
    for sign, key, value, is_sweep in overrides:
        is_named = isinstance(value, str) and value
        if is_named or is_sweep or sign == "~" or not _is_group(key, folders):
            continue
        if isinstance(value, list):
            raise UserError(f"{key} is given a list; expected one option")
        written = "null" if value is None else str(value).lower()
        raise UserError(no_such_option(key, written, _options(key, folders)))


@functools.lru_cache(maxsize=256)
def _base(config_name: str, texts: tuple[str, ...], folders: tuple[Path, ...]) -> DictConfig:
    _prepare(folders)
    *_, conf = folders
    search = [] if len(folders) == 1 else [f"hydra.searchpath=[{quoted(f'file://{conf}')}]"]
    config = compose(config_name, [*texts, *search], return_hydra_config=True)
    return cast(DictConfig, config)


def _set_value(config: DictConfig, override: ReadOverride) -> None:
    try:
        OmegaConf.update(config, override.key, copy.deepcopy(override.value), merge=True)
    except (ConfigAttributeError, ConfigKeyError) as error:
        known = OmegaConf.to_container(config)
        raise UserError(unknown_key(override.key, known)) from error


def _resolved(config: DictConfig, *, with_hydra: bool) -> Plain:
    settings: Plain = {}
    if with_hydra:
        for name in ("launcher", "sweeper"):
            section = config.hydra[name]
            if not isinstance(section, DictConfig):
                raise UserError(f"hydra.{name}={section} is not possible; expected a section")
            settings[name] = OmegaConf.to_container(section, resolve=True)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    plain = cast(Plain, OmegaConf.to_container(config, resolve=True))
    return plain | {"hydra": settings} if with_hydra else plain


_prepared_for: tuple[Path, ...] = ()


def _prepare(folders: tuple[Path, ...]) -> None:
    """Readies Hydra to compose from these folders, once; the first is its main one."""
    global _prepared_for
    instance = GlobalHydra.instance()
    if instance.is_initialized() and _prepared_for == folders:
        return
    instance.clear()
    initialize_config_dir(str(folders[0]), **_DEFAULTS)
    _prepared_for = folders
    store = ConfigStore.instance()
    # Plugins that are installed have registered options of theirs under the names of ours.
    registered = store.repo.get("hydra", {}).get("launcher", {})
    for folder in folders:
        for file in (folder / "hydra" / "launcher").glob("*.yaml"):
            registered.pop(file.name, None)
    for file in folders[-1].glob("*.yaml"):  # looked for in the main folder, or else here
        store.repo.pop(file.name, None)
        if len(folders) > 1:
            store.store(name=file.stem, node=read_yaml(file))


@contextmanager
def _refusals(config_name: str, folders: Sequence[Path]) -> Iterator[None]:
    """Turns what Hydra and OmegaConf refuse into one line of ours."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__
        is_told = isinstance(cause, HydraException | OmegaConfBaseException)
        told = one_line(
            str(error),
            str(cause) if is_told else "",
            lambda group: _options(group, folders),
            lambda: OmegaConf.to_container(_base(config_name, (), tuple(folders))),
        )
        raise UserError(told or type(error).__name__) from error


def _options(group: str, folders: Sequence[Path]) -> set[str]:
    """Returns the names of a group's options; every model is a teacher too."""
    groups = (group, "model") if group == "teacher" else (group,)
    return {file.stem for f in folders for g in groups for file in (f / g).glob("*.yaml")}


# --- what Hydra shows of itself -------------------------------------------------------------


def show(
    config_name: str, flags: Sequence[str], texts: Sequence[str], folders: Sequence[Path]
) -> None:
    """Lets Hydra print what the command line asks for: --help, --cfg, --info, ...

    Raises:
        UserError: an override cannot be read, or Hydra or OmegaConf refuse it.
    """
    _check_choices(map(read_override, texts), folders)  # what cannot be read is told in our words
    _prepare(tuple(folders))
    GlobalHydra.instance().clear()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # its errors come through, to become one line here
    sys.argv[1:] = [*flags, *texts]
    main = hydra.main(config_path=str(folders[-1]), config_name=config_name, **_DEFAULTS)
    with _refusals(config_name, folders), _store_not_copied():
        main(_no_job)()


@contextmanager
def _store_not_copied() -> Iterator[None]:
    """Lets Hydra's copies of its sources share the store, which gives copies of what it holds.

    Help lists a hundred groups, and for each Hydra copies all sources: two thirds of its time.
    """
    name = "__deepcopy__"  # which it does not have of its own
    setattr(ConfigStore, name, lambda store, _: store)
    try:
        yield
    finally:
        delattr(ConfigStore, name)


def _no_job(config: DictConfig) -> None:
    raise AssertionError(f"Hydra shows, and starts no job with {config}")
