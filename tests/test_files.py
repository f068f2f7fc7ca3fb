"""Whole files and folders: under a kill, a full disk, a power cut, and disks that cannot all."""

import ast
import errno
import hashlib
import itertools
import json
import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY

from kdlsr.config import UserError
from kdlsr.files import (
    create_whole,
    disk_refusals,
    file_digest,
    remove_abandoned,
    remove_folder,
    whole_file,
    whole_folder,
    write_json,
    write_whole,
)
from kdlsr.runs.folder import RunFolder
from kdlsr.runs.owner import Ownership
from kdlsr.runs.writer import RunWriter
from kdlsr.training.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def _room_for(size: int) -> Iterator[None]:
    """The kernel refuses what goes beyond `size` bytes in any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ---------------------------------------------------------------- files


def test_what_is_written_stands_alone_in_a_folder_made_for_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b" / "text", "é\n")
    write_whole(tmp_path / "a" / "b" / "bytes", b"\xff")
    write_json(tmp_path / "a" / "b" / "json", {"top1": 1.5})
    assert _names(tmp_path / "a" / "b") == ["bytes", "json", "text"]
    assert (tmp_path / "a" / "b" / "text").read_bytes() == b"\xc3\xa9\n"
    assert (tmp_path / "a" / "b" / "json").read_text() == '{\n  "top1": 1.5\n}\n'


def test_numbers_that_are_not_finite_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "json", {"loss": float("nan")})
    assert _names(tmp_path) == []


def test_a_file_may_be_named_by_its_own_checksum(tmp_path: Path) -> None:
    with whole_file(tmp_path / "part") as file:
        file.write(b"some")
        file.write(memoryview(b"thing"))
        file.path = tmp_path / f"part-{file.sha256()}"
    (path,) = tmp_path.iterdir()
    assert path.name == f"part-{hashlib.sha256(b'something').hexdigest()}"
    assert file_digest(path) == path.name.removeprefix("part-")
    assert file_digest(path, "md5") == hashlib.md5(b"something").hexdigest()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_is_interrupted_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def write_file() -> None:
        with whole_file(tmp_path / "file") as file:
            file.write(b"half")
            raise error

    def write_folder() -> None:
        with whole_folder(tmp_path / "folder") as folder:
            (folder / "half").touch()
            raise error

    write_whole(tmp_path / "file", "before")
    for write in (write_file, write_folder):
        with pytest.raises(error):
            write()
    assert _names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_writers_of_one_name_do_not_mix(tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    def write(digit: int) -> None:
        for _ in range(20):
            barrier.wait()
            write_whole(tmp_path / "file", str(digit) * 100_000, sync=False)

    writers = [threading.Thread(target=write, args=(digit,)) for digit in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if (tmp_path / "file").exists():
            content = (tmp_path / "file").read_text()
            assert content == content[0] * 100_000
    assert _names(tmp_path) == ["file"]


def test_a_full_disk_is_named_with_the_file(tmp_path: Path) -> None:
    with _room_for(1000), pytest.raises(OSError, match="File too large") as refused:
        write_whole(tmp_path / "file", bytes(2000))
    assert refused.value.filename == str(tmp_path / "file")
    (tmp_path / "no folder").touch()
    for path in (tmp_path / "no folder" / "file", tmp_path / "no folder" / "below" / "file"):
        with pytest.raises(UserError, match=f"cannot write {path}: "), disk_refusals(path):
            write_whole(path, "")
    assert _names(tmp_path) == ["no folder"]


def test_a_full_disk_is_the_reason_that_a_checkpoint_fails_for(tmp_path: Path) -> None:
    """torch.save alone says "unexpected pos" in place of it."""
    path = checkpoint_path(tmp_path, 1)
    with _room_for(5000), pytest.raises(OSError, match="File too large") as refused:
        write_checkpoint(path, {"weight": torch.zeros(100_000)})
    assert refused.value.filename == str(path)
    assert _names(tmp_path) == []


def test_the_logits_of_a_run_are_the_bytes_of_np_savez(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    labels = np.arange(50)
    folder = tmp_path / "run"
    with Ownership(folder, print) as owner:
        RunWriter(RunFolder(folder, "run"), owner).test_logits(logits, labels)
    np.savez(tmp_path / "expected.npz", logits=logits, labels=labels)
    expected = (tmp_path / "expected.npz").read_bytes()
    assert (folder / "test_logits.npz").read_bytes() == expected


# ---------------------------------------------------------------- a power cut


class Disk:
    """Keeps of a folder what a power cut would: synced contents under synced names.

    Of renames since the folder was last synced, any may have reached the disk or not; of a
    content that was not synced, nothing has. `when` is called whenever either changes.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.when: Callable[[], None] = lambda: None
        self._content: dict[int, bytes] = {}  # by inode
        self._names: dict[str, int] = {}
        self._pending: list[tuple[str, int]] = []
        self._fsync, self._replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_file():
            self._content[path.stat().st_ino] = path.read_bytes()
        elif path == self.folder:
            self._names = {p.name: p.stat().st_ino for p in path.iterdir()}
            self._pending = []
        self.when()

    def replace(self, source: Path, target: Path) -> None:
        self._replace(source, target)
        self._pending.append((Path(target).name, Path(target).stat().st_ino))
        self.when()

    def after_a_cut(self, empty: Path) -> Iterator[Path]:
        """Yields what may be found: a folder for each set of renames that reached the disk."""
        for number, reached in enumerate(
            itertools.product([False, True], repeat=len(self._pending))
        ):
            found = empty / str(number)
            found.mkdir(parents=True)
            names = self._names | dict(itertools.compress(self._pending, reached))
            for name, inode in names.items():
                (found / name).write_bytes(self._content.get(inode, b""))
            yield found


