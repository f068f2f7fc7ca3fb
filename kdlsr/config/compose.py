"""Where the config files are, and what overrides make of them: plain values, not checked yet."""

import copy
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from kdlsr.config.added_folder import check_folder
from kdlsr.config.errors import UserError
from kdlsr.config.hydra_door import composed, offer, read_override, show
from kdlsr.config.yaml_file import read_yaml

GROUPS = ("dataset", "model", "teacher", "loss", "schedule", "tracker")


def shipped_folder(name: str) -> Path:
    """Returns the folder `conf` or `experiments`, in a checkout and in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is missing beside {package}: the installation is broken")


_added_folder: Path | None = None  # by this process's command line, or its job's


def add_config_folder(folder: Path | None) -> None:
    """Takes the folder of --config-dir, whose options come before those of conf/; None: none.

    Raises:
        UserError: there is no such folder, or it holds what is no option of ours.
    """
    global _added_folder
    if folder is not None:
        if not folder.is_dir():
            raise UserError(f"--config-dir {folder}: no such folder")
        check_folder(folder, shipped_folder("conf"))
        folder = folder.absolute()
    _added_folder = folder


def added_config_folder() -> Path | None:
    """Returns the folder of --config-dir, if there is one."""
    return _added_folder


def config_folders() -> list[Path]:
    """Returns conf/ and, before it, the folder that the user added with --config-dir."""
    return [*([] if _added_folder is None else [_added_folder]), shipped_folder("conf")]


@functools.lru_cache(maxsize=8)
def _register_model_teachers(folders: tuple[Path, ...]) -> None:
    """Makes every option of the group `model` an option of the group `teacher`."""
    base = read_yaml(shipped_folder("conf") / "teacher" / "self.yaml")
    for folder in folders:
        for file in sorted((folder / "model").glob("*.yaml")):
            if not any((f / "teacher" / file.name).exists() for f in folders):
                offer("teacher", file.stem, {**base, "name": file.stem})


def compose_config(
    texts: Sequence[str], config_name: str = "train", *, with_hydra: bool = False
) -> dict[str, Any]:
    """Composes and resolves a config as the command line would.

    Args:
        texts: overrides, as they are typed.
        config_name: of a config in conf/.
        with_hydra: keep the settings of launcher and sweep, below `hydra`.

    Raises:
        UserError: Hydra or OmegaConf refuse it.
    """
    folders = tuple(config_folders())
    _register_model_teachers(folders)
    for text in texts:
        _check_group(read_override(text).key, folders)
    return composed(config_name, texts, folders, with_hydra=with_hydra)


def show_config(config_name: str, flags: Sequence[str], texts: Sequence[str]) -> None:
    """Lets Hydra print what a command line asks for: --help, --cfg, --info, ...

    Args:
        config_name: of a config in conf/.
        flags: which of them.
        texts: overrides, as they are typed.

    Raises:
        UserError: Hydra refuses it.
    """
    folders = tuple(config_folders())
    _register_model_teachers(folders)
    show(config_name, flags, texts, folders)


def _check_group(key: str, folders: Sequence[Path]) -> None:
    """Refuses what is in a user's folder and was not looked at: no group of ours."""
    group, _, _ = key.partition("@")
    is_ours = (folders[-1] / group).is_dir() or group.startswith("hydra/")
    if "." not in group and not is_ours and any((folder / group).is_dir() for folder in folders):
        raise UserError(f"{key}: no group of kdlsr's")
    if key == "hydra.searchpath":
        raise UserError("hydra.searchpath: a folder of configs is given by --config-dir")


def option(group: str, name: str) -> dict[str, Any]:
    """Returns one option of a config group as plain values: what `group=name` would bring.

    Raises:
        UserError: there is no such option.
    """
    return copy.deepcopy(_option(group, name, tuple(config_folders())))


@functools.lru_cache(maxsize=512)
def _option(group: str, name: str, _folders: tuple[Path, ...]) -> dict[str, Any]:
    return cast(dict[str, Any], compose_config([f"{group}={name}"])[group])


def relative_to_here(path: str) -> Path:
    """Expands `~` and variables; a relative path is relative to the current folder."""
    return Path(os.path.expandvars(path)).expanduser()
