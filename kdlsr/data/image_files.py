"""Image files: what Pillow takes for one, and how one becomes an array."""

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data.decoded import Decoding
from kdlsr.data.file_kind import AnyPath, FileKind, Head
from kdlsr.data.scan import read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

# What Pillow may take a file for, asked in this order. It knows more, and starts Ghostscript for
# some of them.
FORMATS = ("JPEG", "PNG", "AVIF", "BMP", "GIF", "JPEG2000", "PPM", "QOI", "TIFF", "WEBP")


class ImageFiles(FileKind):
    """Images: a file is one if Pillow can read it, whatever it is called."""

    noun = "image"
    media = "image/"
    suffixes = (".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp")
    other_suffixes = (
        *(".avif", ".heic", ".heif", ".jfif", ".jp2", ".jxl"),
        *(".dng", ".nef", ".cr2", ".raw"),
    )
    index = ""

    def is_one(self, file: BinaryIO) -> bool:
        try:
            with _open(file) as image:
                return image.mode[0] not in "IF"
        except Exception:  # Pillow's plugins raise nearly anything on what is no image
            return False

    def head(self, path: AnyPath, content: bytes) -> Head:
        with _reading(path), _open(io.BytesIO(content)) as image:
            if image.mode[0] in "IF":
                raise UserError(f"{path} has more than 8 bits per channel; convert it to 8")
            return Head(*image.size, image.mode)


IMAGES = ImageFiles()


@dataclass(frozen=True)
class ImageDecoding(Decoding):
    """What images become: their pixels. Transparency is dropped, palettes are resolved.

    Attributes:
        spec: size of the arrays; 1 channel (grey) or 3 (RGB).
        resize: the shorter side is resized to this many pixels (bilinear, antialiased), then
            the centre is cropped square; None: images must have the size already.
    """

    spec: ImageSpec
    resize: int | None = None

    def key(self) -> list[object]:
        import PIL

        # Decoders differ in last bits between versions: what is read is what decoding would give.
        return [PIL.__version__, *self.spec.size, self.spec.channels, self.resize]

    def decode(self, path: AnyPath) -> npt.NDArray[np.uint8]:
        content, _ = read_bytes(path)
        with _reading(path), _open(io.BytesIO(content)) as opened:
            mode = "L" if self.spec.channels == 1 else "RGB"
            image = opened if opened.mode == mode else opened.convert(mode)
            if self.resize is not None:
                image = _resize_and_crop(image, self.resize)
            width, height = image.size
            pixels = np.frombuffer(image.tobytes(), np.uint8)
        if (height, width) != self.spec.size:
            raise UserError(
                f"{path} has {height}x{width} pixels, others "
                f"{self.spec.height}x{self.spec.width}; set dataset.image_size"
            )
        return pixels.reshape(height, width, self.spec.channels)


@contextmanager
def _reading(path: AnyPath) -> Iterator[None]:
    """Turns whatever Pillow raises on damaged content into one line that names the file."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged content
        reason = str(error).replace(str(path), "").strip() or type(error).__name__
        raise UserError(f"{path} is no readable image ({reason}); mend or remove it") from error


def _open(file: BinaryIO) -> "Picture":
    """Opens an image of one of `FORMATS`; of several frames or pages, the first.

    Raises:
        Exception: nearly any, of Pillow's; `_reading` makes one of them.
    """
    from PIL import Image

    return Image.open(file, formats=_formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _resize_and_crop(image: "Picture", side: int) -> "Picture":
    """As torchvision's Resize(side) then CenterCrop(side), which a test shows."""
    from PIL import Image

    width, height = image.size
    if width <= height:
        size = (side, int(side * height / width))
    else:
        size = (int(side * width / height), side)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - side) / 2), round((size[1] - side) / 2)
    return image.crop((left, top, left + side, top + side))
