"""Trees of small images, as users have them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kdlsr.config import build
from kdlsr.data.image_folder import ImageFolder

WNIDS = ("n03", "n01", "n02")  # wnids.txt is not sorted; labels are


def draw(path: Path, shade: int, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> None:
    """Writes an image of smooth noise; `size` is (width, height)."""
    rng = np.random.default_rng(shade)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make_pets(root: Path) -> Path:
    """Four images of each of three classes to train on, and two to test on."""
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cat", "dog", "emu")):
            for number in range(count):
                draw(root / split / name / f"{number}.png", 100 * label + 10 * number + count)
    return root


def source(root: Path, **options: Any) -> ImageFolder:
    return build(ImageFolder, {"root": str(root), **options}, "dataset")


def make_tiny(root: Path) -> None:
    for label, wnid in enumerate(WNIDS):
        for number in range(3):
            path = root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG"
            draw(path, 10 * label + number, (64, 64), mode="L" if number == 1 else "RGB")
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
    lines = []
    for number, wnid in enumerate(("n01", "n03", "n02", "n01")):
        draw(root / "val" / "images" / f"val_{number}.JPEG", 50 + number, (64, 64))
        lines.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    (root / "wnids.txt").write_text("\n".join(WNIDS) + "\n")
    draw(root / "test" / "images" / "test_0.JPEG", 77, (64, 64))
