"""Rotating by any angle: torchvision's `RandomRotation` with nearest pixels, on PIL images."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from kdlsr.config import Between
from kdlsr.data.draws import Words, unit
from kdlsr.data.places import Floats, Places
from kdlsr.data.view_steps.base import SpatialStep, view_steps


@view_steps.register("rotate")
@dataclass(frozen=True)
class Rotate(SpatialStep):
    """Rotate about the centre by an angle uniform in [-degrees, degrees), zeros beyond.

    Draws (1, n): the angle in degrees, counter-clockwise. NumPy's sine may differ from the C
    library's in its last bit, and so may the rounding; both are 100,000 times smaller than what
    could change a fixed-point coefficient by one, but for one angle in 10**11.
    """

    degrees: Annotated[float, Between(0, 180)]

    words: ClassVar[int] = 1
    first_word: ClassVar[int] = 3
    whole_pixels: ClassVar[bool] = False

    def draw(self, drawn: Words) -> Floats:
        return (2 * unit(drawn).T - 1) * self.degrees

    def place(self, places: Places, parameters: Floats) -> Places:
        radians = -np.radians(parameters[0] % 360.0)
        cos = np.asarray(np.round(np.cos(radians), 15), dtype=np.float64)
        sin = np.asarray(np.round(np.sin(radians), 15), dtype=np.float64)
        height, width = places.y.size, places.x.size

        def start(per_x: Floats, per_y: Floats, size: int) -> Floats:
            return (per_x * -(width / 2) + per_y * -(height / 2)) + size / 2

        return places.resampled(
            (cos, sin, start(cos, sin, width)), (-sin, cos, start(-sin, cos, height))
        )
