"""What a user's folder of options (`--config-dir`) may hold, checked before Hydra sees it.

It adds options to our groups. Nothing in it may reach Hydra's own config, from where code could
be run, but the grid of a sweep and the settings of a launcher.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from kdlsr.config.errors import UserError
from kdlsr.config.yaml_file import read_any_yaml

LAUNCHERS = "hydra/launcher"
_OF_HYDRA = ("launcher", "sweeper")  # the sections of `hydra` that are read, and of
_OF_SWEEPER = ("params",)  # the second these keys
_HEADER = re.compile(r"^\s*#+\s*@package\s+(\S+)", re.MULTILINE)


def check_folder(folder: Path, conf: Path) -> None:
    """Refuses a folder that would do more than add options to the groups of `conf`.

    Raises:
        UserError: the file, and what of it is not possible.
    """
    own = sorted(path.name for path in conf.iterdir() if path.is_dir() and path.name != "hydra")
    groups = [*own, LAUNCHERS]
    for path in conf.glob("*.yaml"):
        if (folder / path.name).exists():
            raise UserError(
                f"{folder / path.name} would stand in place of kdlsr's own; a folder of "
                f"--config-dir adds options to {', '.join(groups)}"
            )
    for file in sorted(folder.glob("hydra/**/*.yaml")):
        if not file.is_relative_to(folder / LAUNCHERS):
            raise UserError(f"{file}: of hydra, only {LAUNCHERS} can be added to")
    for group in groups:
        for file in sorted((folder / group).rglob("*.yaml")):
            _check_file(file, group, groups)


def _check_file(file: Path, group: str, groups: list[str]) -> None:
    values = read_any_yaml(file)
    if "_target_" in _keys(values):
        raise UserError(f"{file}: _target_ is not possible; a config names things and runs no code")
    if not isinstance(values, dict):
        return  # a list is nothing that Hydra composes
    _check_defaults(file, values.get("defaults"), group, groups)
    package = _package(file, group)
    for name in reversed(package.split(".") if package else []):
        values = {name: values}
    hydra = values.get("hydra", {})
    if not isinstance(hydra, Mapping):
        raise UserError(f"{file}: hydra must be a mapping")
    for key in hydra:
        if key not in _OF_HYDRA:
            raise UserError(f"{file}: hydra.{key} is not for a config; only hydra.sweeper.params")
    sweeper = hydra.get("sweeper") or {}
    if not isinstance(sweeper, Mapping) or not set(sweeper) <= set(_OF_SWEEPER):
        raise UserError(f"{file}: of hydra.sweeper, only params can be set")


def _package(file: Path, group: str) -> str:
    """Returns the dotted path at which the file's content goes; "" for the root."""
    named = set(_HEADER.findall(file.read_text(encoding="utf-8")))
    own = group.replace("/", ".")
    if len(named) > 1:
        raise UserError(f"{file}: more than one @package")
    package = named.pop() if named else own
    return package.replace("_group_", own).replace("_global_", "").strip(".")


def _check_defaults(file: Path, listed: object, group: str, groups: list[str]) -> None:
    """Refuses a defaults list that brings in what is not an option of a group of ours."""
    for entry in listed if isinstance(listed, list) else []:
        chosen = entry if isinstance(entry, Mapping) else {str(entry): None}
        for key, option in chosen.items():
            path, _, package = str(key).split(" ")[-1].partition("@")
            wanted = path.lstrip("/") if path.startswith("/") else f"{group}/{path}"
            is_ours = any(wanted == g or wanted.startswith(f"{g}/") for g in groups)
            leaves = ".." in f"{path} {option}" or "hydra" in re.split(r"[./]", package)
            if leaves or not is_ours:
                raise UserError(f"{file}: defaults: {key} is no option of {', '.join(groups)}")


def _keys(value: object) -> Iterator[object]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)
