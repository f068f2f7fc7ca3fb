"""Trees of files, decoded once into arrays that later runs map into memory.

A cache folder is written under a temporary name and renamed. Its name is made from the
data set's fingerprint and everything else that decides its pixels, and its files are checked
each time they are opened, so a stale or damaged cache is never used. It may be deleted.
"""

import hashlib
import json
import math
import shutil
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data.dataset import cache_dir, quiet
from kdlsr.data.file_kind import AnyPath
from kdlsr.data.images import Images
from kdlsr.data.in_parallel import in_parallel
from kdlsr.data.listing import Tree
from kdlsr.files import (
    disk_refusals,
    locked,
    parse_json,
    remove_abandoned,
    remove_folder,
    whole_folder,
    write_whole,
)
from kdlsr.files.download import Progress

FORMAT = 1  # raised when what is written changes
MANIFEST = "manifest.json"


class Decoding(ABC):
    """What the files of a tree become.

    Attributes:
        spec: of the arrays.
        sized_by: the option that makes them smaller, as messages name it.
    """

    spec: ImageSpec
    sized_by: ClassVar[str] = "dataset.image_size"

    @abstractmethod
    def key(self) -> list[object]:
        """Returns what decides the arrays besides the files, decoders' versions too: JSON."""

    @abstractmethod
    def decode(self, path: AnyPath) -> npt.NDArray[np.uint8]:
        """Returns a file as (H, W, C), as `spec` says.

        Raises:
            UserError: it is damaged, or becomes something else.
        """


def load_decoded(
    tree: Tree, fingerprint: str, decoding: Decoding, progress: Progress = quiet
) -> tuple[Images, Images]:
    """Returns training and test samples of `tree`, memory-mapped from the cache.

    Decodes, in parallel, what is not there yet or is damaged. Writing to the arrays changes
    them in memory only.

    Raises:
        UserError: a file is damaged or has another size; the cache cannot be written.
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


def _folder(tree: Tree, fingerprint: str, decoding: Decoding) -> Path:
    parts = json.dumps([FORMAT, fingerprint, *decoding.key()])
    key = hashlib.sha256(parts.encode()).hexdigest()[:24]
    return cache_dir() / "decoded" / f"{tree.root.name}-{key}"


def _open(folder: Path) -> tuple[Images, Images] | None:
    """Returns the cache's content, or None where it is missing, truncated or altered."""
    try:
        manifest = parse_json((folder / MANIFEST).read_bytes())
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
            _decode(partial, tree, decoding, progress)
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
            f"{free / 1e9:,.0f} GB free: set a smaller {decoding.sized_by}, or KDLSR_DATA"
        )


def _decode(folder: Path, tree: Tree, decoding: Decoding, progress: Progress) -> None:
    """Writes both splits: all files in one go, so that all cores are busy to the end."""
    rows: list[tuple[str, int, str]] = []
    for split, files in (("train", tree.train), ("test", tree.test)):
        shape = (len(files.paths), *decoding.spec.size, decoding.spec.channels)
        pixels = folder / f"{split}_pixels.npy"
        np.lib.format.open_memmap(pixels, mode="w+", dtype=np.uint8, shape=shape)
        np.save(folder / f"{split}_labels.npy", files.labels)
        rows += ((pixels.name, row, path) for row, path in enumerate(files.paths))
    work = _DecodingInto(folder, tree.root, decoding)
    for _ in in_parallel(work, rows, f"decode {tree.root.name}", progress):
        pass


@dataclass(frozen=True)
class _DecodingInto:
    """Decodes files into rows of arrays on the disk, which several processes may do at once."""

    folder: Path
    root: Path
    decoding: Decoding

    def __call__(self, chunk: Sequence[tuple[str, int, str]]) -> None:
        arrays: dict[str, Any] = {
            name: np.lib.format.open_memmap(self.folder / name, mode="r+")
            for name in {name for name, _, _ in chunk}
        }
        for name, row, path in chunk:
            arrays[name][row] = self.decoding.decode(f"{self.root}/{path}")


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc
