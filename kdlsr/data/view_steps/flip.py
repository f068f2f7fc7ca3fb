"""Mirroring: torchvision's `RandomHorizontalFlip`."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from kdlsr.config import Between
from kdlsr.data.draws import Words, unit
from kdlsr.data.places import Floats, Places
from kdlsr.data.view_steps.base import SpatialStep, view_steps


@view_steps.register("flip")
@dataclass(frozen=True)
class Flip(SpatialStep):
    """Mirror left to right with `probability`. Draws (1, n): 1 where a view is mirrored."""

    probability: Annotated[float, Between(0, 1)] = 0.5

    words: ClassVar[int] = 1
    first_word: ClassVar[int] = 2
    keeps_frame: ClassVar[bool] = True

    def draw(self, drawn: Words) -> Floats:
        return (unit(drawn) < self.probability).T.astype(np.float64)

    def place(self, places: Places, parameters: Floats) -> Places:
        return Places(places.x.mirrored(parameters[0] > 0), places.y)
