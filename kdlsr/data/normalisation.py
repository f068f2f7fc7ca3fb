"""What a channel's mean and standard deviation are, and inputs that were normalised by others.

No data set and no network: both sides of a teacher's and a student's difference in pixels.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from kdlsr.config import Above, Between, UserError
from kdlsr.config.inputs import InputSpec


@dataclass(frozen=True)
class Normalisation:
    """What inputs are normalised by: (x - mean) / std, x in 0..1.

    Attributes:
        mean: per channel.
        std: per channel, positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or min(self.std, default=1.0) <= 0:
            raise ValueError(f"mean={self.mean} and std={self.std} cannot normalise")

    def to_state(self) -> dict[str, list[float]]:
        """Returns plain values, for a checkpoint."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_state(cls, state: Mapping[str, Sequence[float]]) -> Self:
        """The inverse of `to_state`."""
        return cls(tuple(state["mean"]), tuple(state["std"]))


def check_normalisation(
    values: Mapping[str, Sequence[float] | None], spec: InputSpec, section: str, giver: str
) -> None:
    """Refuses a config's `mean` and `std` that cannot be those of a data set's inputs.

    Args:
        values: of `mean` and `std`, each per channel, or None where it is not set.
        spec: of the inputs.
        section: of the config that they stand in: `dataset` or `teacher`.
        giver: the data set's name.

    Raises:
        UserError: not one value for each channel; a std that is not positive; or, of pixels,
            a value that is in units of 0..255.
    """
    channels = spec.normalised_channels
    for key, of_channels in values.items():
        if of_channels is None:
            continue
        if len(of_channels) != channels:
            raise UserError(
                f"{section}.{key} has {len(of_channels)} values; {giver} has {channels} channels "
                "(null: computed from the training images)"
            )
        expected = _possible(key, spec)
        for value in of_channels:
            if not expected.allows(value):
                raise UserError(
                    f"{section}.{key}={list(of_channels)} is not possible; expected {expected}"
                    + (f": 1 is white, not 255 ({value:g} / 255 = {value / 255:.4g})" * (value > 1))
                )


def _possible(key: str, spec: InputSpec) -> Between | Above:
    if key == "std":
        return Between(0, 1, open_low=True) if spec.from_0_to_1 else Above(0)
    return Between(0, 1) if spec.from_0_to_1 else Above(-math.inf)


def renormalised(inputs: Tensor, have: Normalisation | None, want: Normalisation | None) -> Tensor:
    """Returns inputs normalised by `have` as `want` would have normalised them.

    The same tensor where the two are equal. Does not wait for a device.

    Args:
        inputs: (B, C, ...).
        have: what they were normalised by; None: they were not (tokens).
        want: what they should be.

    Raises:
        ValueError: one is None, or they have other numbers of channels.
    """
    if have == want:
        return inputs
    if have is None or want is None or len(have.mean) != len(want.mean):
        raise ValueError(f"inputs normalised by {have} cannot be by {want}")
    scale, shift = _affine(have, want, inputs.device, inputs.dtype)
    rest = (-1,) + (1,) * (inputs.dim() - 2)
    return inputs * scale.view(rest) + shift.view(rest)


@functools.lru_cache(maxsize=16)  # made once: a copy to a GPU makes the host wait
def _affine(
    have: Normalisation, want: Normalisation, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    pairs = list(zip(have.mean, have.std, want.mean, want.std, strict=True))
    scale = [std / new_std for _, std, _, new_std in pairs]
    shift = [(mean - new_mean) / new_std for mean, _, new_mean, new_std in pairs]
    with torch.inference_mode(False):
        return (
            torch.tensor(scale, dtype=dtype, device=device),
            torch.tensor(shift, dtype=dtype, device=device),
        )
