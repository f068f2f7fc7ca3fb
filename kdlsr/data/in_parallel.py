"""Many files worked on by all cores: by processes where they are many, else by threads."""

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Protocol, TypeVar

from kdlsr.files.download import Progress
from kdlsr.machine.cores import available_cores
from kdlsr.machine.side_process import SideProcess

CHUNK_FILES = 256
FIRST_FILES = 32  # tell how long all will take
WORTH_PROCESSES_S = 2.0  # of one core; to start a process takes a tenth of it

S_contra = TypeVar("S_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S")
T = TypeVar("T")


class Work(Protocol[S_contra, T_co]):
    """What is done with a chunk of items, here or in another process: it can be pickled."""

    def __call__(self, chunk: Sequence[S_contra], /) -> T_co: ...


def in_parallel(work: Work[S, T], items: Sequence[S], what: str, progress: Progress) -> Iterator[T]:
    """Yields `work` of each chunk of `items`, in order, as many at a time as there are cores.

    Processes, since Pillow does most of its work on a small image under Python's global lock:
    threads gain nothing for 32x32 JPEGs. They cost a start, and the first items tell whether that
    is worth it. What is not is left to threads.
    """
    first, rest = items[:FIRST_FILES], items[FIRST_FILES:]
    begun = time.perf_counter()
    yield work(first)
    seconds = (time.perf_counter() - begun) * len(rest) / max(1, len(first))
    progress(what, len(first), len(items))
    chunks = [rest[i : i + CHUNK_FILES] for i in range(0, len(rest), CHUNK_FILES)]
    done = len(first)
    worth = len(chunks) > 1 and seconds > WORTH_PROCESSES_S
    with _cores(work, len(chunks) if worth else 0) as do:
        pool = ThreadPoolExecutor(max_workers=available_cores())
        try:
            for chunk, result in zip(chunks, pool.map(do, chunks), strict=True):
                done += len(chunk)
                progress(what, done, len(items))
                yield result
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _cores(work: Work[S, T], most: int) -> Iterator[Callable[[Sequence[S]], T]]:
    """Gives what has a chunk done by a process that is idle, of `most` at most; 0: by nobody else.

    Where the system starts none (its limit is reached), threads do all of it.
    """
    idle: queue.SimpleQueue[SideProcess] = queue.SimpleQueue()
    with ExitStack() as stack:
        try:
            for _ in range(min(most, available_cores())):
                idle.put(stack.enter_context(SideProcess()))
        except OSError:
            most = 0

        def elsewhere(chunk: Sequence[S]) -> T:
            process = idle.get()
            try:
                return process.call(work, chunk)
            finally:
                idle.put(process)

        yield elsewhere if most else work
