"""Another Python that works for this process, and ends with it, however that ends.

For work that Python's global lock would have wait in threads. It knows nothing of this process
but what it is sent: no lock, no device, no descriptor is shared, and it imports only what it is
asked to do. Its start costs a fifth of a second.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, TypeVar

from kdlsr.config.errors import UserError

S = TypeVar("S")
T = TypeVar("T")

# One of them stands on each core: libraries are to start no threads of their own.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class SideProcess:
    """A context manager; one thread at a time may call.

    Raises:
        OSError: the system starts no more processes.
    """

    def __init__(self) -> None:
        begin = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; serve()"
        # Its group is its own: Ctrl-C reaches this process alone, with which it ends.
        self._process = subprocess.Popen(
            [sys.executable, "-c", begin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD,
            process_group=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout

    def __enter__(self) -> "SideProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # it has ended already, and takes nothing more
            self._to.close()
        self._process.kill()  # it holds nothing that has to be put away
        self._process.wait()
        self._from.close()

    def call(self, function: Callable[[S], T], argument: S) -> T:
        """Returns `function(argument)`, computed there; both are pickled.

        Raises:
            UserError: the process has ended, killed for want of memory, say.
            Exception: what `function` raised.
        """
        try:
            pickle.dump((function, argument), self._to, pickle.HIGHEST_PROTOCOL)
            self._to.flush()
            succeeded, result = pickle.load(self._from)
        except (OSError, EOFError) as error:
            raise UserError(
                f"a process that worked for this one ended with {self._process.wait()}; "
                "too little memory, or disk?"
            ) from error
        if not succeeded:
            raise result
        found: T = result
        return found


def serve() -> None:
    """What such a process does: calls until its parent is gone, or has no more for it."""
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not come between
    with suppress(EOFError, BrokenPipeError):
        while True:
            pickle.dump(_answer(incoming), outgoing, pickle.HIGHEST_PROTOCOL)
            outgoing.flush()
    os._exit(0)


def _answer(incoming: BinaryIO) -> tuple[bool, object]:
    function, argument = pickle.load(incoming)
    try:
        return True, function(argument)
    except Exception as error:  # whatever it is, it is raised in the parent
        return False, error
