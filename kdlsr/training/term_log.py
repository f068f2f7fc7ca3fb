"""The loss terms of an epoch's steps, kept on the device, where a captured step can write them.

Reading them all waits for the device, which an epoch's end may. A display may not: it is shown
what has already arrived. Nothing here knows what a term means.
"""

import torch
from torch import Tensor

from kdlsr.config import RunFailed
from kdlsr.losses import Terms


class TermLog:
    """Rows of terms, a row per step.

    What happens on the device (`write`) is apart from what the host notes (`count`), so that a
    graph which holds the one can be replayed, and the host does the other:

        log.begin()                    # an epoch; memory stays where it is
        log.write(terms); log.count(n) # a step, or `log.add(terms, n)`
        log.rewind()                   # after steps that do not count, such as a warm-up's

    Args:
        steps: of an epoch, at most.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._names: tuple[str, ...] = ()  # as an epoch's first step has them
        self._rows = torch.empty(0)  # (steps, terms), fp32
        self._next = torch.empty(0)  # (1,), int64: the row of the next step
        self._sizes: list[int] = []
        self._arriving: _Arriving | None = None
        self._shown: dict[str, float] = {}

    def begin(self) -> None:
        """Begins an epoch: nothing has been written. Addresses stay as they are."""
        self._sizes = []
        self._shown = {}
        self._arriving = None
        if self._names:
            self._rows.zero_()
            self.rewind()

    def add(self, terms: Terms, size: int) -> None:
        """Notes a step's terms and the number of its samples."""
        self.write(terms)
        self.count(size)

    def write(self, terms: Terms) -> None:
        """Puts a step's terms into the next row: work of the device alone, which can be captured.

        The first call makes the rows' memory, and so comes before a capture (in its warm-up).
        """
        if not self._sizes and tuple(terms) != self._names:
            self._names = tuple(terms)
            total = terms["total"]
            self._rows = total.new_zeros(self._steps, len(terms), dtype=torch.float32)
            self._next = total.new_zeros(1, dtype=torch.int64)
        row = torch.stack([terms[name].detach() for name in self._names])
        self._rows.index_copy_(0, self._next, row[None].to(torch.float32))
        self._next += 1

    def count(self, size: int) -> None:
        """Notes on the host that one more step was written, of `size` samples."""
        self._sizes.append(size)

    def rewind(self) -> None:
        """Has the next step written over those that were not counted."""
        self._next.fill_(len(self._sizes))

    def means(self) -> dict[str, float]:
        """Returns the means over the samples so far; waits for the device."""
        return self._means_of(self._rows[: len(self._sizes)].cpu())

    def latest(self) -> dict[str, float]:
        """Returns the means over as many samples as are known by now, and never waits.

        On a CPU these are all. On a GPU it is what had been asked for at an earlier call, once it
        has arrived; empty before that.
        """
        if _is_here(self._rows):
            return self.means() if self._sizes else {}
        arrived = self._arriving.look() if self._arriving else None
        if arrived is not None:
            self._shown = self._means_of(arrived)
        if self._arriving is None or arrived is not None:
            self._arriving = _Arriving(self._rows[: len(self._sizes)])
        return self._shown

    def check_finite(self, epoch: int) -> None:
        """Verifies an epoch's terms.

        Raises:
            RunFailed: one is not finite; the message names the first such step.
        """
        finite = self._rows.isfinite().all(dim=1).cpu()
        if not finite.all():
            step = int(torch.nonzero(~finite)[0, 0])
            values = dict(zip(self._names, self._rows[step].tolist(), strict=True))
            raise RunFailed(
                f"the loss is not finite at step {step + 1} of epoch {epoch + 1}: "
                + ", ".join(f"{name} {value:g}" for name, value in values.items())
            )

    def _means_of(self, rows: Tensor) -> dict[str, float]:
        weights = torch.tensor(self._sizes[: len(rows)], dtype=torch.float64)
        means = (rows.double() * weights[:, None]).sum(0) / weights.sum()
        return dict(zip(self._names, means.tolist(), strict=True))


def _is_here(rows: Tensor) -> bool:
    return rows.device.type == "cpu"


class _Arriving:
    """A tensor on its way from a GPU: queued behind the work so far, and looked at, not awaited."""

    def __init__(self, source: Tensor) -> None:
        self._copy = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
        self._copy.copy_(source, non_blocking=True)
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._done.record(torch.cuda.current_stream(source.device))

    def look(self) -> Tensor | None:
        """Returns the tensor, on the CPU; None if it is still on its way."""
        return self._copy if self._done.query() else None  # type: ignore[no-untyped-call]
