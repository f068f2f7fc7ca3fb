"""A step that works in memory that stays where it is does what a plain one does, to the bit.

On a CPU `capture=true` has the very step that a GPU records done unrecorded. What a GPU's recorder
decides is tested with a stand-in for its one question here, and in earnest in `test_cuda.py`.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from conftest import RecordingObserver
from made_texts import make_reviews, text_network
from torch import Tensor, nn
from torch.nn import functional as F

from kdlsr.config.compose import compose_config
from kdlsr.config.inputs import ImageSpec
from kdlsr.config.schedule import ScheduleConfig
from kdlsr.config.schema import read_config
from kdlsr.data import Images
from kdlsr.data.normalisation import Normalisation
from kdlsr.data.recipe import read_recipe
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.losses import Loss, Step, Terms, build_loss, losses
from kdlsr.models import Recipe, build_model
from kdlsr.runs.execute import checkpoint_of, complete_run, store_of
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.session import Session
from kdlsr.training.checkpoint import checkpoint_epochs, checkpoint_path, read_checkpoint
from kdlsr.training.fit import train_epoch
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer, resolve_optimisation
from kdlsr.training.recording import (
    WAITED,
    WARM_UP,
    ByShape,
    Recorder,
    Recording,
    reason_not_to_record,
)
from kdlsr.training.steps import TrainingSteps
from kdlsr.training.task import Task

__all__ = ["text_network"]
CPU = torch.device("cpu")
SPEC = ImageSpec(8, 8, 3)
SMALL = ["dataset=digits", "dataset.subset=70", "model=resnet8", "model.width=4"]
SMALL += ["schedule=quick", "schedule.epochs=2", "schedule.batch_size=16"]
KD = ["loss=kd", "teacher=resnet8", 'teacher.overrides=["model.width=4"]']
Pair = Callable[..., list[Run]]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Plans a small run twice: its steps plain, and in memory that stays."""

    def planned(*overrides: str) -> list[Run]:
        common = [*SMALL, "precision=fp32", *overrides]
        folders = {capture: tmp_path / f"captured-{capture}" for capture in ("false", "true")}
        chosen = [[*common, f"capture={c}", f"output_dir={f}"] for c, f in folders.items()]
        return [plan_run(read_config(compose_config(overrides))) for overrides in chosen]

    return planned


def _outcome(run: Run) -> tuple[list[bytes], dict[str, Any]]:
    """Returns what a run's files say, and its last checkpoint."""
    folder = store_of(run.config).run(run.run_id)
    path = checkpoint_path(folder.checkpoints, checkpoint_epochs(folder.checkpoints)[-1])
    names = ("metrics.jsonl", "test_logits.npz")
    return [(folder.path / n).read_bytes() for n in names], read_checkpoint(path, run.run_id)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _assert_same(runs: list[Run]) -> None:
    (files, state), (other_files, other_state) = map(_outcome, runs)
    assert files == other_files
    assert state.keys() == other_state.keys()
    for name in state:
        assert _equal(state[name], other_state[name]), name


# ---------------------------------------------------------------- whole runs


def test_a_run_has_the_same_bits_and_the_same_name(pair: Pair) -> None:
    """A last batch that is smaller; what is evaluated besides; bf16."""
    runs = pair("dataset.val_fraction=0.1", "train_metrics=true", "precision=bf16")
    assert (runs[0].run_id, runs[0].cell_id) == (runs[1].run_id, runs[1].cell_id)
    for run in runs:
        complete_run(run, Session())
    _assert_same(runs)


def test_a_taught_run_has_the_same_bits_with_its_teachers_outputs_stored_or_not(
    pair: Pair,
) -> None:
    """The first student of a store computes its outputs, the next one finds them there."""
    for tau in (4, 2):
        runs = pair(*KD, f"loss.tau={tau}")
        for run in runs:
            complete_run(run, Session())
        _assert_same(runs)


def test_a_run_that_learns_from_its_own_past_has_the_same_bits(pair: Pair) -> None:
    """It has no teacher in its first epoch, and a live one afterwards."""
    runs = pair("loss=kd", "teacher=past")
    for run in runs:
        complete_run(run, Session())
    _assert_same(runs)


