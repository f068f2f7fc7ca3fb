"""A teacher's outputs are kept, shared, replayed to the bit, and never trusted unverified."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, RecordingWatcher, environment, train_command

from kdlsr.config import RunFailed
from kdlsr.config.compose import compose_config
from kdlsr.config.overrides import Overrides
from kdlsr.config.schema import read_config
from kdlsr.data.prepare import load_streams
from kdlsr.data.stream import Batch
from kdlsr.runs import teaching
from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.identity import canonical
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.session import Session
from kdlsr.runs.teaching import TeacherWeights, outputs_identity
from kdlsr.teachers import __main__ as command
from kdlsr.teachers import outputs
from kdlsr.teachers.network import TeacherNetwork
from kdlsr.teachers.outputs import OutputStore, list_outputs, remove_outputs
from kdlsr.teachers.soft_targets import SoftTargets
from kdlsr.training.checkpoint import checkpoint_epochs, checkpoint_path, read_checkpoint

PROMISED = ("metrics.jsonl", "result.json", "test_logits.npz")
# A student with dropout: it notices when anything else draws from torch's generator.
STUDENT = ["dataset=digits", "dataset.subset=256", "schedule=quick", "schedule.epochs=3"]
STUDENT += ["precision=fp32", "model=plain_cnn", "loss=kd", "teacher=resnet8"]
TEACHER = 'teacher.overrides=["model.width=4","schedule.epochs=3"]'
SHAPE = (256, 10)

Student = Callable[..., Run]


def _plan(root: Path, *overrides: str) -> Run:
    plain = compose_config([*STUDENT, TEACHER])  # composed once: it is slow
    own = Overrides.parse([f"output_dir={root}", *overrides])
    return plan_run(read_config(own.apply_to(plain)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that teaches most students here, trained once."""
    teacher = _plan(tmp_path_factory.mktemp("trained")).teacher_run
    assert teacher is not None
    complete_run(teacher, Session())
    return store_of(teacher.config).run(teacher.run_id).path


@pytest.fixture
def student(tmp_path: Path, trained: Path) -> Student:
    """Plans tiny students of a resnet8 of width 4, stored below `tmp_path`."""
    shutil.copytree(trained, tmp_path / "runs" / trained.name)

    def planned(*overrides: str) -> Run:
        return _plan(tmp_path, *overrides)

    return planned


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by a name whenever a teacher's network is built."""
    names: list[str] = []
    build = teaching._network

    def counted(run: Run, weights: TeacherWeights, *given: Any) -> TeacherNetwork:
        names.append(weights.teacher.name)
        return build(run, weights, *given)

    monkeypatch.setattr(teaching, "_network", counted)
    return names


def _contents(run: Run, session: Session | None = None) -> dict[str, bytes]:
    """Trains a run from its start; returns the files of it that are promised to the byte."""
    complete_run(run, session or Session())
    folder = store_of(run.config).run(run.run_id).path
    last = checkpoint_path(folder / "checkpoints", run.config.schedule.epochs)
    contents = {file: (folder / file).read_bytes() for file in PROMISED}
    contents["weights"] = last.read_bytes()
    _forget(run)
    return contents


def _forget(run: Run) -> None:
    folder = store_of(run.config).run(run.run_id).path
    folder.rename(folder.with_name(f"forgotten-{os.urandom(4).hex()}"))


def _root(tmp_path: Path) -> Path:
    return tmp_path / "teacher_outputs"


def _file(tmp_path: Path, part: str) -> Path:
    (path,) = _root(tmp_path).glob(f"*/{part}-*.npy")
    return path


def _parts(tmp_path: Path) -> list[str]:
    return sorted(path.name.rpartition("-")[0] for path in _root(tmp_path).glob("*/*.npy"))


def _no_debris(folder: Path) -> bool:
    return all(p.name == "key.json" or p.suffix == ".npy" for p in folder.rglob("*") if p.is_file())


