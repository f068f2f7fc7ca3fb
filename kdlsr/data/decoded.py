"""Trees of image files, decoded once into arrays that later runs map into memory.

A cache folder is written under a temporary name and renamed. Its name is made from the
data set's fingerprint and everything else that decides its pixels, and its files are checked
each time they are opened, so a stale or damaged cache is never used. It may be deleted.
"""

import hashlib
import io
import json
import math
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data.dataset import cache_dir, quiet
from kdlsr.data.images import Images
from kdlsr.data.listing import Files, Tree
from kdlsr.data.scan import in_parallel, open_image, read_bytes, reading_image
from kdlsr.files import (
    disk_refusals,
    locked,
    remove_abandoned,
    remove_folder,
    whole_folder,
    write_whole,
)
from kdlsr.files.download import Progress

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMAT = 1  # raised when what is written changes
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Decoding:
    """What images become.

    Attributes:
        spec: size of the arrays; 1 channel (grey) or 3 (RGB).
        resize: the shorter side is resized to this many pixels (bilinear, antialiased), then
            the centre is cropped square; None: images must have the size already.
    """

    spec: ImageSpec
    resize: int | None = None


def load_decoded(
    tree: Tree, fingerprint: str, decoding: Decoding, progress: Progress = quiet
) -> tuple[Images, Images]:
    """Returns training and test images of `tree`, memory-mapped from the cache.

    Decodes, in parallel, what is not there yet or is damaged. Writing to the arrays changes
    them in memory only.

    Raises:
        UserError: an image is damaged or has another size; the cache cannot be written.
    """
    folder = _folder(tree, fingerprint, decoding)
    found = _open(folder)
    if found is None:
        what = f"waiting for another process to decode {tree.root.name}"
        with locked(folder, lambda: progress(what, 0, 0)) as alone:
            found = _open(folder)
            if found is None:
                _build(folder, tree, decoding, progress, alone=alone)
                found = _open(folder)
    if found is None:
        raise UserError(f"{folder} changed while it was read; run again")
    return found


def decode(path: Path, decoding: Decoding) -> npt.NDArray[np.uint8]:
    """Returns the image as (H, W, C). Transparency is dropped, palettes are resolved.

    Raises:
        UserError: it is damaged, or has another size than `decoding` says.
    """
    content, _ = read_bytes(path)
    with reading_image(path), open_image(io.BytesIO(content)) as opened:
        image = opened.convert("L" if decoding.spec.channels == 1 else "RGB")
        if decoding.resize is not None:
            image = _resize_and_crop(image, decoding.resize)
        pixels: npt.NDArray[np.uint8] = np.asarray(image)
    spec = decoding.spec
    if pixels.shape[:2] != spec.size:
        raise UserError(
            f"{path} has {pixels.shape[0]}x{pixels.shape[1]} pixels, others "
            f"{spec.height}x{spec.width}; set dataset.image_size"
        )
    return pixels.reshape(*spec.size, spec.channels)


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


def _folder(tree: Tree, fingerprint: str, decoding: Decoding) -> Path:
    import PIL

    # Decoders differ in last bits between versions: what is read is what decoding would give.
    spec = decoding.spec
    parts = [FORMAT, fingerprint, PIL.__version__, *spec.size, spec.channels]
    key = hashlib.sha256(json.dumps([*parts, decoding.resize]).encode()).hexdigest()[:24]
    return cache_dir() / "decoded" / f"{tree.root.name}-{key}"


def _open(folder: Path) -> tuple[Images, Images] | None:
    """Returns the cache's content, or None where it is missing, truncated or altered."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        for name, (size, crc32) in manifest.items():
            if (folder / name).stat().st_size != size or _crc32(folder / name) != crc32:
                return None
        return _mapped(folder, "train"), _mapped(folder, "test")
    except (OSError, ValueError, AttributeError, TypeError):
        return None  # missing, or damaged: made anew


def _mapped(folder: Path, split: str) -> Images:
    # Copy on write: torch warns of arrays that cannot be written.
    pixels: npt.NDArray[np.uint8] = np.load(folder / f"{split}_pixels.npy", mmap_mode="c")
    return Images(pixels, np.load(folder / f"{split}_labels.npy"))


def _build(
    folder: Path, tree: Tree, decoding: Decoding, progress: Progress, *, alone: bool
) -> None:
    with disk_refusals(folder):
        _check_room(folder, tree, decoding)
        if alone:
            remove_abandoned(folder.parent, 0, folder.name)
        if folder.exists():
            remove_folder(folder)
        with whole_folder(folder, sync=False) as partial:  # it is checked whenever it is opened
            _decode_split(partial, "train", tree.root, tree.train, decoding, progress)
            _decode_split(partial, "test", tree.root, tree.test, decoding, progress)
            manifest = {p.name: [p.stat().st_size, _crc32(p)] for p in partial.iterdir()}
            write_whole(partial / MANIFEST, json.dumps(manifest))


def _check_room(folder: Path, tree: Tree, decoding: Decoding) -> None:
    """Refuses what cannot be written: files are mapped, where a full disk would kill the process.

    Raises:
        UserError: the decoded images take more than the disk has.
    """
    count = len(tree.train.paths) + len(tree.test.paths)
    size = count * math.prod(decoding.spec.shape)
    place = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(place).free
    if size > free:
        raise UserError(
            f"{count:,} {decoding.spec} take {size / 1e9:,.0f} GB; {place} has "
            f"{free / 1e9:,.0f} GB free: set a smaller dataset.image_size, or KDLSR_DATA"
        )


def _decode_split(
    folder: Path, split: str, root: Path, files: Files, decoding: Decoding, progress: Progress
) -> None:
    shape = (len(files.paths), *decoding.spec.size, decoding.spec.channels)
    pixels: Any = np.lib.format.open_memmap(
        folder / f"{split}_pixels.npy", mode="w+", dtype=np.uint8, shape=shape
    )

    def decode_chunk(rows: Sequence[int]) -> None:
        for row in rows:
            pixels[row] = decode(root / files.paths[row], decoding)

    for _ in in_parallel(decode_chunk, range(shape[0]), f"decode {root.name} {split}", progress):
        pass
    pixels.flush()
    np.save(folder / f"{split}_labels.npy", files.labels)


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