def test_a_power_cut_at_any_instant_leaves_checkpoints_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    disk = Disk(monkeypatch, folder)
    cuts = itertools.count()
    seen: list[list[int]] = []

    def look() -> None:
        for found in disk.after_a_cut(tmp_path / f"cut-{next(cuts)}"):
            paths = sorted(found.glob("*.pt"))
            seen.append([read_checkpoint(path, "a-run")["epoch"] for path in paths])

    disk.when = look
    for epoch in (1, 2):
        state = {"run_id": "a-run", "epoch": epoch, "w": torch.ones(99)}
        write_checkpoint(checkpoint_path(folder, epoch), state)
    disk.when = lambda: None
    assert seen == sorted(seen)
    assert {tuple(epochs) for epochs in seen} == {(), (1,), (1, 2)}
    assert len(seen) > 12


@pytest.mark.parametrize("sync", [True, False])
def test_a_power_cut_leaves_the_old_content_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    disk = Disk(monkeypatch, folder)
    write_whole(folder / "result.json", "old")
    cuts, seen = itertools.count(), set()

    def look() -> None:
        for found in disk.after_a_cut(tmp_path / f"cut-{next(cuts)}"):
            seen.add((found / "result.json").read_text())

    disk.when = look
    write_whole(folder / "result.json", "new", sync=sync)
    disk.when = lambda: None
    assert seen == ({"old", "new"} if sync else {"old", ""})


def test_folders_that_are_not_synced_by_their_file_system_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [errno.EINVAL]
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir():
            raise OSError(answers[0], os.strerror(answers[0]))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(tmp_path / "file", "content")
    answers[0] = errno.EIO
    with pytest.raises(OSError, match="Input/output error") as refused:
        write_whole(tmp_path / "file", "content")
    assert refused.value.filename == str(tmp_path / "file")


# ---------------------------------------------------------------- exclusive creation

LINKS_REFUSED = [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK]


def refuse_links(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)


@pytest.mark.parametrize("number", [None, *LINKS_REFUSED])
def test_only_the_first_creates_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    if number:
        refuse_links(monkeypatch, number)
    assert create_whole(tmp_path / "owner", "first")
    assert not create_whole(tmp_path / "owner", "second")
    assert (tmp_path / "owner").read_text() == "first"
    assert _names(tmp_path) == ["owner"]


def _create_each(folder: str, mine: str, rounds: int, barrier: Any, won: Any) -> None:
    for turn in range(rounds):
        barrier.wait(30)
        if create_whole(Path(folder) / f"owner.{turn}", mine):
            won.put(turn)


@pytest.mark.parametrize("number", [None, errno.EPERM])
def test_of_processes_that_compete_one_creates_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    if number:
        refuse_links(monkeypatch, number)
    context = multiprocessing.get_context("fork")
    barrier, won = context.Barrier(3), context.Queue()
    arguments = [(str(tmp_path), str(n) * 3000, 20, barrier, won) for n in range(3)]
    workers = [context.Process(target=_create_each, args=a) for a in arguments]
    for worker in workers:
        worker.start()
    turns = sorted(won.get(timeout=30) for _ in range(20))
    for worker in workers:
        worker.join(30)
    assert turns == list(range(20))
    assert won.empty()
    assert all(len(set(p.read_text())) == 1 for p in tmp_path.iterdir())


