"""What every entry point does alike: exit codes, one line per user's mistake, signals."""

import errno
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from kdlsr.config.command_line import read_command_line
from kdlsr.config.errors import RunFailed, UserError
from kdlsr.machine.interruption import begin, interrupt, pass_on
from kdlsr.machine.streams import forgiving_streams

EXIT_OK, EXIT_FAILED, EXIT_USER, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 130, 143
# What the operating system refuses is nothing of ours (a full disk, a mount that is gone, a cable)
# but for these: a descriptor that is closed or of another kind, an address, a child.
ERRORS_OF_OURS = (errno.EBADF, errno.EFAULT, errno.ENOTTY, errno.ECHILD, errno.ESPIPE)
GO_ON = "interrupted; the same command goes on after the last completed epoch"


class Terminated(BaseException):
    """SIGTERM arrived. Not an `Exception`, so that no handler of errors takes it for one."""


def run_entry_point(body: Callable[[], int]) -> int:
    """Runs `body` and returns the exit code; a traceback is left to bugs of ours.

    0 done; 1 a run failed; 2 the user's mistake, Hydra's and OmegaConf's included, or the
    storage's; 130 / 143 interrupted by Ctrl-C / SIGTERM.
    """
    with forgiving_streams():
        return _run(body)


def _run(body: Callable[[], int]) -> int:
    try:
        begin()
        with _terminable():
            return _uninterrupted(body)
    except UserError as error:
        return _end(str(error), EXIT_USER)
    except RunFailed as error:
        return _end(str(error), EXIT_FAILED)
    except OSError as error:
        if error.errno is None or error.errno in ERRORS_OF_OURS:
            raise
        is_in_the_way = isinstance(error, FileExistsError) and Path(error.filename or ".").is_file()
        reason = "is there, and is no folder" if is_in_the_way else error.strerror
        return _end(f"{_named(error)}: {reason}", EXIT_USER)
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


def _uninterrupted(body: Callable[[], int]) -> int:
    try:
        return body()
    except Exception as error:
        pass_on(error)
        raise


def _named(error: OSError) -> str:
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return " -> ".join(names) or "storage"


def _end(text: str, code: int) -> int:
    sys.stderr.write(f"kdlsr: {' '.join(text.splitlines())}\n")
    return code


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM end the program as Ctrl-C does: at once, and tidily."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        interrupt(Terminated)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
