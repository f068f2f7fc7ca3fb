"""Any tree of sounds in folders named by class, with a split of its own or one at random."""

from dataclasses import dataclass, replace
from typing import Annotated

from kdlsr.config import Between, UserError
from kdlsr.data.audio import AudioDataset
from kdlsr.data.class_folders import classes_in, files_of_classes, split_at_random, train_and_test
from kdlsr.data.dataset import datasets
from kdlsr.data.listing import Passed, Tree
from kdlsr.data.sound_files import SOUNDS


@datasets.register("audio_folder")
@dataclass(frozen=True, kw_only=True)
class AudioFolder(AudioDataset):
    """Sounds of the user's own; classes are the sorted folder names.

    Either `train/<class>/*` and `test/<class>/*`, or `<class>/*` and a share of each class,
    drawn at random, to test on. The latter knows nothing of speakers, rooms or recordings that
    the two parts may have in common.

    Attributes:
        test_fraction: the share; null: the tree has a split of its own.
        test_seed: chooses which.
    """

    test_fraction: Annotated[float, Between(0, 1, open_low=True, open_high=True)] | None = None
    test_seed: int = 0

    def tree(self) -> Tree:
        if self.root is None:
            raise UserError(
                "dataset.root is missing: set dataset.root=FOLDER, which holds train/<class>/* "
                "and test/<class>/*, or <class>/* with dataset.test_fraction=0.2"
            )
        root = self.folder
        is_split = (root / "train").is_dir() and (root / "test").is_dir()
        if self.test_fraction is None:
            if root.is_dir() and not is_split:
                raise UserError(
                    f"dataset.root={root} has no folders train/ and test/; where it holds "
                    "<class>/* set dataset.test_fraction=0.2 to test on a share at random"
                )
            return replace(train_and_test(root, SOUNDS), skip_unreadable=self.skip_unreadable)
        if is_split:
            raise UserError(f"dataset.root={root} has a test/ of its own: drop test_fraction")
        if not root.is_dir():
            raise UserError(f"dataset.root={root} is no folder")
        class_names, passed = classes_in(root), list[Passed]()
        files = files_of_classes(root, list(class_names), SOUNDS, passed)
        train, test = split_at_random(files, self.test_fraction, self.test_seed)
        return Tree(root, SOUNDS, class_names, train, test, (), tuple(passed), self.skip_unreadable)

    def remark(self) -> str | None:
        if self.test_fraction is None:
            return None
        return (
            f"tested on {self.test_fraction:g} of each class at random (dataset.test_seed="
            f"{self.test_seed}), whoever and whatever the two parts may have in common"
        )