def test_a_link_whose_answer_was_lost_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link(source: Path, target: Path) -> None:
        real(source, target)
        real(source, target)  # as NFS does when the first answer does not come

    monkeypatch.setattr(os, "link", link)
    assert create_whole(tmp_path / "owner", "mine")
    assert not create_whole(tmp_path / "owner", "mine")


@pytest.mark.parametrize("number", [None, errno.EPERM])
def test_a_disk_that_refuses_creates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    refuse_links(monkeypatch, number or errno.EIO)
    if number:
        real = os.fsync
        calls = itertools.count()

        def fsync(descriptor: int) -> None:
            if next(calls):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"Input/output error|No space left") as refused:
        create_whole(tmp_path / "owner", "mine")
    assert refused.value.filename == str(tmp_path / "owner")
    assert _names(tmp_path) == []


# ---------------------------------------------------------------- folders


def test_a_folder_appears_whole_and_the_first_stays(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "set") as mine:
        (mine / "image").write_text("mine")
        assert not (tmp_path / "set").exists()
        with whole_folder(tmp_path / "set") as other:
            (other / "image").write_text("other")
    assert (tmp_path / "set" / "image").read_text() == "other"
    assert _names(tmp_path) == ["set"]
    remove_folder(tmp_path / "set")
    assert _names(tmp_path) == []


def test_only_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    def leave(path: Path, age: float) -> None:
        context = whole_folder(path) if path.name == "folder" else whole_file(path)
        before = set(tmp_path.iterdir())
        context.__enter__()
        left.append(context)  # or its end would be that of the block
        (temporary,) = set(tmp_path.iterdir()) - before
        os.utime(temporary, (time.time() - age,) * 2)

    left: list[Any] = []
    write_whole(tmp_path / "result.json", "")
    for name in ("result.json", "result[1].json", "folder"):
        leave(tmp_path / name, 7200)
        leave(tmp_path / name, 0)
    os.utime(tmp_path / "result.json", (0, 0))
    remove_abandoned(tmp_path / "none", 0)
    remove_abandoned(tmp_path, name="result[1].json")
    assert len(_names(tmp_path)) == 6
    remove_abandoned(tmp_path)
    assert len(_names(tmp_path)) == 4
    remove_abandoned(tmp_path, 0)
    assert _names(tmp_path) == ["result.json"]


def test_a_run_that_goes_on_removes_what_its_killed_writers_left(plan: Any, tmp_path: Path) -> None:
    from kdlsr.runs.execute import checkpoint_of, complete_run
    from kdlsr.runs.session import Session

    run = plan()
    folder = checkpoint_of(run, 1, Session()).parents[2]
    left = [folder / ".metrics.jsonl.1-a.tmp", folder / "checkpoints" / ".epoch-0002.pt.1-a.tmp"]
    for path in left:
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    complete_run(run, Session())
    assert not any(path.exists() for path in left)
    assert json.loads((folder / "result.json").read_text())["status"] == "complete"


# ---------------------------------------------------------------- the one way

RENAMING = {"rename", "renames", "link", "symlink", "hardlink_to", "write_text", "write_bytes"}
TEMPORARY = {"mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryDirectory", "tofile"}


def _writes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "replace":
        owner = getattr(getattr(call.func, "value", None), "id", "")
        return owner == "os" or (len(call.args) == 1 and not call.keywords)
    if name == "open":
        words = [*call.args, *(k.value for k in call.keywords)]
        modes = [w.value for w in words if isinstance(w, ast.Constant) and isinstance(w.value, str)]
        return any(set(mode) & set("wax+") for mode in modes if set(mode) <= set("rwaxbt+"))
    return name in RENAMING | TEMPORARY


def test_only_the_room_of_files_renames_or_opens_for_writing() -> None:
    found = []
    for path in sorted((REPOSITORY / "kdlsr").rglob("*.py")):
        place = path.relative_to(REPOSITORY).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _writes(node):
                found.append(f"{place}:{node.lineno} {ast.unparse(node)}")
    elsewhere = [line for line in found if not line.startswith("kdlsr/files/")]
    assert elsewhere == []
    assert len(found) > 5  # it does see those that there are
