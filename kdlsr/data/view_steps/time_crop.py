"""Training on a part of a sound, cut out at random from its spectrogram."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from kdlsr.config import AtLeast
from kdlsr.config.inputs import InputSpec, SpectrogramSpec
from kdlsr.data.draws import Words, below
from kdlsr.data.places import Floats, Places
from kdlsr.data.view_steps.base import SpatialStep, view_steps

PARTS = 1 << 32  # of the room that a crop has, in which its begin is drawn


@view_steps.register("time_crop")
@dataclass(frozen=True)
class TimeCrop(SpatialStep):
    """Cut out `frames` frames anywhere; networks are tested on whole spectrograms.

    Draws (1, n): where the crop begins, as a share in [0, 1) of the places where it fits.
    """

    frames: Annotated[int, AtLeast(1)]

    words: ClassVar[int] = 1
    takes: ClassVar[type[InputSpec]] = SpectrogramSpec

    def draw(self, drawn: Words) -> Floats:
        return below(PARTS, drawn).T / PARTS

    def gives(self, spec: InputSpec) -> InputSpec:
        assert isinstance(spec, SpectrogramSpec), "a recipe is checked for what it takes"
        return SpectrogramSpec(*self.framed(spec.size))

    def framed(self, size: tuple[int, int]) -> tuple[int, int]:
        height, width = size
        return height, min(self.frames, width)

    def place_in(self, size: tuple[int, int], places: Places, parameters: Floats) -> Places:
        width = size[1]
        begin = (parameters[0] * (width - places.x.size + 1)).astype(np.int64)
        return Places(places.x.within(begin, width), places.y)

    def place(self, places: Places, parameters: Floats) -> Places:  # noqa: ARG002
        """Of a spectrogram that is no longer than the crop, all is cut out."""
        return places
