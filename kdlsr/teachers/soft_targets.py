"""Soft targets by row: replayed from stored outputs, or computed once and stored on the way.

Views are a function of row, epoch and data seed, so a teacher's logits on an epoch's views are
computed by the first run that needs them and are the same numbers for every other. An epoch's
outputs are held whole while it lasts; data sets too large for that (streamed from disk:
ImageNet) are not supported.

Where the inputs are the same in every epoch, so are a teacher's answers: one pass in an order of
its own, of batches that depend on nothing but the rows, serves every epoch, data seed and batch
size.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlsr.data.stream import Batch, EvalStream, TrainStream
from kdlsr.metrics import Metrics, classification_metrics
from kdlsr.teachers.network import DTYPES, TeacherNetwork
from kdlsr.teachers.outputs import TEST, TRAIN, Logits, OutputStore, epoch_part

RESIDENT_SHARE = 0.1  # of a GPU's free memory that an epoch's outputs may take


class SoftTargets:
    """What a teacher says of each training view.

    Args:
        network: gives the teacher's network; called only where an output is not stored.
        store: where outputs are kept; None: they are computed anew.
        rows: (n,), the rows of the data set that are trained on, rising.
        per_epoch: how many of them an epoch visits.
        classes: K.
        dtype: what logits are rounded to and stored as, `float16` or `float32`.
        device: the training's.
    """

    def __init__(
        self,
        network: Callable[[], TeacherNetwork],
        store: OutputStore | None,
        rows: npt.NDArray[np.int64],
        per_epoch: int,
        classes: int,
        dtype: str,
        device: torch.device,
    ) -> None:
        self._network = network
        self._store = store
        self._shape = (len(rows), classes)
        self._per_epoch = per_epoch
        self._dtype = dtype
        self._device = device
        places = np.full(rows[-1] + 1, -1, dtype=np.int64)
        places[rows] = np.arange(len(rows))
        self._places = torch.from_numpy(places).to(device)  # of each row of the data set
        self._live: TeacherNetwork | None = None  # of this epoch; None: it is replayed
        self._outputs: Tensor | None = None  # its outputs (n, K): replayed, or so far recorded
        self._part, self._epoch = "", 0
        self._ended: int | None = None  # the epoch whose outputs these are, once it is over

    def begin_epoch(self, epoch: int) -> None:
        """Finds the epoch's outputs (counted from 0), or makes ready to compute them."""
        self._part, self._epoch, self._ended = epoch_part(epoch), epoch, None
        self._outputs = None
        stored = self._store.read(self._part, self._shape, self._dtype) if self._store else None
        if stored is not None:
            self._live, self._outputs = None, self._placed(stored)
            return
        self._live = self._network()
        self._outputs = self._blank()

    def stored(self, rows: Tensor) -> Tensor | None:
        """Returns the logits (n, K) of the epoch's `rows` (n,), in the dtype they are stored in.

        None where they are not all there yet, or not on the device.
        """
        outputs = self._outputs
        if self._live is not None or outputs is None or outputs.device.type != self._device.type:
            return None
        return outputs.index_select(0, self._places[rows])

    def logits(self, batch: Batch) -> Tensor:
        """Returns the logits (B, K), fp32, of a batch of the epoch's views."""
        if self._live is None:
            return self._replayed(batch)
        assert self._outputs is not None
        logits = self._live.logits(batch.inputs)
        places = self._places[batch.rows].to(self._outputs.device)
        # Exact: these are values of the dtype already.
        self._outputs[places] = logits.to(self._outputs.device, self._outputs.dtype)
        return logits

    def end_epoch(self) -> None:
        """Verifies the epoch's live logits, then stores them.

        Raises:
            RunFailed: some were not finite, or beyond the range of the dtype; nothing is stored.
        """
        if self._live is not None:
            self._live.check()
            assert self._outputs is not None
            if self._store is not None and self._all_visited():
                self._store.write(self._part, self._outputs.cpu().numpy())
        self._live, self._ended = None, self._epoch

    def on_training(self, train: TrainStream, epoch: int) -> Metrics:
        """Returns the teacher's metrics on the training views of `epoch`, counted from 0.

        Of the epoch that ended last, and of a stored one, the outputs are there; those of any
        other are computed now.

        Args:
            train: the views that it teaches on.
            epoch: counted from 0.

        Raises:
            RunFailed: as for `end_epoch`.
        """
        if self._ended != epoch:
            self.begin_epoch(epoch)
            if self._live is not None:
                for batch in train.epoch(epoch):
                    self.logits(batch)
            self.end_epoch()
        assert self._outputs is not None
        visited = (~self._outputs[:, 0].isnan()).nonzero().squeeze(1)
        labels = train.samples.labels[torch.from_numpy(train.rows).to(self._device)]
        labels = labels.to(self._outputs.device)
        return classification_metrics(self._outputs[visited], labels[visited])

    def predict(self, stream: EvalStream) -> Tensor:
        """Returns the logits (N, K), fp32, of the test samples, `stream`, in its order.

        Raises:
            RunFailed: as for `end_epoch`.
        """
        return self._answers(TEST, stream)

    def _replayed(self, batch: Batch) -> Tensor:
        assert self._outputs is not None
        places = self._places[batch.rows].to(self._outputs.device)
        found = self._outputs.index_select(0, places)
        return found.to(self._device, non_blocking=True).to(torch.float32, copy=True)

    def _answers(self, part: str, stream: EvalStream) -> Tensor:
        """Returns the logits (N, K), fp32, of `stream`: stored under the name `part`, or now."""
        shape = (len(stream.labels), self._shape[1])
        stored = self._store.read(part, shape, self._dtype) if self._store else None
        if stored is not None:
            return torch.from_numpy(stored).to(self._device).to(torch.float32, copy=True)
        network = self._network()
        logits = stream.collect(lambda batch: network.logits(batch.inputs))
        network.check()
        if self._store:
            self._store.write(part, logits.to(DTYPES[self._dtype]).cpu().numpy())
        return logits

    def _all_visited(self) -> bool:
        assert self._outputs is not None
        return int((~self._outputs[:, 0].isnan()).sum()) == self._per_epoch

    def _placed(self, stored: Logits) -> Tensor:
        """On a GPU in one copy, if it fits; otherwise it stays mapped, read batch by batch."""
        outputs = torch.from_numpy(stored)
        return outputs.to(self._device) if self._fits() else outputs

    def _blank(self) -> Tensor:
        """Rows that an epoch does not visit (a dropped last sample) stay NaN, in the file too."""
        device = self._device if self._fits() else torch.device("cpu")
        return torch.full(self._shape, torch.nan, dtype=DTYPES[self._dtype], device=device)

    def _fits(self) -> bool:
        if self._device.type != "cuda":
            return True
        free, _ = torch.cuda.mem_get_info(self._device)
        size = self._shape[0] * self._shape[1] * DTYPES[self._dtype].itemsize
        return size < RESIDENT_SHARE * free


class FixedSoftTargets(SoftTargets):
    """What a teacher says of inputs that are the same in every epoch.

    Args:
        network: as for `SoftTargets`.
        store: likewise.
        train: what is trained on, rising, as the teacher reads it.
        classes: K.
        dtype: as for `SoftTargets`.
        device: likewise.
    """

    def __init__(
        self,
        network: Callable[[], TeacherNetwork],
        store: OutputStore | None,
        train: EvalStream,
        classes: int,
        dtype: str,
        device: torch.device,
    ) -> None:
        rows = train.rows.cpu().numpy()
        super().__init__(network, store, rows, len(rows), classes, dtype, device)
        self._train = train

    def begin_epoch(self, epoch: int) -> None:  # noqa: ARG002
        """Finds the outputs, or computes them, before the first epoch that asks."""
        if self._outputs is None:
            self._outputs = self._answers(TRAIN, self._train)

    def end_epoch(self) -> None:
        """Nothing: they were verified when they were computed."""