EVERYTHING = ["epoch-0001", "epoch-0002", "epoch-0003", "test"]


# ---------------------------------------------------------------- the same bits


@pytest.mark.parametrize("chosen", [[], ["precision=bf16", "teacher.dtype=float32"]])
def test_live_stored_and_partly_stored_outputs_end_in_the_same_bytes(
    student: Student, tmp_path: Path, built: list[str], chosen: list[str]
) -> None:
    live = _contents(student(*chosen, "teacher.store=off"))
    assert not _root(tmp_path).exists()
    assert len(built) == 1
    assert _contents(student(*chosen)) == live  # stored on the way
    assert len(built) == 2
    assert _contents(student(*chosen)) == live  # replayed
    assert len(built) == 2
    for gone in ("epoch-0002", "test"):
        _file(tmp_path, gone).unlink()
        assert _contents(student(*chosen)) == live
    assert len(built) == 4
    assert _parts(tmp_path) == EVERYTHING


def test_all_students_losses_forms_and_lengths_share_one_teachers_outputs(
    student: Student, tmp_path: Path, built: list[str]
) -> None:
    complete_run(student(), Session())
    others = [
        ["loss.tau=2", "loss.alpha=0.5", "init_seed=7", "loss.form=as_written"],
        ["model=resnet8", "model.width=4", "loss.form=as_released", "schedule.lr=0.01"],
        ["schedule.epochs=2"],
    ]
    for overrides in others:
        complete_run(student(*overrides), Session())
    assert len(built) == 1
    (store,) = list_outputs(_root(tmp_path))
    assert store.epochs == 3
    complete_run(student("schedule.epochs=4"), Session())  # the fourth epoch is new
    assert len(built) == 2
    (store,) = list_outputs(_root(tmp_path))
    assert store.epochs == 4


def test_what_is_stored_is_what_the_network_answers(student: Student, tmp_path: Path) -> None:
    """Against the teacher's own network on views that are made here."""
    run = student()
    complete_run(run, Session())
    teacher = run.teacher_run
    assert teacher is not None
    model = teacher.build_model()
    path = store_of(run.config).find_checkpoint(teacher.run_id, 3)
    assert path is not None
    model.load_state_dict(read_checkpoint(path, teacher.run_id)["model"])
    model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    streams = load_streams(
        run.config.dataset,
        data_seed=run.config.data_seed,
        batch_size=run.config.schedule.batch_size,
        device=torch.device("cpu"),
        progress=Session().watcher.loading,
    )
    with torch.inference_mode():
        for epoch in range(3):
            batches = list(streams.train.epoch(epoch))
            answers = torch.cat([model(batch.inputs) for batch in batches]).half().numpy()
            places = np.searchsorted(streams.train.rows, np.concatenate([b.rows for b in batches]))
            stored = np.load(_file(tmp_path, f"epoch-{epoch + 1:04d}"))
            np.testing.assert_array_equal(stored[places], answers)


@pytest.mark.parametrize(
    "moved",
    [
        ["data_seed=1"],
        ["schedule.batch_size=32"],
        ["teacher.dtype=float32"],
        ["precision=bf16"],
        ["compile=true"],
        ["deterministic=true"],
        ["dataset.val_fraction=0.2"],
        ["dataset.subset=200"],
        ["dataset.views=none"],
        ["dataset.mean=[0.5]"],
        ["teacher.seed=1001"],
    ],
)
def test_all_that_moves_their_bits_makes_another_key(
    student: Student, tmp_path: Path, moved: list[str]
) -> None:
    assert _key(student(*moved), tmp_path) != _key(student(), tmp_path)


def _key(run: Run, folder: Path, epoch: int = 3, weights: str = "a") -> str:
    path = folder / f"epoch-{epoch:04d}.pt"
    path.with_name(path.name + ".sha256").write_text(f"{weights}  {path.name}\n")
    assert run.teacher_run is not None
    assert run.teacher is not None
    return canonical(outputs_identity(run, TeacherWeights(run.teacher, path, epoch)))


