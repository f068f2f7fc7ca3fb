"""A network that answers with its logits as the student asks."""

import torch
from torch import Tensor, nn

from kdlsr.config import RunFailed
from kdlsr.data.stream import Batch, EvalStream

DTYPES = {"float16": torch.float16, "float32": torch.float32}


class LiveTeacher:
    """A frozen network in evaluation mode, outside of the student's optimiser.

    Its logits are rounded to `dtype` before anything sees them, so that outputs stored in
    that dtype and replayed later are the same numbers.
    """

    def __init__(
        self, model: nn.Module, dtype: str, device: torch.device, autocast: torch.dtype | None
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.model.requires_grad_(False)
        self._dtype_name = dtype
        self._dtype = DTYPES[dtype]
        self._autocast = autocast
        self._device = device
        self._overflowed = torch.zeros((), dtype=torch.bool, device=device)

    def logits(self, batch: Batch) -> Tensor:
        """Returns the teacher's logits (N, K), fp32 holding values of `dtype`."""
        with (
            torch.inference_mode(),
            torch.autocast(
                self._device.type, dtype=self._autocast, enabled=self._autocast is not None
            ),
        ):
            rounded: Tensor = self.model(batch.inputs).to(self._dtype)
            self._overflowed |= ~rounded.isfinite().all()
        # A copy made outside of inference mode: autograd may save it for the backward pass.
        return rounded.to(torch.float32, copy=True)

    def begin_epoch(self, epoch: int) -> None:
        """Nothing has to be made ready."""

    def end_epoch(self) -> None:
        """Waits for the device and verifies all logits so far.

        Raises:
            RunFailed: some were beyond the range of `dtype` (or not numbers at all).
        """
        if self._overflowed.item():
            raise RunFailed(
                f"a teacher's logit is not finite in {self._dtype_name}; "
                "teacher.dtype=float32 has more range"
            )

    def predict(self, stream: EvalStream) -> Tensor:
        """Returns the rounded logits (N, K) of all images of `stream`, in its order."""
        logits = torch.cat([self.logits(batch) for batch in stream])
        self.end_epoch()
        return logits
