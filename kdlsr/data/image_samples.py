"""From drawn parameters to the pixels that a network sees, in batch, on the device.

Given the same parameters a view equals torchvision's `pad`, `crop`, `hflip` and `rotate` on PIL
images (zero fill, nearest neighbour) pixel for pixel: all steps that move pixels are one lookup
per pixel (`places`). Then come the steps that change pixels, then the normalisation. Nothing
random happens here. torchvision's transforms are not used: they draw from a generator, image by
image on PIL's (a twelfth of the speed) or one draw for a whole batch of tensors.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlsr.config.inputs import InputSpec
from kdlsr.data.draws import Rows
from kdlsr.data.normalisation import Normalisation
from kdlsr.data.recipe import Draws, ViewRecipe
from kdlsr.data.samples import PlannedViews, Samples

if TYPE_CHECKING:
    from kdlsr.data.images import Images


class ImageSamples(Samples):
    """Images of one split, held on the device or, where they do not fit, by the CPU.

    Args:
        images: uint8, of 1 or 3 channels; copied (three channels into four bytes).
        spec: what they are.
        normalisation: of as many channels.
        recipe: how an image becomes a view.
        device: where views are wanted.
        dtype: of the views.
        resident: keep the pixels on `device`; otherwise they stay with the CPU, which looks
            them up, and batches of uint8 are moved without waiting for them.

    Raises:
        ValueError: the arguments do not fit together.
    """

    def __init__(
        self,
        images: "Images",
        spec: InputSpec,
        normalisation: Normalisation | None,
        recipe: ViewRecipe,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        *,
        resident: bool = True,
    ) -> None:
        pixels = images.pixels
        self.count, self.height, self.width, self.channels = pixels.shape
        if pixels.dtype != np.uint8 or self.channels not in (1, 3):
            raise ValueError(f"images are uint8 with 1 or 3 channels, not {pixels.dtype}")
        if normalisation is None or len(normalisation.mean) != self.channels:
            raise ValueError(f"{normalisation} does not fit {self.channels} channels")
        self.spec, self.recipe, self.normalisation = spec, recipe, normalisation
        self.device = torch.device(device)
        self.pixel_device = self.device if resident else torch.device("cpu")
        self.on_device = resident
        self.dtype = dtype
        self.labels = torch.as_tensor(images.labels, dtype=torch.int64, device=self.device)
        self._pixels = torch.from_numpy(_packed(pixels)).to(self.pixel_device)
        self._columns = torch.arange(self.width, dtype=torch.int32, device=self.pixel_device)
        self._lines = torch.arange(self.height, dtype=torch.int32, device=self.pixel_device)
        # Repeated along a line of pixels: long rows are what CPUs are quick at.
        centre = np.tile(255 * np.asarray(normalisation.mean, dtype=np.float64), self.width)
        scale = np.tile(1 / (255 * np.asarray(normalisation.std, dtype=np.float64)), self.width)
        self._centre = torch.from_numpy(centre.astype(np.float32)).to(self.device)
        self._scale = torch.from_numpy(scale.astype(np.float32)).to(self.device)
        self._place_dtype = torch.int32 if len(self._pixels) < 2**31 else torch.int64

    def views(self, rows: Rows, data_seed: int, epoch: int) -> PlannedViews:
        return self.drawn(rows, self.recipe.draw(self.count, data_seed, epoch).of(rows))

    def plain(self, rows: Rows) -> PlannedViews:
        return self.drawn(rows, Draws(ViewRecipe(), len(rows), {}))

    def drawn(self, rows: Rows, draws: Draws) -> PlannedViews:
        """Makes ready the views of `rows` (n,) by their own `draws`; moves both to the device.

        Views are (B, C, H, W), normalised, channels_last in memory. The same image and
        parameters give the same bits in any batch.

        Raises:
            ValueError: there is not one draw per row.
        """
        if len(rows) != len(draws):
            raise ValueError(f"{len(rows)} images and {len(draws)} draws")
        table = draws.table((self.height, self.width))
        _, width = draws.recipe.framed((self.height, self.width))
        lookup = np.concatenate([np.asarray(rows, dtype=np.int32)[None], table])
        plan = [torch.from_numpy(lookup).to(self.pixel_device)]
        steps = []
        for step, drawn in draws.changes():
            steps.append(step)
            plan.append(torch.from_numpy(drawn.astype(np.float32)).to(self.device))

        def make(columns: Sequence[Tensor]) -> Tensor:
            places, *parameters = columns
            images = self._unpacked(self._looked_up(places, width), width)
            for step, chosen in zip(steps, parameters, strict=True):
                images = step.change(images, chosen)
            return self._normalised(images)

        return PlannedViews(plan, make)

    def _looked_up(self, plan: Tensor, width: int) -> Tensor:
        """Returns a plan's pixels, packed, on the views' device, without waiting for them.

        Args:
            plan: (1 or 11, B): images, and where their pixels lie.
            width: columns of a view.
        """
        if len(plan) == 1:  # no pixel moves: whole images
            table, places = self._pixels[1:].view(self.count, -1), plan[0]
        else:
            table, places = self._pixels, self._places(plan, width).view(-1)
        if self.pixel_device == self.device:
            return table.index_select(0, places)
        found = torch.empty(
            (len(places), *table.shape[1:]),
            dtype=table.dtype,
            pin_memory=self.device.type == "cuda",
        )
        return torch.index_select(table, 0, places, out=found).to(self.device, non_blocking=True)

    def _places(self, plan: Tensor, width: int) -> Tensor:
        """Returns, for each pixel of each view, its place in `_pixels`: (B, H, `width`).

        All integer arithmetic, whose signs serve as truth values: the passes are few, and
        several times quicker than comparisons and `where`.
        """
        first, *axes = plan[:, :, None, None].unbind()
        x, inside_x = self._coordinate(axes[:5], width)
        y, inside_y = self._coordinate(axes[5:], width)
        # All ones where the pixel lies inside of the image; 0, the zero pixel's place, elsewhere.
        inside = inside_x.bitwise_and_(inside_y).bitwise_right_shift_(31)
        begin = first.to(self._place_dtype) * (self.height * self.width) + 1
        return x.add_(y, alpha=self.width).add(begin).bitwise_and_(inside)

    def _coordinate(self, axis: Sequence[Tensor], width: int) -> tuple[Tensor, Tensor]:
        """Returns an axis's coordinates, and integers that are negative where they count."""
        per_x, per_y, start, below, high = axis
        along_x = per_x * self._columns[:width]
        along_y = (per_y * self._lines[:, None]).add_(start)
        coordinate = along_x.add(along_y).bitwise_right_shift_(16)
        return coordinate, (below - coordinate).bitwise_and_(coordinate - high)

    def _unpacked(self, packed: Tensor, width: int) -> Tensor:
        """Returns looked-up pixels as images (B, C, H, W), float32 in 0..255, channels_last."""
        unpacked = packed.view(torch.uint8).view(-1, 4 if self.channels == 3 else 1)
        out = torch.empty(len(unpacked), self.channels, device=self.device)
        for channel in range(self.channels):
            out[:, channel] = unpacked[:, channel]
        return out.view(-1, self.height, width, self.channels).permute(0, 3, 1, 2)

    def _normalised(self, images: Tensor) -> Tensor:
        """Returns (x / 255 - mean) / std, in place where memory is channels_last."""
        # Two operations that each round correctly, so that no device's or loop tail's fused
        # multiply-add gives other bits.
        width = images.shape[3]
        line = slice(width * self.channels)
        lines = images.permute(0, 2, 3, 1).reshape(-1, width * self.channels)
        lines.sub_(self._centre[line]).mul_(self._scale[line])
        normalised = lines.view(-1, self.height, width, self.channels).permute(0, 3, 1, 2)
        return normalised.to(self.dtype)


def _packed(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8] | npt.NDArray[np.int32]:
    """Returns a zero pixel and then all pixels, flat; RGB as the first three of four bytes."""
    count = pixels[..., 0].size
    if pixels.shape[-1] == 1:
        return np.concatenate([np.zeros(1, np.uint8), pixels.reshape(-1)])
    packed = np.zeros(1 + count, dtype=np.int32)
    images = packed[1:].view(np.uint8).reshape(*pixels.shape[:3], 4)
    for channel in range(3):  # ten times quicker than all at once
        images[..., channel] = pixels[..., channel]
    return packed