def test_another_epoch_other_weights_or_other_threads_make_another_key(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = student()
    keys = {_key(run, tmp_path), _key(run, tmp_path, epoch=2), _key(run, tmp_path, weights="b")}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    keys.add(_key(run, tmp_path))
    assert len(keys) == 4


def test_neither_paths_nor_the_store_are_part_of_a_runs_identity(
    student: Student, tmp_path: Path
) -> None:
    other = student("teacher.store=off", "teacher.store_limit_gb=1", f"output_dir={tmp_path / 'x'}")
    assert other.run_id == student().run_id
    assert _key(other, tmp_path) == _key(student(), tmp_path)


def test_outputs_of_a_file_are_kept_under_its_content(
    student: Student, tmp_path: Path, built: list[str]
) -> None:
    run = student()
    complete_run(run, Session())
    assert run.teacher_run is not None
    path = store_of(run.config).find_checkpoint(run.teacher_run.run_id, 3)
    assert path is not None
    state = read_checkpoint(path, run.teacher_run.run_id)["model"]
    given = ["teacher=checkpoint", "teacher.model=resnet8", f"teacher.path={tmp_path / 'file.pt'}"]
    width = 'teacher.overrides=["model.width=4"]'
    live = []
    for scale in (1.0, 0.5):
        torch.save({**state, "linear.weight": state["linear.weight"] * scale}, tmp_path / "file.pt")
        live.append(_contents(student(*given, width)))
        assert _contents(student(*given, width)) == live[-1]
    assert live[0] != live[1]
    assert len(built) == 3  # the run, and each content of the file once
    assert len(list_outputs(_root(tmp_path))) == 3


def test_a_teacher_after_one_epoch_has_outputs_of_its_own(
    student: Student, tmp_path: Path, built: list[str]
) -> None:
    poor = [_contents(student("teacher.epoch=1")) for _ in range(2)]
    assert poor[0] == poor[1]
    assert len(built) == 1
    complete_run(student(), Session())
    assert len(built) == 2
    (first, second) = list_outputs(_root(tmp_path))
    assert {first.description["epoch"], second.description["epoch"]} == {1, 3}


def test_epochs_made_again_replay_the_outputs_too(student: Student, built: list[str]) -> None:
    run = student("schedule.epochs=5")
    complete_run(run, Session())
    folder = store_of(run.config).run(run.run_id)
    gone = next(e for e in (1, 2, 3) if e not in checkpoint_epochs(folder.checkpoints))
    watcher = RecordingWatcher()
    path = checkpoint_of(run, gone, Session(watcher))
    assert "replays" in path.parts
    assert not any("differ" in line for line in watcher.lines)
    assert len(built) == 1


def test_starting_from_a_teachers_weights_stores_nothing_without_soft_targets(
    student: Student, tmp_path: Path, built: list[str]
) -> None:
    complete_run(
        student("loss=ce", "teacher=self", "start=teacher", "teacher.overrides=[]"), Session()
    )
    assert not _root(tmp_path).exists()
    both = ["teacher=self", "start=teacher", "teacher.overrides=[]"]
    live = _contents(student(*both, "teacher.store=off"))
    assert _contents(student(*both)) == live
    before = len(built)
    assert _contents(student(*both)) == live
    assert len(built) == before + 1  # for its weights


def test_logits_out_of_range_are_an_error_and_are_not_stored(
    student: Student, tmp_path: Path
) -> None:
    run = student()
    complete_run(run, Session())
    assert run.teacher_run is not None
    path = store_of(run.config).find_checkpoint(run.teacher_run.run_id, 3)
    assert path is not None
    state = read_checkpoint(path, run.teacher_run.run_id)["model"]
    state["linear.bias"] += 1e5  # more than float16 holds
    torch.save(state, tmp_path / "loud.pt")
    remove_outputs(_root(tmp_path), "*")
    loud = ["teacher=checkpoint", "teacher.model=resnet8", f"teacher.path={tmp_path / 'loud.pt'}"]
    with pytest.raises(RunFailed, match="beyond the range of float16"):
        complete_run(student(*loud, 'teacher.overrides=["model.width=4"]'), Session())
    assert _parts(tmp_path) == []


ROWS = np.arange(3, 19, 2)  # of the data set those that are trained on: 3, 5, ... 17


def _batches(*parts: list[int]) -> list[Batch]:
    """Batches of rows; a row's view is four numbers that no other row has."""
    rows = [torch.tensor(part) for part in parts]
    return [Batch(_views(r), torch.zeros(len(r)), r) for r in rows]


def _views(rows: torch.Tensor) -> torch.Tensor:
    return (rows[:, None] + torch.linspace(0, 0.9, 4)).reshape(-1, 1, 2, 2)


def _soft_targets(root: Path, asked: list[str], dtype: str = "float16") -> SoftTargets:
    def network() -> TeacherNetwork:
        asked.append("network")
        return TeacherNetwork(torch.nn.Flatten(), dtype, torch.device("cpu"), None)

    return SoftTargets(network, _folder(root), ROWS, 8, 4, dtype, torch.device("cpu"))


def _assert_own_answers(teacher: SoftTargets, batches: list[Batch], dtype: str) -> None:
    for batch in batches:
        answer = teacher.logits(batch)
        rounded = batch.inputs.flatten(1).to(getattr(torch, dtype)).float()
        assert torch.equal(answer, rounded)
        assert answer.dtype == torch.float32
        assert not answer.is_inference()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_row_has_its_own_soft_targets_in_whatever_batch_it_comes(
    tmp_path: Path, dtype: str
) -> None:
    """Live, recorded and replayed; batches in another order, of other sizes, and skipped ones."""
    batches = _batches([9, 3, 17], [5, 15, 7], [13, 11])
    others = _batches([11, 17, 3, 5], [13], [7, 9])  # row 15 is not asked for
    asked: list[str] = []
    for order in (batches, batches, batches[1:] + batches[:1], batches[1:], others):
        teacher = _soft_targets(tmp_path, asked, dtype)
        teacher.begin_epoch(0)
        _assert_own_answers(teacher, order, dtype)
        teacher.end_epoch()
    assert len(asked) == 1


@pytest.mark.parametrize("parts", [([9, 3, 17],), ([9, 3, 17, 5], [17, 5, 3, 9]), ()])
def test_an_epoch_that_was_not_visited_whole_is_not_stored(
    tmp_path: Path, parts: tuple[list[int], ...]
) -> None:
    teacher = _soft_targets(tmp_path, [])
    teacher.begin_epoch(0)
    for batch in _batches(*parts):
        teacher.logits(batch)
    teacher.end_epoch()
    assert not list(tmp_path.glob("key/*.npy"))


def test_an_epoch_that_drops_its_last_sample_is_stored_without_it(
    student: Student, tmp_path: Path, built: list[str]
) -> None:
    """Of 257 samples in batches of 64 one is left over, another one each epoch."""
    alone = ["dataset.subset=257", "schedule.batch_size=64", TEACHER]
    live = _contents(student(*alone, "teacher.store=off"))
    assert _contents(student(*alone)) == live
    dropped = [np.isnan(np.load(_file(tmp_path, part))).all(axis=1) for part in EVERYTHING[:3]]
    assert [int(rows.sum()) for rows in dropped] == [1, 1, 1]
    before = len(built)
    assert _contents(student(*alone)) == live
    assert len(built) == before


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("damage", "part"),
    [("truncated", "epoch-0002"), ("a flipped bit", "epoch-0002"), ("emptied", "test")],
)
def test_damaged_outputs_are_computed_again_and_cost_no_bit(
    student: Student, tmp_path: Path, built: list[str], damage: str, part: str
) -> None:
    undisturbed = _contents(student())
    path = _file(tmp_path, part)
    content = path.read_bytes()
    flipped = content[:-7] + bytes([content[-7] ^ 1]) + content[-6:]
    path.write_bytes({"truncated": content[:-1], "emptied": b""}.get(damage, flipped))
    watcher = RecordingWatcher()
    assert _contents(student(), Session(watcher)) == undisturbed
    assert [line for line in watcher.lines if "disagrees" in line] == [
        f"{path} disagrees with its checksum or key; it is computed again"
    ]
    assert len(built) == 2
    assert path.read_bytes() == content


