"""A teacher's network as it answers: frozen, in evaluation mode, its logits rounded."""

import torch
from torch import Tensor, nn

from kdlsr.config import RunFailed
from kdlsr.data.normalisation import Normalisation, renormalised
from kdlsr.data.samples import Inputs

# A teacher's logits of one sample mostly differ by tens. From the first on no temperature in use
# softens them, which is said; from the second on (float16's range) the teacher is refused.
LARGE_SPREAD, IMPOSSIBLE_SPREAD = 1e4, 65504.0
DTYPES = {"float16": torch.float16, "float32": torch.float32}


class TeacherNetwork:
    """A frozen network in evaluation mode, outside of the student's optimiser.

    Its logits are rounded to `dtype` before anything sees them, so that outputs stored in that
    dtype and replayed later are the same numbers.

    Args:
        model: the network.
        dtype: what its logits are rounded to, `float16` or `float32`.
        device: the training's.
        autocast: of its arithmetic; None: fp32.
        seen: how the student's inputs are normalised.
        learnt: how those were that the network learnt from; None: likewise.
    """

    def __init__(
        self,
        model: nn.Module,
        dtype: str,
        device: torch.device,
        autocast: torch.dtype | None,
        seen: Normalisation | None = None,
        learnt: Normalisation | None = None,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.model.requires_grad_(False)
        self._dtype_name = dtype
        self._device = device
        self._autocast = autocast
        self._seen, self._learnt = seen, learnt or seen
        self._not_finite = torch.zeros((), dtype=torch.bool, device=device)
        self._overflowed = torch.zeros((), dtype=torch.bool, device=device)
        self._spread = torch.zeros((), device=device)

    def logits(self, inputs: Inputs) -> Tensor:
        """Returns the logits (B, K), fp32 holding values of `dtype`.

        Args:
            inputs: as the student sees them; the network sees them as it learnt to.
        """
        autocast = self._autocast is not None
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=self._autocast, enabled=autocast),
        ):
            logits: Tensor = self.model(self._as_learnt(inputs))
            rounded = logits.to(DTYPES[self._dtype_name])
            self._not_finite |= ~logits.isfinite().all()
            self._overflowed |= ~rounded.isfinite().all()
            self._spread = torch.maximum(self._spread, spread_of(logits))
        # A copy made outside of inference mode: autograd may save it for the backward pass.
        return rounded.to(torch.float32, copy=True)

    def _as_learnt(self, inputs: Inputs) -> Inputs:
        if self._seen == self._learnt or not isinstance(inputs, Tensor):
            return inputs
        return renormalised(inputs, self._seen, self._learnt)

    def check(self) -> None:
        """Waits for the device and verifies all logits so far.

        Raises:
            RunFailed: some were not finite, beyond the range of `dtype`, or too far apart.
        """
        if self._not_finite.item():
            raise RunFailed(
                "a teacher's logit is not finite: its weights, or how they were loaded, are wrong"
            )
        check_spread(self._spread.item())
        if self._overflowed.item():
            raise RunFailed(
                f"a teacher's logit is beyond the range of {self._dtype_name}; its logits differ "
                f"by {self._spread.item():.3g} at most, so that they can teach with "
                "teacher.dtype=float32"
            )


def spread_of(logits: Tensor) -> Tensor:
    """Returns by how much the logits (N, K) of one sample differ at most: a number, fp32."""
    low, high = logits.to(torch.float32).aminmax(dim=1)
    return (high - low).max()


def check_spread(spread: float) -> None:
    """Refuses a teacher whose logits are as far apart as no trained network's.

    Raises:
        RunFailed: they are; in any dtype, since such soft targets are one-hot noise.
    """
    if spread > IMPOSSIBLE_SPREAD:
        raise RunFailed(
            f"a teacher's logits of one sample differ by {spread:.3g}, which is no trained "
            "network's answer: its weights were made for another network, or for one with other "
            "options (padding, eps) or other inputs"
        )
