"""Any tree of images in folders named by class: `train/<class>/*` and `test/<class>/*`."""

from dataclasses import dataclass, replace
from typing import Annotated

from kdlsr.config import AtLeast, UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data.class_folders import train_and_test
from kdlsr.data.dataset import Dataset, Facts, datasets, quiet
from kdlsr.data.decoded import load_decoded
from kdlsr.data.image_files import IMAGES, ImageDecoding
from kdlsr.data.images import Images
from kdlsr.data.listing import Tree, counted
from kdlsr.data.scan import Inspection, inspect
from kdlsr.files.download import Progress


@datasets.register("image_folder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder(Dataset):
    """Images of the user's own; classes are the sorted folder names.

    Grey where all images are, else RGB. A file is an image if Pillow can read it, whatever its
    suffix (.jfif, .avif, none); of an animation it is the first frame. Hidden files are passed
    over; so are others that are no image, which are counted. Checksums and decoded images are
    kept in the data directory's `.kdlsr-cache`, never in the tree itself.

    Attributes:
        image_size: what the shorter side is resized to (bilinear) before the centre is
            cropped square; null: all images have one size already.
        skip_unreadable: go on without files that are called images, or seem to be, and cannot be
            read, however many they are; otherwise a class that loses more than 1 % is refused.
    """

    image_size: Annotated[int, AtLeast(1)] | None = None
    skip_unreadable: bool = False

    def facts(self) -> Facts:
        tree, found = self._inspected(quiet)
        return Facts(
            spec=self._spec(found),
            num_classes=len(tree.class_names),
            fingerprint=found.fingerprint,
            class_names=tree.class_names,
            train=len(tree.train.paths),
            test=len(tree.test.paths),
            skipped=counted(tree.passed),
        )

    def load(self, progress: Progress = quiet) -> tuple[Images, Images]:
        tree, found = self._inspected(progress)
        decoding = ImageDecoding(self._spec(found), self.image_size)
        return load_decoded(tree, found.fingerprint, decoding, progress)

    def _inspected(self, progress: Progress) -> tuple[Tree, Inspection]:
        tree = self._tree()
        found = inspect(tree, progress)
        return tree.sifted(found.strays), found

    def _spec(self, found: Inspection) -> ImageSpec:
        channels = 1 if _is_grey(found) else 3
        if self.image_size is not None:
            return ImageSpec(self.image_size, self.image_size, channels)
        advice = "; set dataset.image_size to resize and crop all to one"
        return ImageSpec(*one_size(found, advice), channels)

    def _tree(self) -> Tree:
        if self.root is None:
            raise UserError(
                "dataset.root is missing: set dataset.root=FOLDER, which holds train/<class>/* "
                "and test/<class>/*"
            )
        tree = train_and_test(self.folder, IMAGES)
        return replace(tree, skip_unreadable=self.skip_unreadable)


def one_size(found: Inspection, advice: str = "") -> tuple[int, int]:
    """Returns the (H, W) that all images have.

    Raises:
        UserError: they differ; the message names two of them, and ends with `advice`.
    """
    shapes: dict[tuple[int, int], str] = {}
    for path, (width, height, _) in found.heads.items():
        shapes.setdefault((height, width), path)
    (size, path), *others = shapes.items()
    for (height, width), other in others:
        raise UserError(
            f"images differ in size: {path} is {size[0]}x{size[1]} pixels, "
            f"{other} {height}x{width}{advice}"
        )
    return size


def _is_grey(found: Inspection) -> bool:
    return all(head.form in ("1", "L", "LA") for head in found.heads.values())