def test_a_full_disk_costs_the_store_and_not_the_run(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses the second half of the third file that is written."""
    live = _contents(student("teacher.store=off"))
    write, calls = outputs._write_array, []

    def write_with_little_room(folder: Path, part: str, logits: Any) -> None:
        calls.append(part)
        if len(calls) != 3:
            return write(folder, part, logits)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (logits.nbytes // 2, hard))
        try:
            return write(folder, part, logits)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(outputs, "_write_array", write_with_little_room)
    watcher = RecordingWatcher()
    assert _contents(student(), Session(watcher)) == live
    assert calls == ["test", "epoch-0001", "epoch-0002"]
    assert _parts(tmp_path) == ["epoch-0001", "test"]
    assert _no_debris(_root(tmp_path))
    (line,) = [line for line in watcher.lines if "no more teacher outputs" in line]
    assert "File too large" in line
    assert _contents(student()) == live  # and the next run stores the rest
    assert _parts(tmp_path) == EVERYTHING


def test_a_place_that_cannot_be_written_costs_the_store_and_not_the_run(
    student: Student, tmp_path: Path
) -> None:
    live = _contents(student("teacher.store=off"))
    _root(tmp_path).write_text("a file where the folder should be")
    watcher = RecordingWatcher()
    assert _contents(student(), Session(watcher)) == live
    assert len([line for line in watcher.lines if "no more teacher outputs" in line]) == 1


def test_the_bound_is_kept_and_said_once(student: Student, tmp_path: Path) -> None:
    live = _contents(student("teacher.store=off"))
    limit = 20_000  # bytes: key.json, the test images, one epoch, not two
    watcher = RecordingWatcher()
    assert _contents(student(f"teacher.store_limit_gb={limit / 1e9}"), Session(watcher)) == live
    assert _parts(tmp_path) == ["epoch-0001", "test"]
    assert outputs.folder_size(_root(tmp_path)) <= limit
    assert len([line for line in watcher.lines if "teacher.store_limit_gb=2e-05" in line]) == 1


def test_a_run_killed_inside_an_epoch_loses_that_epochs_outputs_only(
    student: Student, tmp_path: Path
) -> None:
    live = _contents(student("teacher.store=off", "schedule.epochs=8"))
    command_line = [*STUDENT, TEACHER, f"output_dir={tmp_path}", "schedule.epochs=2000"]
    process = subprocess.Popen(
        train_command(*command_line), env=environment(), cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 100
    while "epoch-0004" not in _parts(tmp_path):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    complete = [part for part in _parts(tmp_path) if part.startswith("epoch")]
    assert complete == [f"epoch-{n + 1:04d}" for n in range(len(complete))]
    for path in _root(tmp_path).glob("*/*.npy"):
        assert outputs._is_whole(path)
    watcher = RecordingWatcher()
    assert _contents(student("schedule.epochs=8"), Session(watcher)) == live
    assert any(f"outputs on {len(complete)} epochs are stored" in s for s in watcher.lines)
    assert not any("disagrees" in line for line in watcher.lines)


WRITER = """
import sys
import numpy as np
from pathlib import Path
from kdlsr.teachers.outputs import OutputStore
folder = OutputStore(Path(sys.argv[1]), "key", {}, 1.0, print)
for n in range(10**6):
    folder.write(f"epoch-{n:04d}", np.full((200_000, 10), n % 1000, dtype=np.float16))
    print(n, flush=True)
"""


def test_a_writer_killed_at_any_instant_leaves_only_whole_files(tmp_path: Path) -> None:
    seen = 0
    for turn in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline()
        time.sleep(0.003 * turn)
        process.kill()
        process.communicate()
        for path in tmp_path.glob("key/epoch-*.npy"):
            number = int(path.name.split("-")[1])
            assert outputs._is_whole(path)
            assert (np.load(path) == number % 1000).all()
            seen += 1
    assert seen >= 8


def test_temporary_files_of_killed_writers_go_after_an_hour(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    folder.path.mkdir(parents=True)
    old, young = folder.path / ".test.npy.1-a.tmp", folder.path / ".test.npy.2-b.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    folder.write("test", np.zeros((2, 2), dtype=np.float16))
    assert not old.exists()
    assert young.exists()


def _folder(root: Path, limit_gb: float = 1.0, lines: list[str] | None = None) -> OutputStore:
    return OutputStore(root, "key", {"epoch": 3}, limit_gb, (lines or []).append)


def test_two_writers_of_one_epoch_leave_one_whole_file(tmp_path: Path) -> None:
    shape = (5000, 10)
    logits = np.arange(50_000, dtype=np.float32).reshape(shape)
    barrier = threading.Barrier(4)

    def write_all() -> None:
        folder = _folder(tmp_path)
        for epoch in range(10):
            barrier.wait()
            folder.write(outputs.epoch_part(epoch), logits + epoch)

    writers = [threading.Thread(target=write_all) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(list(tmp_path.glob("key/*.npy"))) == 10
    assert _no_debris(tmp_path)
    for epoch in range(10):
        found = _folder(tmp_path).read(outputs.epoch_part(epoch), shape, "float32")
        np.testing.assert_array_equal(found, logits + epoch)


def test_readers_keep_what_they_read_while_a_store_is_let_go(tmp_path: Path) -> None:
    logits = np.arange(40_000, dtype=np.float32).reshape(4000, 10)
    _folder(tmp_path).write("test", logits)
    held = _folder(tmp_path).read("test", (4000, 10), "float32")
    (removed,) = remove_outputs(tmp_path, "key")
    assert removed.size > logits.nbytes
    np.testing.assert_array_equal(held, logits)
    assert _folder(tmp_path).read("test", (4000, 10), "float32") is None
    assert not list(tmp_path.iterdir())


def test_outputs_of_another_shape_or_dtype_are_not_used(tmp_path: Path) -> None:
    for shape, dtype in (((4, 4), "float16"), ((8, 2), "float32")):
        _folder(tmp_path).write("test", np.zeros((8, 2), dtype=np.float16))
        lines: list[str] = []
        folder = OutputStore(tmp_path, "key", {}, 1.0, lines.append)
        assert folder.read("test", shape, dtype) is None
        assert len(lines) == 1
        assert not list(tmp_path.glob("key/*.npy"))


def test_a_checksum_is_verified_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _folder(tmp_path).write("test", np.zeros((8, 2), dtype=np.float16))
    digests: list[int] = []
    digest = outputs.file_digest

    def counted(path: Path) -> str:
        digests.append(1)
        return digest(path)

    monkeypatch.setattr(outputs, "file_digest", counted)
    for _ in range(3):
        assert _folder(tmp_path).read("test", (8, 2), "float16") is not None
    assert len(digests) == 1


# ---------------------------------------------------------------- the command


def _run_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int | str | None, str, str]:
    monkeypatch.setattr(sys, "argv", ["kdlsr.teachers", *words])
    with pytest.raises(SystemExit) as ended:
        command.main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_stores_are_listed_with_their_sizes_and_let_go(
    student: Student,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = student("schedule.epochs=2")
    complete_run(run, Session())
    assert run.teacher_run is not None
    (store,) = list_outputs(_root(tmp_path))
    described = json.loads((store.path / "key.json").read_text())
    assert described["teacher"] == run.teacher_run.run_id
    capsys.readouterr()
    where = f"output_dir={tmp_path}"
    code, out, _ = _run_command(monkeypatch, capsys, where)
    row = next(line for line in out.splitlines() if store.path.name in line).split()
    assert code == 0
    assert row == [store.path.name, "digits", "2", *f"{store.size / 1000:.1f} kB".split()]
    assert f"{store.size / 1000:.1f} kB of 20 GB" in out
    code, _, err = _run_command(monkeypatch, capsys, where, "remove=digit")
    assert code == 2
    assert "no such store" in err
    assert store.path.exists()
    monkeypatch.setenv("PLACE", str(tmp_path))
    assert _run_command(monkeypatch, capsys, "output_dir='$PLACE'")[0] == 0
    code, out, _ = _run_command(monkeypatch, capsys, where, "remove=digits-*")
    assert code == 0
    assert f"removed {store.path.name}" in out
    assert not list(_root(tmp_path).iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rmove=x"], "unknown key rmove; nearest: remove"),
        (["remove"], "expected list or <key>=<value>"),
        (["output_dir=nowhere"], "output_dir=nowhere: no such folder"),
        (['output_dir="a place"'], "output_dir=a place: no such folder"),
        (["remove=a", "remove=b"], "remove is given twice"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    code, _, err = _run_command(monkeypatch, capsys, *words)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_listing_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys, runpy; sys.argv = ['x', *sys.argv[1:]]\n"
    code += "try: runpy.run_module('kdlsr.teachers', run_name='__main__')\n"
    code += "except SystemExit as end: assert not end.code\n"
    code += "assert 'torch' not in sys.modules"
    for words in (["--help"], ["list"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- on a GPU


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")


@pytest.mark.cuda
@needs_gpu
def test_stored_outputs_on_a_gpu_end_in_the_same_bytes(train: Command, tmp_path: Path) -> None:
    chosen = [*STUDENT, TEACHER, "device=cuda", "deterministic=true"]
    for overrides in (
        ["teacher.store=off", "output_dir=live"],
        ["loss.tau=2", "output_dir=kept"],
        ["output_dir=kept"],
    ):
        done = train(*chosen, *overrides)
        assert done.returncode == 0, done.stderr
    assert "outputs on 3 epochs are stored" in done.stdout
    for folder in (tmp_path / "live" / "runs").iterdir():
        for file in PROMISED:
            again = tmp_path / "kept" / "runs" / folder.name / file
            assert (folder / file).read_bytes() == again.read_bytes()


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("turn", ["recorded", "replayed"])
def test_a_step_with_stored_outputs_does_not_wait_for_the_device(tmp_path: Path, turn: str) -> None:
    device = torch.device("cuda")
    network = TeacherNetwork(torch.nn.Flatten(), "float16", device, None)
    teacher = SoftTargets(lambda: network, _folder(tmp_path), np.arange(8), 8, 4, "float16", device)
    views = torch.arange(32.0, device=device).reshape(8, 1, 2, 2)
    rows = torch.arange(8, device=device)
    batches = [Batch(v, r, r) for v, r in zip(views.split(3), rows.split(3), strict=True)]
    for _ in range(2 if turn == "replayed" else 1):
        teacher.begin_epoch(0)
        torch.cuda.set_sync_debug_mode("error")
        try:
            answers = [teacher.logits(batch) for batch in batches]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        teacher.end_epoch()
    assert torch.equal(torch.cat(answers), views.flatten(1))
    assert len(list(tmp_path.glob("key/epoch-*.npy"))) == 1
