"""Padding with zeros and cutting out: torchvision's `RandomCrop(size, padding)`."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from kdlsr.config import AtLeast
from kdlsr.data.draws import Words, below
from kdlsr.data.places import Floats, Places
from kdlsr.data.view_steps.base import SpatialStep, view_steps


@view_steps.register("pad_crop")
@dataclass(frozen=True)
class PadCrop(SpatialStep):
    """Pad by `padding` zero pixels on each side, then cut out the image's size anywhere.

    Draws (2, n): the crop's first line and first column in the padded image, 0..2*padding.
    """

    padding: Annotated[int, AtLeast(0)]

    words: ClassVar[int] = 2
    first_word: ClassVar[int] = 0

    def draw(self, drawn: Words) -> Floats:
        return below(2 * self.padding + 1, drawn).T.astype(np.float64)

    def place(self, places: Places, parameters: Floats) -> Places:
        top, left = parameters.astype(np.int64) - self.padding
        return Places(places.x.shifted(left), places.y.shifted(top))
