"""What every entry point does alike: exit codes, one line per user's mistake, signals."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdlsr.config.compose import (
    add_config_folder,
    config_folders,
    one_line,
    register_model_teachers,
    shipped_folder,
)
from kdlsr.config.errors import RunFailed, UserError

EXIT_OK, EXIT_FAILED, EXIT_USER, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143
# What a user can mend: a full disk, a folder that may not be written.
STORAGE_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
)
GO_ON = "interrupted; the same command goes on after the last completed epoch"


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that no handler of errors takes it for one."""


def run_entry_point(body: Callable[[], int]) -> int:
    """Runs `body` and returns the exit code; a traceback is left to bugs of ours.

    0 done; 1 a run failed; 2 the user's mistake, Hydra's and OmegaConf's included;
    130 / 143 interrupted by Ctrl-C / SIGTERM.
    """
    try:
        with _terminable():
            return body()
    except (HydraException, OmegaConfBaseException) as error:
        return _end(one_line(error, sys.argv[1:]), EXIT_USER)
    except UserError as error:
        return _end(str(error), EXIT_USER)
    except RunFailed as error:
        return _end(str(error), EXIT_FAILED)
    except OSError as error:
        if error.errno not in STORAGE_ERRORS:
            raise
        return _end(f"{error.filename or 'storage'}: {error.strerror}", EXIT_USER)
    except KeyboardInterrupt:
        return _end(GO_ON, EXIT_INTERRUPTED)
    except Terminated:
        return _end(GO_ON, EXIT_TERMINATED)


def parse_arguments() -> argparse.Namespace:
    """Reads the command line as Hydra does, the folder of `--config-dir` taken in.

    Raises:
        UserError: that folder is not there.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # its errors come through, to become one line here
    arguments: argparse.Namespace = get_args_parser().parse_args()
    if arguments.config_dir is not None:
        add_config_folder(arguments.config_dir)
    register_model_teachers(config_folders())
    return arguments


def read_command(config_name: str, refusal: str) -> list[str] | None:
    """Returns the overrides of a command that has no job of Hydra's; None: help was printed.

    Args:
        config_name: of the config in `conf/` whose help is shown.
        refusal: what is said where `-m`, `--cfg` or `--info` ask for what it does not do.

    Raises:
        UserError: they do, or the folder of `--config-dir` is not there.
    """
    arguments = parse_arguments()
    if arguments.help or arguments.hydra_help:
        conf = str(shipped_folder("conf"))
        hydra.main(version_base="1.3", config_path=conf, config_name=config_name)(_no_job)()
        return None
    if arguments.multirun or arguments.cfg or arguments.info:
        raise UserError(refusal)
    return list(arguments.overrides)


def _no_job(config: DictConfig) -> None:
    raise AssertionError(f"Hydra's help ends before it starts a job with {config}")


def _end(line: str, code: int) -> int:
    sys.stderr.write(f"kdlsr: {line}\n")
    return code


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM end the program as Ctrl-C does: at once, and tidily."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
