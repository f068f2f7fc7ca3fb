"""Shifting a sound in time, on its spectrogram."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from kdlsr.config import AtLeast
from kdlsr.config.inputs import InputSpec, SpectrogramSpec
from kdlsr.data.draws import Words, below
from kdlsr.data.places import Floats, Places
from kdlsr.data.view_steps.base import SpatialStep, view_steps


@view_steps.register("time_shift")
@dataclass(frozen=True)
class TimeShift(SpatialStep):
    """Begin up to `frames` frames earlier or later; silence comes in at the other end.

    Draws (1, n): how many frames later the view begins, -frames..frames.
    """

    frames: Annotated[int, AtLeast(0)]

    words: ClassVar[int] = 1
    takes: ClassVar[type[InputSpec]] = SpectrogramSpec

    def draw(self, drawn: Words) -> Floats:
        return below(2 * self.frames + 1, drawn).T.astype(np.float64) - self.frames

    def place(self, places: Places, parameters: Floats) -> Places:
        return Places(places.x.shifted(parameters[0].astype(np.int64)), places.y)
