"""Stored teacher outputs on disk, `outputs/teacher_outputs/<key>/`: files that are whole.

`key.json` says what the outputs are of. `epoch-0001-<digest>.npy` holds the logits (n, K) of
the first epoch's views, a row for each sample that is trained on, rising, NaN where the epoch
does not visit it; `test-<digest>.npy` those (N, K) of the test samples. The digest is of all
bytes of the file (SHA-256, 32 hex digits) and stands in its name, so that one rename makes
content and checksum visible together: a writer that is killed leaves nothing that counts, and
two writers of one epoch cannot mix theirs. Where every epoch has the same inputs (texts),
`train-<digest>.npy` stands for all of them.

NumPy only: listing stores must not wait for torch. What moves the bits of outputs, and so
makes a key, is decided in `runs/`.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kdlsr.files import (
    file_digest,
    parse_json,
    remove_abandoned,
    remove_folder,
    whole_file,
    write_json,
)

Logits: TypeAlias = npt.NDArray[np.float16] | npt.NDArray[np.float32]

FORMAT = 2  # of the files: part of what makes a key. 1 had rows in the order of training
FOLDER = "teacher_outputs"
TEST = "test"
TRAIN = "train"
DIGEST_LENGTH = 32
GB = 10**9
MEASURE_S = 10.0  # how old the known size of all stores may be when an epoch is added


def epoch_part(epoch: int) -> str:
    """Returns the name of the outputs on the views of `epoch`, counted from 0."""
    return f"epoch-{epoch + 1:04d}"


class OutputStore:
    """The outputs kept under one key: read where they are whole, written while there is room.

    Nothing that goes wrong here ends a run: outputs that cannot be trusted or read are
    computed again, and after a failed write, or at the bound, no more are written; either is
    told in one line. Any number of processes may read and write one folder at once.

    Args:
        root: `outputs/teacher_outputs`, the sum of whose files is bounded.
        key: the folder's name, a function of all that moves the outputs' bits.
        description: what key.json says.
        limit_gb: the bound, in units of 10**9 bytes.
        tell: takes a line on what went wrong.
    """

    def __init__(
        self,
        root: Path,
        key: str,
        description: Mapping[str, Any],
        limit_gb: float,
        tell: Callable[[str], None],
    ) -> None:
        self.path = root / key
        self.is_open = True
        self._root = root
        self._description = dict(description)
        self._limit = limit_gb * GB
        self._tell = tell
        self._size = 0
        self._measured = float("-inf")

    def read(self, part: str, shape: tuple[int, int], dtype: str) -> Logits | None:
        """Returns stored logits (N, K), mapped into memory; None where there are none.

        A file that disagrees with its checksum, or has another shape or dtype, is removed.
        Checksums are verified once in a process.
        """
        try:
            for path in _files(self.path, part):
                logits = _map(path) if _is_whole(path) else None
                if logits is not None and logits.shape == shape and logits.dtype == dtype:
                    return logits
                self._tell(f"{path} disagrees with its checksum or key; it is computed again")
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return None  # removed by another process at this moment
        except OSError as error:
            self._tell(f"{self.path}: {error.strerror or error}; {part} is computed again")
        return None

    def write(self, part: str, logits: Logits) -> None:
        """Stores verified logits (N, K), unless another process has, or there is no room."""
        try:
            if not self.is_open or not self._has_room(logits.nbytes):
                return
            remove_abandoned(self.path)
            self._describe()
            if not _files(self.path, part):
                _write_array(self.path, part, logits)
                self._size += logits.nbytes
        except OSError as error:
            self._close(f"{self.path}: {error.strerror or error}")

    def stored_epochs(self) -> int | Literal["all"]:
        """Returns of how many epochs there are outputs, whole or damaged."""
        try:
            return stored_epochs(self.path)
        except OSError:
            return 0  # reading them will say why

    def _has_room(self, size: int) -> bool:
        now = time.monotonic()
        if now - self._measured > MEASURE_S:
            self._size, self._measured = folder_size(self._root), now
        if self._size + size <= self._limit:
            return True
        self._close(
            f"{self._root} would be larger than teacher.store_limit_gb={self._limit / GB:g} "
            "(python -m kdlsr.teachers lists what is there)"
        )
        return False

    def _close(self, why: str) -> None:
        self.is_open = False
        self._tell(f"{why}; no more teacher outputs are stored by this run")

    def _describe(self) -> None:
        path = self.path / "key.json"
        if not path.exists():
            write_json(path, self._description)


# ---------------------------------------------------------------- files


def _write_array(folder: Path, part: str, logits: Logits) -> None:
    # Not synced to the disk: what a power cut loses is detected and computed again.
    with whole_file(folder / f"{part}.npy", sync=False) as file:
        np.lib.format.write_array(file, logits, allow_pickle=False)
        file.path = folder / f"{part}-{file.sha256()[:DIGEST_LENGTH]}.npy"


def _files(folder: Path, part: str) -> list[Path]:
    """Returns the whole files of one part: one, unless two writers ended at one moment."""
    return sorted(folder.glob(f"{part}-{'?' * DIGEST_LENGTH}.npy"))


_verified: set[tuple[Path, int, int]] = set()  # path, size, time of change


def _is_whole(path: Path) -> bool:
    """Whether a file's bytes have the digest in its name; read once in a process."""
    status = path.stat()
    version = (path.absolute(), status.st_size, status.st_mtime_ns)
    if version in _verified:
        return True
    if file_digest(path)[:DIGEST_LENGTH] != path.stem[-DIGEST_LENGTH:]:
        return False
    _verified.add(version)
    return True


