"""Work of a GPU recorded once and replayed: a CUDA graph, or the work itself where there is none.

What is recorded works in memory that stays where it is: whatever changes from one time to the next
stands in tensors that are written in place. On a CPU the same work is done, unrecorded. Nothing
here knows what is computed.
"""

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import torch
from torch import Tensor

from kdlsr.data.samples import Inputs
from kdlsr.machine.gpus import lacks_memory

T = TypeVar("T")
WARM_UP = 3  # times: kernels are chosen and an optimiser's memory is made by the first
WAITED = "called a synchronizing CUDA operation"  # torch's warning


class Recorder:
    """One kind of work of one device, as far as its recordings share something.

    Work is done a few times before it is recorded, each of them for good: there is no rehearsal
    whose traces would have to be removed. In the last of them torch watches whether the host
    waits for the device; then nothing is recorded, and a line says why.

    Args:
        device: where it is done.
        what: it is, for that line: "training steps".
        tell: takes the line.
    """

    def __init__(self, device: torch.device, what: str, tell: Callable[[str], None]) -> None:
        self.device = device
        self.records = device.type == "cuda"
        self._what, self._tell = what, tell
        self._said: set[str] = set()
        if self.records:
            # One pool serves all recordings of a stream: they run one after the other.
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self.pool = torch.cuda.graph_pool_handle()

    def remark(self, how: str) -> None:
        """Tells once how work is recorded, where it is."""
        if self.records and how not in self._said:
            self._said.add(how)
            self._tell(f"{self._what} are recorded {how}")

    def give_up(self, why: str) -> None:
        """Has all work of this kind done as it is from now on."""
        if self.records:
            self._tell(f"{self._what} are not recorded, and slower for it: {why}")
        self.records = False

    def clear_up(self) -> None:
        """Lets the device draw and allocate again, which a capture that failed may keep from it."""
        index = self.device.index
        index = torch.cuda.current_device() if index is None else index
        with suppress(RuntimeError):  # torch before 2.12 leaves it open, and frees nothing then
            torch._C._cuda_endAllocateToPool(index, self.pool)
        generator = torch.cuda.default_generators[index]
        generator.graphsafe_set_state(generator.clone_state())


class Recording(Generic[T]):
    """One piece of work: the same tensors and the same shapes each time."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._times = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: T

    def do(self, work: Callable[[], T]) -> T:
        """Does the work: records it when it is warm, and replays it from then on.

        Args:
            work: the same each time. Nothing of it may depend on the host once it is recorded.

        Returns:
            What it returns; of a replayed one the same tensor each time, written anew.
        """
        if self._recorder.records and self._graph is None:
            if self._times < WARM_UP:
                return self._warm(work)
            self._record(work)
        # A graph from before another failed draws its numbers from a state that is no one's now.
        if self._graph is None or not self._recorder.records:
            return work()
        self._graph.replay()
        return self._result

    def _warm(self, work: Callable[[], T]) -> T:
        """Does the work on the stream that it will be recorded on, at last under watch."""
        self._times += 1
        stream = self._recorder.stream
        current = torch.cuda.current_stream(self._recorder.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self._watched(work) if self._times == WARM_UP else work()
        current.wait_stream(stream)
        return result

    def _watched(self, work: Callable[[], T]) -> T:
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                result = work()
            finally:
                torch.cuda.set_sync_debug_mode(before)
        if why := reason_not_to_record(caught):
            self._recorder.give_up(why)
        return result

    def _record(self, work: Callable[[], T]) -> None:
        graph, recorder = torch.cuda.CUDAGraph(), self._recorder
        try:
            # The outer one leaves the stream even where the end of a capture fails; other
            # threads (a checkpoint on its way to the disk) go on meanwhile.
            with (
                torch.cuda.stream(recorder.stream),
                torch.cuda.graph(
                    graph, recorder.pool, recorder.stream, capture_error_mode="thread_local"
                ),
            ):
                self._result = work()
        except RuntimeError as error:
            recorder.clear_up()
            if lacks_memory(error):
                raise
            recorder.give_up(str(error).partition("\n")[0])
            return
        self._graph = graph


def reason_not_to_record(caught: Sequence[warnings.WarningMessage]) -> str | None:
    """Returns where the host waited for the device, by what torch said; None: nowhere."""
    for warning in caught:
        if WAITED in str(warning.message):
            return f"the host waits for the device at {warning.filename}:{warning.lineno}"
    return None


class ByShape(Generic[T]):
    """Work on a batch, which is copied into memory that stays: a recording for each shape of it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._kept: dict[tuple[object, ...], tuple[list[Inputs], list[Tensor], Recording[T]]] = {}

    def do(
        self,
        inputs: Sequence[Inputs],
        others: Sequence[Tensor],
        work: Callable[[Sequence[Inputs], Sequence[Tensor]], T],
    ) -> T:
        """Does `work` on copies of the inputs and of the other tensors."""
        key = (*map(_shapes, inputs), *map(_shapes, others))
        if key not in self._kept:
            copies = [_copy(each) for each in inputs], [other.clone() for other in others]
            self._kept[key] = (*copies, Recording(self._recorder))
        held, held_others, recording = self._kept[key]
        for each, place in zip([*inputs, *others], [*held, *held_others], strict=True):
            _put(each, place)
        return recording.do(lambda: work(held, held_others))


def _shapes(inputs: Inputs) -> object:
    if isinstance(inputs, Tensor):
        return inputs.shape, inputs.dtype
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in inputs.items())


def _copy(inputs: Inputs) -> Inputs:
    if isinstance(inputs, Tensor):
        return inputs.clone()
    return {name: tensor.clone() for name, tensor in inputs.items()}


def _put(inputs: Inputs, held: Inputs) -> None:
    if isinstance(inputs, Tensor):
        assert isinstance(held, Tensor)
        held.copy_(inputs)
        return
    assert not isinstance(held, Tensor)
    for name, tensor in inputs.items():
        held[name].copy_(tensor)