def test_a_run_goes_on_half_way_to_the_same_bits_in_either_way(pair: Pair) -> None:
    """What one way leaves in a checkpoint the other takes up."""
    adam = ["schedule.optimizer=adam", "schedule.lr=0.001", "schedule.clip_norm=1"]
    plain, captured = pair(*adam, "schedule.epochs=3")
    complete_run(plain, Session())
    half = checkpoint_of(captured, 1, Session())
    group = torch.load(half, weights_only=True)["optimizer"]["param_groups"][0]
    assert (type(group["lr"]), group["capturable"]) == (float, False)
    complete_run(captured, Session())
    _assert_same([plain, captured])


@pytest.mark.parametrize("loss", ["ce", "cs_kd"])
def test_texts_in_batches_of_many_widths_have_the_same_bits(
    tmp_path: Path, text_network: object, loss: str
) -> None:
    del text_network
    make_reviews(tmp_path / "texts", train=45, test=20)
    runs = []
    for capture in ("false", "true"):
        chosen = ["dataset=text_folder", f"dataset.root={tmp_path / 'texts'}", "precision=fp32"]
        chosen += ["schedule=quick", "schedule.epochs=2", "schedule.batch_size=8"]
        chosen += ["model=bag", f"loss={loss}"]
        chosen += [f"capture={capture}", f"output_dir={tmp_path / capture}"]
        runs.append(plan_run(read_config(compose_config(chosen))))
        complete_run(runs[-1], Session())
    _assert_same(runs)


# ---------------------------------------------------------------- every loss, every network


