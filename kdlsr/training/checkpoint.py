"""Checkpoint files that are whole or are known not to be.

A checkpoint `epoch-0007.pt` is an ordinary `torch.save` file, read with `weights_only=True`,
beside `epoch-0007.pt.sha256` in the format of `sha256sum`. A file without its checksum, or
that disagrees with it, is not used.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch

from kdlsr.config import UserError
from kdlsr.files import Guard, file_digest, remove_files, whole_file, write_whole

GENERATIONS = 2  # the newest may be damaged: the one before it is kept too


class DamagedCheckpoint(UserError):
    """A checkpoint that is truncated, altered, or was never finished."""


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Returns where the checkpoint after `epoch` completed epochs stands."""
    return folder / f"epoch-{epoch:04d}.pt"


def write_checkpoint(path: Path, state: Mapping[str, Any], guard: Guard | None = None) -> None:
    """Writes `state` (tensors and plain values) so that it is seen whole or not at all.

    Its checksum is on the disk before it has its name: no power cut leaves it without.

    Args:
        path: as `checkpoint_path` says.
        state: with the `run_id` that it is of.
        guard: asked before either file has its name.

    Raises:
        OSError: the disk refuses.
    """
    with whole_file(path, guard=guard) as file:
        torch.save(dict(state), file)  # type: ignore[arg-type]
        write_whole(_checksum_path(path), f"{file.sha256()}  {path.name}\n", guard=guard)


def read_checkpoint(path: Path, run_id: str) -> dict[str, Any]:
    """Reads a run's checkpoint after verifying its checksum; never unpickles code.

    Raises:
        DamagedCheckpoint: the file is missing, truncated or altered, has no checksum, or is
            another run's.
    """
    expected = checkpoint_digest(path)
    try:
        found = file_digest(path)
        if found != expected:
            raise DamagedCheckpoint(f"{path} disagrees with its checksum")
        state = cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror or error}") from error
    except (RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise DamagedCheckpoint(f"{path} is no checkpoint of this version of torch") from error
    if not isinstance(state, dict) or state.get("run_id") != run_id:
        raise DamagedCheckpoint(f"{path} is not a checkpoint of {run_id}")
    if path != checkpoint_path(path.parent, state.get("epoch", -1)):
        raise DamagedCheckpoint(f"{path} is not that of this epoch")
    return state


def checkpoint_digest(path: Path) -> str:
    """Returns the SHA-256 that stands beside a checkpoint, whose own bytes are not read.

    Raises:
        DamagedCheckpoint: it has none, or one that cannot be read.
    """
    try:
        return _checksum_path(path).read_text().split()[0]
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{path} or its checksum is missing") from error
    except OSError as error:
        reason = error.strerror or error
        raise DamagedCheckpoint(f"{_checksum_path(path)} cannot be read: {reason}") from error
    except (ValueError, IndexError) as error:
        raise DamagedCheckpoint(f"{_checksum_path(path)} holds no checksum") from error


def checkpoint_epochs(folder: Path) -> list[int]:
    """Returns the epochs of the checkpoints in `folder`, damaged ones included, rising."""
    names = (re.fullmatch(r"epoch-(\d+)\.pt", p.name) for p in folder.glob("epoch-*.pt"))
    return sorted(int(name.group(1)) for name in names if name)


def remove_checkpoints(paths: Iterable[Path], guard: Guard) -> None:
    """Removes checkpoints of one folder with their checksums; `guard` is asked before."""
    remove_files([file for path in paths for file in (path, _checksum_path(path))], guard)


def prune(folder: Path, keep: Iterable[int], guard: Guard) -> None:
    """Removes all checkpoints but the newest generations and the epochs in `keep`."""
    epochs = checkpoint_epochs(folder)
    wanted = set(keep) | set(epochs[-GENERATIONS:])
    remove_checkpoints((checkpoint_path(folder, e) for e in epochs if e not in wanted), guard)


def _checksum_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
