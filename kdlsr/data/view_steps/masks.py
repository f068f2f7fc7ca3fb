"""Masks over time and frequency: SpecAugment (Park et al. 2019, section 2), without its warping.

Masked are whole frames, or whole mel bands, with silence: 0, the least that is told from it. (The
paper masks with the mean of normalised spectrograms.)
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from kdlsr.config import AtLeast, Between
from kdlsr.config.inputs import InputSpec, SpectrogramSpec
from kdlsr.data.draws import Words, below
from kdlsr.data.places import Floats
from kdlsr.data.view_steps.base import PixelStep, view_steps

if TYPE_CHECKING:
    from torch import Tensor

MOST = 4  # masks of a step
PARTS = 1 << 16  # of the room that a mask has, in which its begin is drawn: exact in float32


class Mask(PixelStep):
    """Up to `MOST` masks along one axis, drawn each on its own; they may overlap.

    A mask has words of its own: one mask more leaves the others where they were.
    Draws (2 * count, n): the widths, uniform in 0..width; then the begins, as shares in [0, 1)
    of the places where a mask of its width fits.
    """

    words: ClassVar[int] = 2 * MOST
    takes: ClassVar[type[InputSpec]] = SpectrogramSpec
    axis: ClassVar[int]

    @property
    def masks(self) -> tuple[int, int]:
        """How many masks there are, and how wide each is at most."""
        raise NotImplementedError

    def draw(self, drawn: Words) -> Floats:
        count, width = self.masks
        widths = below(width + 1, drawn[:, 0 : 2 * count : 2].T)
        begins = below(PARTS, drawn[:, 1 : 2 * count : 2].T) / PARTS
        return np.concatenate([widths.astype(np.float64), begins])

    def change(self, images: "Tensor", parameters: "Tensor") -> "Tensor":
        import torch

        size = images.shape[self.axis]
        widths, shares = parameters.clamp(max=size).chunk(2)
        begins = (shares * (size - widths + 1)).floor()
        places = torch.arange(size, device=images.device)
        after, before = places >= begins[..., None], places < (begins + widths)[..., None]
        masked = (after & before).any(0)  # (B, size)
        shape = [len(images), 1, 1, 1]
        shape[self.axis] = size
        return images.masked_fill_(masked.view(shape), 0)


@view_steps.register("time_mask")
@dataclass(frozen=True)
class TimeMask(Mask):
    """`count` masks of up to `frames` frames: SpecAugment's m_T and T."""

    frames: Annotated[int, AtLeast(1)]
    count: Annotated[int, Between(1, MOST)] = 1

    axis: ClassVar[int] = 3

    @property
    def masks(self) -> tuple[int, int]:
        return self.count, self.frames


@view_steps.register("frequency_mask")
@dataclass(frozen=True)
class FrequencyMask(Mask):
    """`count` masks of up to `bands` mel bands: SpecAugment's m_F and F."""

    bands: Annotated[int, AtLeast(1)]
    count: Annotated[int, Between(1, MOST)] = 1

    axis: ClassVar[int] = 2

    @property
    def masks(self) -> tuple[int, int]:
        return self.count, self.bands
