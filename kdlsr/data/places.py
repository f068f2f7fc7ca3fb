"""Where each pixel of a view lies in its image: one affine map per sample, in fixed point.

Pillow rotates in 16.16 fixed point on pixel centres (`Image.rotate`, and `affine_fixed` in its
Geometry.c). Moving by whole pixels and mirroring are exact in that arithmetic too, so that what
the steps of a recipe do composes into one map, and a view is one lookup per pixel. NumPy only;
nothing random, no pixel.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Truths: TypeAlias = npt.NDArray[np.bool_]
ONE = 1 << 16  # 1.0 in 16.16 fixed point


@dataclass(frozen=True)
class Axis:
    """Where a view's pixel (x, y) lies along one axis of an image `size` long: (n,) each.

    The coordinate is (per_x * x + per_y * y + start) >> 16. It counts where
    low <= coordinate < high; elsewhere the view is zero.
    """

    size: int
    per_x: Integers
    per_y: Integers
    start: Integers
    low: Integers
    high: Integers

    @classmethod
    def identity(cls, n: int, size: int, per_x: int, per_y: int) -> "Axis":
        """The axis of `n` images along which a view's pixels lie where they are."""
        return cls(size, *(np.full(n, value) for value in (per_x, per_y, 0, 0, size)))

    def shifted(self, by: Integers) -> "Axis":
        """The axis of an image of which this is a crop that begins at `by`."""
        low, high = np.maximum(self.low + by, 0), np.minimum(self.high + by, self.size)
        return replace(self, start=self.start + by * ONE, low=low, high=high)

    def within(self, begin: Integers, size: int) -> "Axis":
        """The axis of an image `size` long of which this is all that begins at `begin`."""
        start, low, high = self.start + begin * ONE, self.low + begin, self.high + begin
        return replace(self, size=size, start=start, low=low, high=high)

    def mirrored(self, where: Truths) -> "Axis":
        """The axis of an image whose mirror image this is, for the samples `where`."""
        # size - 1 - (v >> 16) == (size * ONE - 1 - v) >> 16, for negative v as well.
        other = (-self.per_x, -self.per_y, self.size * ONE - 1 - self.start)
        bounds = (self.size - self.high, self.size - self.low)
        mine = (self.per_x, self.per_y, self.start, self.low, self.high)
        chosen = [np.where(where, b, a) for a, b in zip(mine, other + bounds, strict=True)]
        return Axis(self.size, *chosen)


@dataclass(frozen=True)
class Places:
    """Where the pixels of n views lie in their images: the columns and the lines."""

    x: Axis
    y: Axis

    @classmethod
    def identity(cls, n: int, size: tuple[int, int]) -> "Places":
        """Where they lie in `n` images of (H, W) that no step has changed."""
        height, width = size
        return cls(Axis.identity(n, width, ONE, 0), Axis.identity(n, height, 0, ONE))

    def resampled(
        self, x: tuple[Floats, Floats, Floats], y: tuple[Floats, Floats, Floats]
    ) -> "Places":
        """Where they lie in images from which these are made by an affine map, as Pillow's.

        What these were made into since must be whole pixels in the same frame (mirrored, or
        turned by 90 degrees): then the two maps are one, without another rounding.

        Args:
            x: (per_x, per_y, start), (n,) each: the column at a pixel's corner.
            y: the line likewise.
        """
        return Places(self._through(self.x.size, *x), self._through(self.y.size, *y))

    def _through(self, size: int, per_x: Floats, per_y: Floats, start: Floats) -> Axis:
        by_x, by_y = fixed(per_x), fixed(per_y)
        begin = fixed(start + per_x * 0.5 + per_y * 0.5)  # from the pixel's centre
        x, y = self.x, self.y
        full = np.full(len(begin), size)
        return Axis(
            size,
            per_x=by_x * (x.per_x >> 16) + by_y * (y.per_x >> 16),
            per_y=by_x * (x.per_y >> 16) + by_y * (y.per_y >> 16),
            start=begin + by_x * (x.start >> 16) + by_y * (y.start >> 16),
            low=0 * full,
            high=full,
        )

    def table(self) -> npt.NDArray[np.int32]:
        """(10, n): of x and then of y: per_x, per_y, start, low - 1, high."""
        # Bounds as exclusive ones, which saves a pass over the pixels.
        rows = [[a.per_x, a.per_y, a.start, a.low - 1, a.high] for a in (self.x, self.y)]
        return np.stack(rows[0] + rows[1]).astype(np.int32)


def fixed(value: Floats) -> Integers:
    """Pillow's FIX: 16.16 fixed point, rounded half up."""
    rounded: Integers = np.floor(value * ONE + 0.5).astype(np.int64)
    return rounded
