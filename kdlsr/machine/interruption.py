"""Ctrl-C and SIGTERM, from a command's first module on.

While modules are still imported there is nothing to tidy up, and a command ends at once. Later
they are raised where they arrive; what turns one into another error (the import of a C extension
does) is seen through by `pass_on`. Imports nothing but the standard library, and little of that:
it stands before everything else.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # as a shell has it: 128 and the signal's number
LINE = "kdlsr: interrupted before anything was begun\n"

_arrived: type[BaseException] | None = None


def end_at_interruption() -> None:
    """Has Ctrl-C end this process at once, with one line, until `begin` is called.

    Where SIGINT is ignored, as shells have it for jobs in the background, it stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def begin() -> None:
    """Has Ctrl-C raise `KeyboardInterrupt` from now on; forgets what arrived before."""
    global _arrived
    _arrived = None
    if signal.getsignal(signal.SIGINT) in (_end, signal.default_int_handler):
        signal.signal(signal.SIGINT, _interrupt)


def interrupt(kind: type[BaseException]) -> NoReturn:
    """Raises `kind`, in the handler of a signal."""
    global _arrived
    _arrived = kind
    raise kind


def pass_on(error: Exception) -> None:
    """Raises the interruption that has arrived, if one has, in place of what became of it."""
    if _arrived is not None:
        raise _arrived from error


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    interrupt(KeyboardInterrupt)


def _end(_number: int, _frame: FrameType | None) -> None:
    if sys.stderr is not None:
        os.write(2, LINE.encode())
    os._exit(INTERRUPTED)
