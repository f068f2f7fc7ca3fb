"""Images in the host's memory: the content of every data set of images. NumPy only."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdlsr.config.encoding import Encoder
from kdlsr.config.inputs import InputSpec
from kdlsr.data.dataset import Content

if TYPE_CHECKING:
    import torch

    from kdlsr.data.image_samples import ImageSamples
    from kdlsr.data.normalisation import Normalisation
    from kdlsr.data.recipe import ViewRecipe

RESIDENT_SHARE = 0.4  # of a GPU's free memory that a split may take


@dataclass(frozen=True)
class Images(Content):
    """Images and their classes, in a fixed order.

    Attributes:
        pixels: (N, H, W, C), uint8, C is 1 or 3; may be memory-mapped.
        labels: (N,), int64, in [0, num_classes).
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def moments(self, rows: npt.NDArray[np.int64]) -> "Normalisation":
        """In units of 0..1, exact (integer sums)."""
        from kdlsr.data.normalisation import Normalisation

        channels = self.pixels.shape[-1]
        total = np.zeros(channels, dtype=np.int64)
        squares = np.zeros(channels, dtype=np.int64)
        count = 0
        for start in range(0, len(rows), 4096):
            pixels = self.pixels[rows[start : start + 4096]].reshape(-1, channels).astype(np.int64)
            total += pixels.sum(0)
            squares += (pixels**2).sum(0)
            count += len(pixels)
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
        return Normalisation(tuple((mean / 255).tolist()), tuple((std / 255).tolist()))

    @property
    def evaluated_at_once(self) -> int:
        """How many are evaluated in one batch, whatever their size."""
        return 1000

    def samples(
        self,
        spec: InputSpec,
        normalisation: "Normalisation | None",
        recipe: "ViewRecipe",
        device: "torch.device",
        encoder: Encoder | None = None,  # noqa: ARG002 (of networks of texts)
    ) -> "ImageSamples":
        """Resident on the device where they fit, else looked up by the CPU."""
        from kdlsr.data.image_samples import ImageSamples

        resident = _fits(self.pixels.nbytes, device)
        samples = ImageSamples(self, spec, normalisation, recipe, device, resident=resident)
        samples.evaluation_batch_size = self.evaluated_at_once
        return samples


def _fits(size: int, device: "torch.device") -> bool:
    import torch

    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size * 4 / 3 < RESIDENT_SHARE * free
