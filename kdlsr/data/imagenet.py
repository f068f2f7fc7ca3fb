"""ImageNet (ILSVRC 2012): what is known of it, so that its tables can be planned.

Training on it needs streaming from disk and random resized crops; neither is here yet.
"""

from dataclasses import dataclass

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data.dataset import Dataset, Facts, datasets, quiet
from kdlsr.data.images import Images
from kdlsr.files.download import Progress

CLASSES = 1000


@datasets.register("imagenet")
@dataclass(frozen=True, kw_only=True)
class ImageNet(Dataset):
    """1.28 million images of 1,000 classes, at 224x224."""

    def facts(self) -> Facts:
        return Facts(
            spec=ImageSpec(224, 224, 3),
            num_classes=CLASSES,
            fingerprint="imagenet-ilsvrc2012",
            class_names=tuple(map(str, range(CLASSES))),
            train=1_281_167,
            test=50_000,
        )

    def load(self, progress: Progress = quiet) -> tuple[Images, Images]:
        """Refuses.

        Raises:
            UserError: always: nothing here can hold it.
        """
        del progress
        raise UserError(
            "dataset=imagenet can be planned, not trained: kdlsr does not stream from disk yet; "
            "profile=reduced runs the same rows on smaller images"
        )
