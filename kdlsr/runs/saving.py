"""What an epoch leaves is written while the next one is trained.

One thread, one epoch at a time, in order: what is on the disk never skips an epoch, and lags by
one at most. What is written, and whether it still may be, is the writer's.
"""

import concurrent.futures
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

logger = logging.getLogger("kdlsr")


class Saving:
    """A context manager, whose end waits for what is under way: nothing is left half done.

    What a write raises (a full disk, a run that was lost) is raised by the next call, or at the
    end, in place of an error that came later. An interruption stays one.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "saving")
        self._last: Future[None] | None = None

    def __enter__(self) -> "Saving":
        return self

    def begin(self, write: Callable[[], None]) -> None:
        """Begins a write, once the one before it is done.

        Args:
            write: may use only what no step changes.

        Raises:
            Exception: what the one before it raised.
        """
        self._wait()
        self._last = self._thread.submit(write)

    def _wait(self) -> None:
        if self._last is not None:
            concurrent.futures.wait([self._last])
            last, self._last = self._last, None
            last.result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._wait()
        except Exception as refusal:
            if error is None or isinstance(error, Exception):
                raise
            logger.warning("the last epoch is not saved: %s", refusal)
        finally:
            self._thread.shutdown()
