"""A checkpoint is whole or is known not to be."""

import subprocess
from pathlib import Path

import pytest
import torch

from kdlsr.training.checkpoint import (
    DamagedCheckpoint,
    checkpoint_epochs,
    checkpoint_path,
    prune,
    read_checkpoint,
    write_checkpoint,
)

STATE = {"run_id": "a-run", "model": {"weight": torch.arange(5000.0)}, "epoch": 3, "history": "[]"}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 3)
    write_checkpoint(path, STATE)
    state = read_checkpoint(path, "a-run")
    assert torch.equal(state["model"]["weight"], torch.arange(5000.0))
    assert state["epoch"] == 3
    assert not list(tmp_path.glob("*.tmp"))


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "epoch-0001.pt", tmp_path / "b" / "epoch-0001.pt"
    write_checkpoint(first, STATE)
    write_checkpoint(second, STATE)
    assert first.read_bytes() == second.read_bytes()


def test_the_checksum_file_is_what_sha256sum_reads(tmp_path: Path) -> None:
    write_checkpoint(checkpoint_path(tmp_path, 1), STATE)
    done = subprocess.run(
        ["sha256sum", "--check", "epoch-0001.pt.sha256"], cwd=tmp_path, check=False
    )
    assert done.returncode == 0


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _lose_checksum(path: Path) -> None:
    path.with_name(path.name + ".sha256").unlink()


def _empty_checksum(path: Path) -> None:
    path.with_name(path.name + ".sha256").write_text("")


@pytest.mark.parametrize(
    "damage", [_truncate, _flip_a_bit, _empty, _lose_checksum, _empty_checksum, Path.unlink]
)
def test_a_damaged_checkpoint_is_detected(tmp_path: Path, damage: object) -> None:
    path = checkpoint_path(tmp_path, 1)
    write_checkpoint(path, STATE)
    damage(path)  # type: ignore[operator]
    with pytest.raises(DamagedCheckpoint):
        read_checkpoint(path, "a-run")


def test_a_checksum_that_the_disk_refuses_is_not_called_missing(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 1)
    write_checkpoint(path, STATE)
    _lose_checksum(path)
    with pytest.raises(DamagedCheckpoint, match="or its checksum is missing"):
        read_checkpoint(path, "a-run")
    path.with_name(f"{path.name}.sha256").mkdir()
    with pytest.raises(DamagedCheckpoint, match=r"epoch-0001.pt.sha256 cannot be read: Is a dir"):
        read_checkpoint(path, "a-run")


def test_another_runs_checkpoint_is_not_read(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, 1)
    write_checkpoint(path, STATE)
    with pytest.raises(DamagedCheckpoint, match="is not a checkpoint of another-run"):
        read_checkpoint(path, "another-run")


def test_two_generations_and_the_wanted_epochs_survive_pruning(tmp_path: Path) -> None:
    for epoch in range(1, 8):
        write_checkpoint(checkpoint_path(tmp_path, epoch), {"epoch": epoch})
    prune(tmp_path, keep=[3], guard=lambda: None)
    assert checkpoint_epochs(tmp_path) == [3, 6, 7]
    assert len(list(tmp_path.iterdir())) == 6  # each with its checksum
