"""Trees of images unpacked from a published archive, known as such for as long as they are that.

What lies in a user's folder under a data set's name may be anybody's: only what was unpacked here,
from an archive with the right checksum, and is unaltered, has the archive's fingerprint.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdlsr.config.inputs import ImageSpec
from kdlsr.data.dataset import Dataset, Facts, quiet
from kdlsr.data.decoded import load_decoded
from kdlsr.data.image_files import ImageDecoding
from kdlsr.data.image_folder import one_size
from kdlsr.data.images import Images
from kdlsr.data.listing import Tree, counted
from kdlsr.data.scan import inspect
from kdlsr.files import disk_refusals, locked, remove_abandoned, whole_folder, write_whole
from kdlsr.files.download import Archive, Progress, fetch

# Holds the checksum of the archive that a tree was unpacked from, and the fingerprint of what was
# unpacked (several, where it can be read in several ways).
MARKER = ".kdlsr-official"


@dataclass(frozen=True, kw_only=True)
class OfficialTree(Dataset):
    """Images (RGB, whatever some are) in the layout of an archive, which is fetched if need be.

    What we unpacked has the archive's fingerprint while it is unaltered; any other tree is known
    by its content.

    Attributes:
        skip_unreadable: as of `image_folder`.
    """

    skip_unreadable: bool = False

    @property
    @abstractmethod
    def archive(self) -> Archive:
        """The published archive."""

    @property
    @abstractmethod
    def published(self) -> Facts:
        """What is known of the archive's content, with the fingerprint that it has unaltered."""

    @property
    @abstractmethod
    def tree_folder(self) -> Path:
        """Where the tree is, or will be unpacked to."""

    @abstractmethod
    def read_tree(self, root: Path) -> Tree:
        """Returns what is read of a tree in this layout."""

    @abstractmethod
    def unpack(self, archive: Path, root: Path, progress: Progress) -> None:
        """Unpacks the fetched archive to `root`, by `unpack_official`."""

    def facts(self) -> Facts:
        if not self.tree_folder.is_dir():
            return self.published
        tree, spec, fingerprint = self._inspected(quiet)
        counts = len(tree.train.paths), len(tree.test.paths), counted(tree.passed)
        return Facts(spec, len(tree.class_names), fingerprint, tree.class_names, *counts)

    def load(self, progress: Progress = quiet) -> tuple[Images, Images]:
        root = self.tree_folder
        if not root.is_dir():
            self.unpack(fetch(self.archive, self.folder, progress), root, progress)
        tree, spec, fingerprint = self._inspected(progress)
        return load_decoded(tree, fingerprint, ImageDecoding(spec), progress)

    def _inspected(self, progress: Progress) -> tuple[Tree, ImageSpec, str]:
        """Returns what is read, what its images are, and the fingerprint."""
        root = self.tree_folder
        tree = self.read_tree(root)
        found = inspect(tree, progress)
        tree = tree.sifted(found.strays)
        spec = ImageSpec(*one_size(found), 3)
        official = is_official(root, self.archive, found.fingerprint)
        return tree, spec, self.published.fingerprint if official else found.fingerprint


def is_official(root: Path, archive: Archive, fingerprint: str) -> bool:
    """Whether what is read of `root`, by its fingerprint, is what was unpacked from `archive`."""
    marker = root / MARKER
    checksum, *fingerprints = marker.read_text().split() if marker.is_file() else [""]
    return checksum == archive.checksum and fingerprint in fingerprints


def unpack_official(
    root: Path,
    archive: Archive,
    extract: Callable[[Path], None],
    trees: Callable[[Path], Sequence[Tree]],
    progress: Progress,
) -> None:
    """Unpacks an archive to `root`, which appears whole or not at all, and marks it.

    Args:
        root: the folder; where it is there already nothing is done.
        archive: what was fetched.
        extract: writes its files into a folder.
        trees: what is read of such a folder, in each way that it can be.
        progress: is told how far it is.

    Raises:
        UserError: the disk refuses.
    """
    what = f"waiting for another process to unpack {root.name}"
    with locked(root, lambda: progress(what, 0, 0)) as alone:
        if root.is_dir():
            return
        if alone:
            remove_abandoned(root.parent, 0, root.name)
        with disk_refusals(root), whole_folder(root) as unpacked:
            extract(unpacked)
            found = [inspect(tree, progress, remembered=False) for tree in trees(unpacked)]
            fingerprints = "".join(f"{each.fingerprint}\n" for each in found)
            write_whole(unpacked / MARKER, f"{archive.checksum}\n{fingerprints}")
