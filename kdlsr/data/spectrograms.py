"""Spectrograms in the host's memory: images of one channel, evaluated fewer at once if large."""

import math

from kdlsr.data.images import Images

EVALUATED_PIXELS = 1 << 22  # at once: 256 MB of a network's first 16 channels in float32


class Spectrograms(Images):
    """Spectrograms and their classes: `pixels` are (N, mel bands, frames, 1)."""

    @property
    def evaluated_at_once(self) -> int:
        at_once = EVALUATED_PIXELS // math.prod(self.pixels.shape[1:3])
        return max(1, min(at_once, super().evaluated_at_once))
