"""From drawn parameters to the pixels that a network sees, in batch, on the device.

Given the same parameters a view equals torchvision's `pad`, `crop`, `hflip` and `rotate` on PIL
images (zero fill, nearest neighbour) pixel for pixel. Pillow rotates in 16.16 fixed point on
pixel centres (`Image.rotate`, and `affine_fixed` in its Geometry.c). A crop and a flip are exact
in that arithmetic too, so all steps of a recipe compose into one affine map from the view's
pixels to the image's, and a view is one lookup per pixel. Nothing random happens here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdlsr.data.draws import Draws, Indices
from kdlsr.data.recipes import RECIPES, Flip, PadCrop, Rotate, Step, ViewRecipe, recipe

__all__ = [
    "RECIPES",
    "Flip",
    "PadCrop",
    "Rotate",
    "Step",
    "ViewMaker",
    "ViewRecipe",
    "recipe",
]

Rows: TypeAlias = Indices | Tensor
Integers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
ONE = 1 << 16  # 1.0 in 16.16 fixed point


@dataclass(frozen=True)
class _Axis:
    """Where a view's pixel (x, y) lies in its image along one axis, per sample: (n,) each.

    The coordinate is (per_x * x + per_y * y + start) >> 16. It counts where
    low <= coordinate < high; elsewhere the view is zero.
    """

    per_x: Integers
    per_y: Integers
    start: Integers
    low: Integers
    high: Integers

    def rows(self) -> list[Integers]:
        # Bounds as exclusive ones, which saves a pass over the pixels.
        return [self.per_x, self.per_y, self.start, self.low - 1, self.high]

    def shifted(self, by: Integers, size: int) -> "_Axis":
        """The axis of an image of which this is a crop that begins at `by`."""
        low, high = np.maximum(self.low + by, 0), np.minimum(self.high + by, size)
        return _Axis(self.per_x, self.per_y, self.start + by * ONE, low, high)

    def mirrored(self, where: npt.NDArray[np.bool_], size: int) -> "_Axis":
        """The axis of an image whose mirror image this is, for the samples `where`."""
        # size - 1 - (v >> 16) == (size * ONE - 1 - v) >> 16, for negative v as well.
        other = (-self.per_x, -self.per_y, size * ONE - 1 - self.start)
        bounds = (size - self.high, size - self.low)
        mine = (self.per_x, self.per_y, self.start, self.low, self.high)
        chosen = [np.where(where, b, a) for a, b in zip(mine, other + bounds, strict=True)]
        return _Axis(*chosen)


def compose(draws: Draws, size: tuple[int, int]) -> npt.NDArray[np.int32]:
    """Composes each sample's steps into one fixed-point map from its view to its image.

    Args:
        draws: the parameters of n views.
        size: (H, W) of the images.

    Returns:
        (10, n): for x and then for y the rows of `_Axis`.
    """
    height, width = size
    x = _identity(len(draws), ONE, 0, width)
    y = _identity(len(draws), 0, ONE, height)
    # From the view back to the image: the last step first.
    for step in reversed(draws.recipe.steps):
        match step:
            case PadCrop(padding):
                x = x.shifted(draws.left - padding, width)
                y = y.shifted(draws.top - padding, height)
            case Flip():
                x = x.mirrored(draws.flip, width)
            case Rotate():
                x, y = _rotated(draws.angle, x, size)
    return np.stack(x.rows() + y.rows()).astype(np.int32)


def _identity(n: int, per_x: int, per_y: int, size: int) -> _Axis:
    return _Axis(*(np.full(n, value) for value in (per_x, per_y, 0, 0, size)))


def _rotated(angle: Floats, x: _Axis, size: tuple[int, int]) -> tuple[_Axis, _Axis]:
    """The axes of the image that Pillow would have rotated by `angle` degrees.

    Before it (that is, after it in the recipe) the columns `x` were at most mirrored. NumPy's
    sine may differ from the C library's in its last bit, and so may the rounding; both are
    100,000 times smaller than what could change a fixed-point coefficient by one, but for one
    angle in 10**11.
    """
    height, width = size
    radians = -np.radians(angle % 360.0)
    cos = np.asarray(np.round(np.cos(radians), 15), dtype=np.float64)
    sin = np.asarray(np.round(np.sin(radians), 15), dtype=np.float64)

    def axis(per_x: Floats, per_y: Floats, length: int) -> _Axis:
        start = (per_x * -(width / 2) + per_y * -(height / 2)) + length / 2
        fixed_start = _fixed(start + per_x * 0.5 + per_y * 0.5)
        fixed_x, sign, column = _fixed(per_x), x.per_x >> 16, x.start >> 16
        full = np.full(len(angle), length)
        return _Axis(fixed_x * sign, _fixed(per_y), fixed_start + fixed_x * column, 0 * full, full)

    return axis(cos, sin, width), axis(-sin, cos, height)


def _fixed(value: Floats) -> Integers:
    """Pillow's FIX: 16.16 fixed point, rounded half up."""
    fixed: Integers = np.floor(value * ONE + 0.5).astype(np.int64)
    return fixed


