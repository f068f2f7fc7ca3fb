"""A time limit on a call into somebody else's code.

It knows nothing of what is called.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class NoAnswer(Exception):
    """A call has not returned within its time."""


def within(seconds: float, action: Callable[[], T]) -> T:
    """Returns `action()`, waiting for it no longer than `seconds`.

    It runs in a daemon thread, which is left behind when the time is over; an interruption of
    the caller is not held up by it. What it raises is raised here, except that an attempt to
    end the process (`SystemExit`) becomes a `RuntimeError`.

    Raises:
        NoAnswer: the time is over.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(action())
        except SystemExit as ending:
            outcome.set_exception(RuntimeError(f"exit with {ending.code}"))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name="kdlsr-tracking").start()
    try:
        return outcome.result(timeout=seconds)
    except TimeoutError:
        if outcome.done():  # the action's own
            raise
        raise NoAnswer(f"no answer within {seconds:g} s") from None
