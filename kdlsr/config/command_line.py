"""The command line that all entry points share: its flags, and overrides."""

import argparse
import importlib.metadata
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import kdlsr
from kdlsr.config.compose import (
    add_config_folder,
    added_config_folder,
    relative_to_here,
    show_config,
)
from kdlsr.config.errors import UserError

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


@dataclass(frozen=True)
class CommandLine:
    """What was typed.

    Attributes:
        overrides: as they were typed.
        flags: all else, as it was typed.
        multirun: whether to sweep.
        shows: `--cfg` and the like, of a run: what Hydra is to print of it; None: nothing.
        helps: whether Hydra is to print its help, or to complete what is typed.
    """

    overrides: tuple[str, ...]
    flags: tuple[str, ...]
    multirun: bool
    shows: str | None
    helps: bool

    def show(self, config_name: str) -> None:
        """Lets Hydra print what is asked for.

        Raises:
            UserError: Hydra refuses the overrides.
        """
        show_config(config_name, self.flags, self.overrides)


def read_command_line(arguments: Sequence[str]) -> CommandLine:
    """Reads a command line, the folder of `--config-dir` taken in.

    Raises:
        UserError: an unknown flag, or a folder that is not there or holds what it may not.
    """
    typed = _parser().parse_intermixed_args(list(arguments))
    add_config_folder(None if typed.config_dir is None else relative_to_here(typed.config_dir))
    shown = {"--cfg": typed.cfg, "--info": typed.info}
    return CommandLine(
        overrides=tuple(typed.overrides),
        flags=tuple(word for word in arguments if word not in typed.overrides),
        multirun=typed.multirun,
        shows=next((flag for flag, value in shown.items() if value), None),
        helps=typed.help or typed.hydra_help or typed.shell_completion,
    )


def shell_command(module: str, words: Iterable[str]) -> str:
    """Returns a command to be copied: one line, quoted for a shell, with this one's --config-dir.

    Args:
        module: of kdlsr: `train`.
        words: overrides and flags.
    """
    added, here = added_config_folder(), Path.cwd()
    flags: list[str] = []
    if added is not None:
        flags = ["--config-dir", str(added.relative_to(here) if here in added.parents else added)]
    return shlex.join(["python", "-m", f"kdlsr.{module}", *flags, *words])


class OneLineParser(argparse.ArgumentParser):
    """A parser whose refusal is one line, like every other mistake's."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; --help says what there is")


def _parser() -> OneLineParser:
    """Returns Hydra's flags that have a meaning here: its own parser takes pickles, too."""
    parser = OneLineParser(add_help=False, allow_abbrev=False)
    hydra = importlib.metadata.version("hydra-core")
    versions = f"kdlsr {kdlsr.__version__}, Hydra {hydra}"
    parser.add_argument("--version", action="version", version=versions)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("--package", "-p")
    parser.add_argument("--info", "-i", const="all", nargs="?", choices=INFO)
    parser.add_argument("--run", "-r", action="store_true")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("overrides", nargs="*")
    return parser