class ViewMaker:
    """Makes views of one set of images.

    Args:
        pixels: (N, H, W, C), uint8, C 1 or 3; copied (three channels into four bytes).
        mean: C values in units of 0..1.
        std: C positive values likewise.
        device: where views are wanted.
        dtype: of the views.
        resident: keep the pixels on `device`; otherwise they stay with the CPU, which looks
            them up, and batches of uint8 are moved without waiting for them.

    Raises:
        ValueError: the arguments do not fit together.
    """

    def __init__(
        self,
        pixels: npt.NDArray[np.uint8],
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        *,
        resident: bool = True,
    ) -> None:
        self.count, self.height, self.width, self.channels = pixels.shape
        if pixels.dtype != np.uint8 or self.channels not in (1, 3):
            raise ValueError(f"images are uint8 with 1 or 3 channels, not {pixels.dtype}")
        if not len(mean) == len(std) == self.channels or min(std) <= 0:
            raise ValueError(f"mean={mean}, std={std} do not fit {self.channels} channels")
        self.device = torch.device(device)
        self.pixel_device = self.device if resident else torch.device("cpu")
        self.dtype = dtype
        self._pixels = torch.from_numpy(_packed(pixels)).to(self.pixel_device)
        self._columns = torch.arange(self.width, dtype=torch.int32, device=self.pixel_device)
        self._lines = torch.arange(self.height, dtype=torch.int32, device=self.pixel_device)
        # Repeated along a line of pixels: long rows are what CPUs are quick at.
        centre = np.tile(255 * np.asarray(mean, dtype=np.float64), self.width)
        scale = np.tile(1 / (255 * np.asarray(std, dtype=np.float64)), self.width)
        self._centre = torch.from_numpy(centre.astype(np.float32)).to(self.device)
        self._scale = torch.from_numpy(scale.astype(np.float32)).to(self.device)
        self._index_dtype = torch.int32 if len(self._pixels) < 2**31 else torch.int64

    def views(self, indices: Rows, draws: Draws) -> Tensor:
        """Returns the views of `indices` (B,) by their own `draws`: (B, C, H, W), normalised.

        channels_last in memory. The same image and parameters give the same bits in any batch.
        """
        return self.planned(self.plan(indices, draws))

    def plain(self, indices: Rows | slice) -> Tensor:
        """Returns the images of `indices` as they are, normalised: as `views` otherwise."""
        if isinstance(indices, slice):
            indices = torch.arange(*indices.indices(self.count))
        rows = torch.as_tensor(indices, device=self.pixel_device)
        return self._normalised(self._looked_up(self._pixels[1:].view(self.count, -1), rows))

    def plan(self, indices: Rows, draws: Draws) -> Tensor:
        """Moves all that the views of `indices` take to the pixels' device, in one transfer.

        Returns:
            (11, n), int32: the indices, then the rows of `compose`; columns are samples. The
            indices alone where the recipe has no step.

        Raises:
            ValueError: there is not one draw per index.
        """
        if len(indices) != len(draws):
            raise ValueError(f"{len(indices)} images and {len(draws)} draws")
        plan = torch.as_tensor(indices).cpu().numpy().astype(np.int32)[None]
        if draws.recipe.steps:
            plan = np.concatenate([plan, compose(draws, (self.height, self.width))])
        return torch.from_numpy(plan).to(self.pixel_device)

    def planned(self, plan: Tensor) -> Tensor:
        """Returns the views of a plan's columns: as `views`."""
        if len(plan) == 1:
            return self.plain(plan[0])
        return self._normalised(self._looked_up(self._pixels, self._places(plan).view(-1)))

    def _places(self, plan: Tensor) -> Tensor:
        """Returns, for each pixel of each view, its place in `_pixels`: (B, H, W).

        All integer arithmetic, whose signs serve as truth values: the passes are few, and
        several times quicker than comparisons and `where`.
        """
        first, *axes = plan[:, :, None, None].unbind()
        x, inside_x = self._coordinate(axes[:5])
        y, inside_y = self._coordinate(axes[5:])
        # All ones where the pixel lies inside of the image; 0, the zero pixel's place, elsewhere.
        inside = inside_x.bitwise_and_(inside_y).bitwise_right_shift_(31)
        begin = first.to(self._index_dtype) * (self.height * self.width) + 1
        return x.add_(y, alpha=self.width).add(begin).bitwise_and_(inside)

    def _coordinate(self, axis: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns an axis's coordinates, and integers that are negative where they count."""
        per_x, per_y, start, below, high = axis
        along_x = per_x * self._columns
        along_y = (per_y * self._lines[:, None]).add_(start)
        coordinate = along_x.add(along_y).bitwise_right_shift_(16)
        return coordinate, (below - coordinate).bitwise_and_(coordinate - high)

    def _normalised(self, packed: Tensor) -> Tensor:
        """Unpacks looked-up pixels of B images and returns (x / 255 - mean) / std."""
        unpacked = packed.view(torch.uint8).view(-1, 4 if self.channels == 3 else 1)
        out = torch.empty(len(unpacked), self.channels, device=self.device)
        for channel in range(self.channels):
            out[:, channel] = unpacked[:, channel]
        # Two operations that each round correctly, so that no device's or loop tail's fused
        # multiply-add gives other bits.
        lines = out.view(-1, self.width * self.channels).sub_(self._centre).mul_(self._scale)
        images = lines.view(-1, self.height, self.width, self.channels)
        return images.permute(0, 3, 1, 2).to(self.dtype)

    def _looked_up(self, table: Tensor, rows: Tensor) -> Tensor:
        """Returns `table[rows]` on the views' device; nobody waits for the transfer."""
        if self.pixel_device == self.device:
            return table.index_select(0, rows)
        found = torch.empty(
            (len(rows), *table.shape[1:]),
            dtype=table.dtype,
            pin_memory=self.device.type == "cuda",
        )
        return torch.index_select(table, 0, rows, out=found).to(self.device, non_blocking=True)


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
