"""Trees of images unpacked from a published archive, known as such for as long as they are that.

What lies in a user's folder under a data set's name may be anybody's: only what was unpacked here,
from an archive with the right checksum, and is unaltered, has the archive's fingerprint.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from kdlsr.data.listing import Tree
from kdlsr.data.scan import inspect
from kdlsr.files import disk_refusals, locked, remove_abandoned, whole_folder, write_whole
from kdlsr.files.download import Archive, Progress

# Holds the checksum of the archive that a tree was unpacked from, and the fingerprint of what was
# unpacked (several, where it can be read in several ways).
MARKER = ".kdlsr-official"


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
