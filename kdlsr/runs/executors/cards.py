"""How many runs a GPU takes at once: so many as are asked for, or as its memory has room for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from kdlsr.config import AtLeast

JobsPerGpu: TypeAlias = Annotated[int, AtLeast(1)] | Literal["auto"]
BEGIN_WITH = 4  # runs on a GPU, before one has told how much memory it takes
MOST = 12  # more were never measured; on an H200 12 students beat 4 by a tenth, or not at all
SHARE = 0.9  # of the memory that was free
CONTEXT_BYTES = 1 << 29  # beside what torch holds: set aside for each process's CUDA context


@dataclass(frozen=True)
class Memory:
    """What a run tells of its GPU's memory, in bytes; zeros without one.

    Attributes:
        free: before its process had run anything.
        peak: the most that torch held in the run.
        was_short: whether the run failed for want of it.
    """

    free: int = 0
    peak: int = 0
    was_short: bool = False


class Card:
    """A GPU (or as many as a run sees) and the runs on it; without any, a share of the cores.

    Attributes:
        gpus: as CUDA_VISIBLE_DEVICES names them.
        limit: how many runs may be on it at once.
        running: how many are.
    """

    def __init__(self, gpus: Sequence[str], jobs: JobsPerGpu) -> None:
        self.gpus = tuple(gpus)
        self.limit = BEGIN_WITH if jobs == "auto" else jobs
        self.running = 0
        self._chooses = jobs == "auto"
        self._most = MOST
        self._free = 0
        self._peak = 0

    @property
    def has_room(self) -> bool:
        """Whether one more run may begin."""
        return self.running < self.limit

    def learn(self, memory: Memory) -> None:
        """Chooses the limit anew by what a run has told."""
        self._free = max(self._free, memory.free)
        self._peak = max(self._peak, memory.peak)
        if self._chooses and self._free and self._peak:
            fits = int(SHARE * self._free / (self._peak + CONTEXT_BYTES))
            self.limit = max(1, min(fits, self._most))

    def gives_way(self, beside: int, limit: int) -> bool:
        """Whether a run that lacked memory may be tried again with fewer runs beside it.

        Args:
            beside: how many runs are on the card now.
            limit: how many there might have been when it began.
        """
        if not self._chooses or (limit == 1 and not beside):
            return False
        self._most = max(1, min(self._most, limit // 2))
        self.limit = min(self.limit, self._most)
        return True