def stored_epochs(folder: Path) -> int | Literal["all"]:
    """Returns of how many epochs a store has outputs, whole or damaged."""
    if _files(folder, TRAIN):
        return "all"
    return len(
        {m.group(1) for p in folder.glob("*.npy") if (m := re.match(r"epoch-(\d+)", p.name))}
    )


def _map(path: Path) -> Logits:
    # Copy-on-write: torch takes no array that cannot be written.
    logits: Logits = np.load(path, mmap_mode="c", allow_pickle=False)
    return logits


def folder_size(folder: Path) -> int:
    """Returns the sum of the sizes of all files below `folder`, bytes; 0 if there is none."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).stat().st_size
            except FileNotFoundError:
                continue  # removed or renamed since it was listed
    return total


# ---------------------------------------------------------------- all stores


@dataclass(frozen=True)
class StoredOutputs:
    """One store, as `python -m kdlsr.teachers` lists it.

    Attributes:
        path: its folder, named by its key.
        epochs: of how many epochs it has outputs.
        size: of its files, bytes.
        description: key.json; empty where it cannot be read.
    """

    path: Path
    epochs: int | Literal["all"]
    size: int
    description: dict[str, Any] = field(default_factory=dict)


def list_outputs(root: Path, pattern: str = "*") -> list[StoredOutputs]:
    """Returns the stores below `root` whose keys match a glob, by name."""
    if not root.is_dir():
        return []
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [_look_at(path) for path in folders if fnmatchcase(path.name, pattern)]


def _look_at(path: Path) -> StoredOutputs:
    try:
        description = parse_json((path / "key.json").read_text())
    except (OSError, ValueError):
        description = {}  # only said to people; the outputs have checksums of their own
    return StoredOutputs(path, stored_epochs(path), folder_size(path), description)


def remove_outputs(root: Path, pattern: str) -> list[StoredOutputs]:
    """Removes the stores whose keys match a glob; returns what they were.

    A run that is writing one goes on without it.
    """
    removed = list_outputs(root, pattern)
    for store in removed:
        remove_folder(store.path)
    remove_abandoned(root)
    return removed
