"""Soft targets replayed from stored outputs, or computed live once and stored on the way.

Views are a function of sample, epoch and data seed, so a teacher's logits on an epoch's views
are computed by the first run that needs them and are the same numbers for every other. An
epoch's outputs are held whole while it lasts; data sets too large for that (streamed from
disk: ImageNet) are not supported.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kdlsr.data.stream import Batch, EvalStream
from kdlsr.teachers.live import DTYPES, LiveTeacher
from kdlsr.teachers.storage import TEST, Logits, OutputFolder, epoch_part

RESIDENT_SHARE = 0.1  # of a GPU's free memory that an epoch's outputs may take


class StoredTeacher:
    """A teacher whose outputs are kept: the same logits as `LiveTeacher`'s, to the bit.

    Args:
        network: gives the live teacher; called only where an output is not stored.
        outputs: where they are kept.
        shape: (N, K): views in an epoch, classes.
        dtype: what logits are rounded to and stored as, `float16` or `float32`.
        device: the training's.
    """

    def __init__(
        self,
        network: Callable[[], LiveTeacher],
        outputs: OutputFolder,
        shape: tuple[int, int],
        dtype: str,
        device: torch.device,
    ) -> None:
        self._network = network
        self._outputs = outputs
        self._shape = shape
        self._dtype = dtype
        self._device = device
        self._live: LiveTeacher | None = None  # of this epoch; None: it is replayed
        self._epoch: Tensor | None = None  # its outputs (N, K): replayed, or so far recorded
        self._part = ""
        self._position = 0

    def begin_epoch(self, epoch: int) -> None:
        """Finds the epoch's outputs (counted from 0), or makes ready to compute them."""
        self._part, self._position = epoch_part(epoch), 0
        stored = self._outputs.read(self._part, self._shape, self._dtype)
        if stored is not None:
            self._live, self._epoch = None, self._placed(stored)
            return
        self._live = self._network()
        self._live.begin_epoch(epoch)
        self._epoch = self._blank() if self._outputs.is_open else None

    def logits(self, batch: Batch) -> Tensor:
        """Returns the logits (B, K), fp32, of the epoch's next batch of views."""
        part = slice(self._position, self._position + len(batch.labels))
        self._position = part.stop
        if self._live is None:
            assert self._epoch is not None
            rounded = self._epoch[part].to(self._device, non_blocking=True)
            return rounded.to(torch.float32, copy=True)
        logits = self._live.logits(batch)
        if self._epoch is not None:
            self._epoch[part] = logits  # exact: these are values of the dtype already
        return logits

    def end_epoch(self) -> None:
        """Verifies the epoch's live logits, then stores them.

        Raises:
            RunFailed: some were beyond the range of the dtype; nothing is stored.
        """
        if self._live is not None:
            self._live.end_epoch()
            if self._epoch is not None and self._position == len(self._epoch):
                self._outputs.write(self._part, self._epoch.cpu().numpy())
        self._live = self._epoch = None

    def predict(self, stream: EvalStream) -> Tensor:
        """Returns the logits (N, K), fp32, of the test images, `stream`, in its order.

        Raises:
            RunFailed: some were beyond the range of the dtype; nothing is stored.
        """
        shape = (len(stream.labels), self._shape[1])
        stored = self._outputs.read(TEST, shape, self._dtype)
        if stored is not None:
            return torch.from_numpy(stored).to(self._device).to(torch.float32, copy=True)
        logits = self._network().predict(stream)
        self._outputs.write(TEST, logits.to(DTYPES[self._dtype]).cpu().numpy())
        return logits

    def stored_epochs(self) -> int:
        """Returns of how many epochs there are outputs, looked for now."""
        return self._outputs.stored_epochs()

    def _placed(self, stored: Logits) -> Tensor:
        """On a GPU in one copy, if it fits; otherwise it stays mapped, read batch by batch."""
        epoch = torch.from_numpy(stored)
        return epoch.to(self._device) if self._fits() else epoch

    def _blank(self) -> Tensor:
        device = self._device if self._fits() else torch.device("cpu")
        return torch.empty(self._shape, dtype=DTYPES[self._dtype], device=device)

    def _fits(self) -> bool:
        if self._device.type != "cuda":
            return True
        free, _ = torch.cuda.mem_get_info(self._device)
        size = self._shape[0] * self._shape[1] * DTYPES[self._dtype].itemsize
        return size < RESIDENT_SHARE * free
