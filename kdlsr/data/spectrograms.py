"""Spectrograms in the host's memory: images of one channel, evaluated fewer at once if large."""

import math
from typing import TYPE_CHECKING

from kdlsr.config.inputs import InputSpec
from kdlsr.data.images import Images

if TYPE_CHECKING:
    import torch

    from kdlsr.data.image_samples import ImageSamples
    from kdlsr.data.normalisation import Normalisation
    from kdlsr.data.recipe import ViewRecipe

EVALUATED_PIXELS = 1 << 22  # at once; a network of 16 channels makes 256 MB of them


class Spectrograms(Images):
    """Spectrograms and their classes: `pixels` are (N, mel bands, frames, 1)."""

    def samples(
        self,
        spec: InputSpec,
        normalisation: "Normalisation | None",
        recipe: "ViewRecipe",
        device: "torch.device",
    ) -> "ImageSamples":
        samples = super().samples(spec, normalisation, recipe, device)
        at_once = EVALUATED_PIXELS // math.prod(self.pixels.shape[1:3])
        samples.evaluation_batch_size = max(1, min(samples.evaluation_batch_size, at_once))
        return samples
