"""Where the config files are, and how Hydra is called so that a mistake costs one line.

Hydra's own `main` ends every error with exit code 1 and several lines; here its exceptions
come through, so that an entry point can turn them into one line and exit code 2.
"""

import copy
import functools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdlsr.config.errors import UserError
from kdlsr.config.fields import nearest

GROUPS = ("dataset", "model", "teacher", "loss", "schedule", "tracker")


def shipped_folder(name: str) -> Path:
    """Returns the folder `conf` or `experiments`, in a checkout and in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is missing beside {package}: the installation is broken")


_added_folders: list[Path] = []  # by this process's command line


def add_config_folder(folder: str) -> None:
    """Takes the folder of --config-dir, whose options come before those of conf/.

    Raises:
        UserError: there is no such folder.
    """
    path = relative_to_here(folder).absolute()
    if not path.is_dir():
        raise UserError(f"--config-dir {folder}: no such folder")
    _added_folders.append(path)


def config_folders() -> list[Path]:
    """Returns conf/ and, before it, the folder that the user added with --config-dir."""
    added = _added_folders
    if not added and HydraConfig.initialized():  # a job that a launcher took to another process
        sources = HydraConfig.get().runtime.config_sources
        added = [Path(s.path) for s in sources if s.provider == "command-line"]
    return [*added, shipped_folder("conf")]


def register_model_teachers(folders: Sequence[Path]) -> None:
    """Makes every option of the group `model` an option of the group `teacher`."""
    store = ConfigStore.instance()
    base = yaml.safe_load((shipped_folder("conf") / "teacher" / "self.yaml").read_text())
    for folder in folders:
        for file in sorted((folder / "model").glob("*.yaml")):
            if not any((f / "teacher" / file.name).exists() for f in folders):
                store.store(group="teacher", name=file.stem, node={**base, "name": file.stem})


@contextmanager
def _hydra_ready() -> Iterator[None]:
    """Initialises Hydra's compose API, unless this is inside of a job of Hydra's."""
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_dir(str(shipped_folder("conf")), version_base="1.3"):
        yield


def compose_config(overrides: Sequence[str], config_name: str = "train") -> dict[str, Any]:
    """Composes and resolves a config as the command line would.

    Raises:
        UserError: Hydra or OmegaConf refuse it.
    """
    return copy.deepcopy(_compose_cached(tuple(overrides), config_name, tuple(config_folders())))


@functools.lru_cache(maxsize=512)
def _compose_cached(
    overrides: tuple[str, ...], config_name: str, folders: tuple[Path, ...]
) -> dict[str, Any]:
    register_model_teachers(folders)
    search = ",".join(f"file://{folder}" for folder in folders[:-1])
    extra = [f"hydra.searchpath=[{search}]"] if search else []
    try:
        with _hydra_ready():
            config = compose(config_name, overrides=[*overrides, *extra])
            return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error, overrides)) from error


def option(group: str, name: str) -> dict[str, Any]:
    """Returns one option of a config group as plain values: what `group=name` would bring.

    Raises:
        UserError: there is no such option.
    """
    return copy.deepcopy(_option_cached(group, name, tuple(config_folders())))


@functools.lru_cache(maxsize=512)
def _option_cached(group: str, name: str, _folders: tuple[Path, ...]) -> dict[str, Any]:
    return cast(dict[str, Any], compose_config([f"{group}={name}"])[group])


def one_line(error: BaseException, overrides: Sequence[str] = ()) -> str:
    """Says in one line what Hydra or OmegaConf say in several, and what is near."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override}: {text.splitlines()[0]}"
    missing = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if missing:
        group, name = missing.groups()
        return f"{group}={name}: no such option{nearest(name, _available(text, group))}"
    unknown = re.search(r"Could not (?:override|append to config)[^']*'([^'=]+)'", text)
    if unknown:
        key = unknown.group(1).removeprefix("+")
        return f"unknown key {key}{_nearest_key(key, overrides)}"
    ambiguous = re.search(r"Ambiguous value for argument '([^']+)'", text)
    if ambiguous:
        return f"{ambiguous.group(1)} is several values: add -m to sweep over them"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(error.__cause__, OmegaConfBaseException | HydraException):
        lines.append(str(error.__cause__).splitlines()[0].strip())
    return "; ".join(lines[:2]) or type(error).__name__


def _available(text: str, group: str) -> list[str]:
    listed = text.partition("Available options in")[2].partition("Config search path")[0]
    names = [line.strip() for line in listed.splitlines()[1:] if line.strip()]
    if group == "teacher":
        names += [file.stem for f in config_folders() for file in (f / "model").glob("*.yaml")]
    return names


def _nearest_key(key: str, overrides: Sequence[str]) -> str:
    """Looks for `key`'s neighbours in what the other overrides compose to."""
    groups_only = [o for o in overrides if o.partition("=")[0] in GROUPS]
    try:
        known: Any = compose_config(groups_only)
    except UserError:
        return ""
    *parents, leaf = key.split(".")
    for parent in parents:
        known = known.get(parent) if isinstance(known, dict) else None
    prefix = ".".join([*parents, ""]) if parents else ""
    if not isinstance(known, dict):
        return nearest(key, GROUPS)
    return nearest(prefix + leaf, [prefix + name for name in known])


def relative_to_here(path: str) -> Path:
    """Expands `~` and variables; a relative path is relative to the current folder."""
    return Path(os.path.expandvars(path)).expanduser()