def _task(loss: Loss, views: str, seed: int = 0) -> Task:
    """Six images of 8x8, of three classes, in batches of four and two."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    images, normalisation = Images(pixels, np.arange(6) % 3), Normalisation((0.5,) * 3, (0.25,) * 3)
    samples = images.samples(SPEC, normalisation, read_recipe(views), CPU)
    train, test = TrainStream(samples, np.arange(6), 0, 4), EvalStream(samples, np.arange(6))
    return Task(train, test, None, loss, None, seed)


def _trained(
    capture: bool,
    name: str,
    options: Mapping[str, Any] | None = None,
    loss: str = "ce",
    form: str | None = None,
    epochs: int = 1,
    **schedule: Any,
) -> dict[str, Any]:
    chosen = ScheduleConfig(epochs=epochs, batch_size=4, **schedule)
    built = build_loss(loss, {"form": form} if form else {}, 3)
    torch.manual_seed(0)
    model = build_model(name, options or {}, spec=SPEC, num_classes=3)
    model = model.to(memory_format=torch.channels_last)
    state = built.state(6)
    optimisation = resolve_optimisation(chosen, Recipe())
    optimizer = build_optimizer(model, optimisation, chosen, state)
    learner = Learner(model, optimizer, chosen, "fp32", CPU, state, capture=capture)
    steps, observer = TrainingSteps(learner, _task(built, "cifar")), RecordingObserver()
    terms = [train_epoch(steps, epoch, observer) for epoch in range(epochs)]
    return {**learner.checkpoint([]), "terms": terms, "rate": learner.rate}


# Of every family; resnet101 and resnext29 are resnet50's, with more layers and grouped.
FAMILIES = ["resnet18", "resnet50", "mobilenetv2", "shufflenetv2", "googlenet", "densenet121"]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_network_learns_the_same_bits(name: str) -> None:
    plain, captured = (_trained(capture, name) for capture in (False, True))
    assert _equal(plain, captured)


SCHEDULES: list[dict[str, Any]] = [
    {},
    {"clip_norm": 0.1, "nesterov": True, "decay": "linear", "milestones": ()},
    {"optimizer": "adam", "lr": 0.001},
    {"optimizer": "adamw", "lr": 0.001, "warmup_epochs": 1.5, "clip_norm": 0.5},
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_every_optimiser_learns_the_same_bits(schedule: dict[str, Any]) -> None:
    chosen = {"milestones": (1,), **schedule}
    plain, captured = (
        _trained(capture, "resnet8", {"width": 4}, epochs=3, **chosen) for capture in (False, True)
    )
    assert _equal(plain, captured)


@pytest.mark.parametrize(
    ("loss", "form"),
    [
        (name, form)
        for name in losses.names()
        if "soft_targets" not in losses.get(name).needs  # a teacher's are tested in whole runs
        for form in losses.get(name).forms
    ],
)
def test_every_loss_teaches_the_same_bits(loss: str, form: str) -> None:
    options = form if len(losses.get(loss).forms) > 1 else None
    plain, captured = (
        _trained(capture, "resnet8", {"width": 4}, loss, options, 2) for capture in (False, True)
    )
    assert _equal(plain, captured)


@dataclass(frozen=True, kw_only=True)
class Remembering(Loss):
    """Cross-entropy at a learned temperature; notes when which row was seen, and its log."""

    @property
    def hard_scale(self) -> float:
        return 0.0

    def state(self, num_samples: int) -> nn.Module:
        state = nn.Module()
        state.log_tau = nn.Parameter(torch.tensor(0.5))
        state.register_buffer("seen", torch.full((num_samples, 2), -1.0, dtype=torch.float64))
        return state

    def terms(self, step: Step) -> Terms:
        loss = F.cross_entropy(step.logits.float() / step.state.log_tau.exp(), step.labels)
        seen = torch.stack([step.progress, step.epoch.double()])
        step.state.seen[step.rows] = seen
        return {"total": loss, "log_tau": step.state.log_tau}

    def end_epoch(self, state: nn.Module) -> None:
        state.seen.mul_(2)


def test_what_a_loss_remembers_and_learns_has_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses.names()
    monkeypatch.setattr(losses, "_options", losses._options | {"remembering": Remembering})
    plain, captured = (
        _trained(capture, "resnet8", {"width": 4}, "remembering", epochs=3)
        for capture in (False, True)
    )
    assert _equal(plain, captured)
    assert plain["loss"]["seen"].unique(dim=0).shape == (2, 2)
    assert (plain["loss"]["seen"] >= 0).all()


# ---------------------------------------------------------------- what cannot be recorded

FORBIDDEN = RuntimeError("operation not permitted when stream is capturing\nMore of it")


def _recorder(lines: list[str]) -> Recorder:
    """A recorder that takes this machine for one with a GPU, as far as it can."""
    recorder = Recorder(CPU, "training steps", lines.append)
    recorder.records = True
    return recorder


def test_work_in_which_the_host_waits_is_not_recorded_and_one_line_says_where() -> None:
    lines: list[str] = []
    recorder = _recorder(lines)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("something else", stacklevel=1)
        assert reason_not_to_record(caught) is None
        warnings.warn(WAITED, stacklevel=1)
    why = reason_not_to_record(caught)
    assert why is not None
    for _ in range(2):
        recorder.give_up(why)
    assert not recorder.records
    (line,) = lines
    assert line.startswith("training steps are not recorded, and slower for it: the host waits")
    assert Path(__file__).name in line


def test_how_work_is_recorded_is_told_once_and_on_a_cpu_not_at_all() -> None:
    lines: list[str] = []
    for recorder in (_recorder(lines), Recorder(CPU, "evaluations", lines.append)):
        for _ in range(2):
            recorder.remark("without their views, in which the host has a hand")
    assert len(lines) == 1


@dataclass
class Recorded:
    """A piece of work under a recorder of a GPU that is not there.

    What is done while a graph is recorded is not done by a GPU: it counts as `traced`.
    """

    monkeypatch: pytest.MonkeyPatch
    fails: RuntimeError | None = None
    waits: bool = False

    def __post_init__(self) -> None:
        self.lines: list[str] = []
        self.done = self.traced = self.replayed = 0
        self.closed: list[object] = []  # pools
        self.is_recording = False
        cuda = MagicMock()
        cuda.graph.return_value.__enter__ = lambda _: setattr(self, "is_recording", True)
        cuda.graph.return_value.__exit__ = lambda *_: setattr(self, "is_recording", False)
        cuda.stream.return_value.__exit__ = lambda *_: None
        cuda.CUDAGraph.return_value.replay = self._replay
        self.monkeypatch.setattr(torch, "cuda", cuda)
        self.monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self._close)
        self.recorder = Recorder(torch.device("cuda:0"), "training steps", self.lines.append)
        self.recording: Recording[int] = Recording(self.recorder)

    def _replay(self) -> None:
        self.replayed += 1

    def _close(self, index: int, pool: object) -> None:
        self.closed.append((index, pool))
        raise RuntimeError("endAllocatePool: not currently recording to mempool_id")  # from 2.12 on

    def work(self) -> int:
        if self.is_recording and self.fails:
            raise self.fails
        if self.waits:
            warnings.warn(WAITED, stacklevel=1)
        self.traced += self.is_recording
        self.done += not self.is_recording
        return 7

    def times(self, count: int) -> None:
        for _ in range(count):
            assert self.recording.do(self.work) == 7


def test_work_is_done_until_it_is_warm_then_recorded_once_and_replayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Recorded(monkeypatch)
    found.times(WARM_UP)
    assert (found.done, found.traced, found.replayed) == (WARM_UP, 0, 0)
    found.times(5)
    assert (found.done, found.traced, found.replayed) == (WARM_UP, 1, 5)
    assert found.lines == []


@pytest.mark.filterwarnings("ignore:called a synchronizing")
@pytest.mark.parametrize("how", [{"fails": FORBIDDEN}, {"waits": True}], ids=str)
def test_work_that_cannot_be_recorded_is_done_as_it_is_each_time_once(
    monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    found = Recorded(monkeypatch, **how)
    found.times(WARM_UP + 5)
    assert (found.done, found.traced, found.replayed) == (WARM_UP + 5, 0, 0)
    (line,) = found.lines
    assert line.startswith("training steps are not recorded, and slower for it: ")
    assert "\n" not in line
    another: Recording[int] = Recording(found.recorder)
    assert another.do(found.work) == 7  # and nothing of its kind is tried again
    assert len(found.lines) == 1


def test_what_was_recorded_before_a_recording_failed_is_not_replayed_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its random numbers would be those of a generator's state that nothing sets any more."""
    found = Recorded(monkeypatch)
    found.times(WARM_UP + 1)
    found.fails = FORBIDDEN
    another: Recording[int] = Recording(found.recorder)
    for _ in range(WARM_UP + 1):
        another.do(found.work)
    found.times(2)
    assert (found.traced, found.replayed) == (1, 1)
    assert found.done == 2 * WARM_UP + 3


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_memory_that_is_short_while_work_is_recorded_is_told_as_anywhere(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    found = Recorded(monkeypatch, fails=error)
    found.times(WARM_UP)
    with pytest.raises(RuntimeError) as caught:
        found.times(1)
    assert caught.value is error
    assert found.lines == []
    assert found.recorder.records


@pytest.mark.parametrize("error", [FORBIDDEN, torch.OutOfMemoryError("CUDA out of memory")])
def test_a_recording_that_failed_leaves_no_pool_open(
    monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    """torch before 2.12 does, and no memory of the process could be given back any more."""
    found = Recorded(monkeypatch, fails=error)
    found.times(WARM_UP)
    with suppress(torch.OutOfMemoryError):
        found.times(1)
    assert found.closed == [(0, found.recorder.pool)]


def test_work_by_shape_is_done_in_memory_of_its_own() -> None:
    work: ByShape[Tensor] = ByShape(Recorder(CPU, "work", print))
    places = []

    def noted(inputs: Any, others: Any) -> Tensor:
        places.append((inputs[0]["ids"].data_ptr(), others[0].data_ptr()))
        return inputs[0]["ids"].sum() + others[0]

    for width in (2, 3, 2, 3):
        ids = torch.full((2, width), width)
        assert work.do([{"ids": ids}], [torch.tensor(1)], noted) == 2 * width**2 + 1
    assert places[:2] == places[2:]
    assert places[0] != places[1]
