"""What every entry point does alike: exit codes, one line per user's mistake, signals."""

import errno
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from kdlsr.config.command_line import read_command_line
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


def read_command(config_name: str, refusal: str) -> list[str] | None:
    """Returns the overrides of a command that plans its runs itself; None: help was printed.

    Args:
        config_name: of the config in `conf/` whose help is shown.
        refusal: what is said where `-m`, `--cfg` or `--info` ask for what it does not do.

    Raises:
        UserError: they do, or the folder of `--config-dir` is not there.
    """
    line = read_command_line(sys.argv[1:])
    if line.helps:
        line.show(config_name)
        return None
    if line.multirun or line.shows:
        raise UserError(refusal)
    return list(line.overrides)


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
