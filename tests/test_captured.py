"""A recorded step on an NVIDIA GPU: what a plain one does, to the bit, and without waiting."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import RecordingObserver, RecordingWatcher
from test_static_step import KD, SMALL, _assert_same, _equal
from torch import Tensor
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
from kdlsr.runs.execute import checkpoint_of, complete_run
from kdlsr.runs.plan import Run, plan_run
from kdlsr.runs.session import Session
from kdlsr.training.compiling import compile_model
from kdlsr.training.fit import predict, train_epoch
from kdlsr.training.learner import Learner
from kdlsr.training.optimisation import build_optimizer, resolve_optimisation
from kdlsr.training.recording import WARM_UP
from kdlsr.training.steps import TrainingSteps
from kdlsr.training.task import Task

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
COUNT, BATCH = 330, 32  # ten steps, and a smaller one
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _deterministic() -> Any:
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    yield
    torch.use_deterministic_algorithms(False)


def _steps(
    capture: bool,
    lines: list[str],
    network: str = "resnet8",
    precision: str = "bf16",
    loss: str = "lsr",
    compiled: bool = False,
    **schedule: Any,
) -> TrainingSteps:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (COUNT, 32, 32, 3), dtype=np.uint8)
    spec, normalisation = ImageSpec(32, 32, 3), Normalisation((0.5,) * 3, (0.25,) * 3)
    images = Images(pixels, rng.integers(0, 4, COUNT))
    samples = images.samples(spec, normalisation, read_recipe("cifar"), CUDA)
    samples.evaluation_batch_size = BATCH
    rows = np.arange(COUNT)
    chosen = ScheduleConfig(epochs=5, batch_size=BATCH, milestones=(2,), **schedule)
    torch.manual_seed(0)
    model = build_model(network, {}, spec=spec, num_classes=4)
    model = model.to(CUDA, memory_format=torch.channels_last)
    if compiled:
        compile_model(model, CUDA, captured=capture)
    built = build_loss(loss, {}, 4)
    state = built.state(COUNT).to(CUDA)
    optimisation = resolve_optimisation(chosen, Recipe())
    learner = Learner(
        model,
        build_optimizer(model, optimisation, chosen, state),
        chosen,
        precision,
        CUDA,
        state,
        compiled=compiled,
        capture=capture,
        tell=lines.append,
    )
    stream, test = TrainStream(samples, rows, 0, BATCH), EvalStream(samples, rows)
    return TrainingSteps(learner, Task(stream, test, None, built, None, 0))


def _state(steps: TrainingSteps) -> dict[str, Any]:
    """Returns all that the next step depends on, on the CPU."""

    def copied(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().to("cpu", copy=True)
        if isinstance(value, dict):
            return {key: copied(v) for key, v in value.items()}
        return [copied(v) for v in value] if isinstance(value, list) else value

    generator = torch.cuda.get_rng_state()
    return {**copied(steps.learner.checkpoint([])), "generator": generator}


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp32"},
        {"precision": "bf16", "loss": "tfkd_reg"},
        {"precision": "fp16"},
        {"precision": "fp16", "clip_norm": 0.5},
        {"network": "plain_cnn"},  # with dropout
        {"network": "mobilenetv2", "loss": "cs_kd"},  # with a second pass
        {"optimizer": "adam", "lr": 0.001},
        {"optimizer": "adamw", "lr": 0.001, "clip_norm": 0.5},
    ],
    ids=str,
)
def test_every_step_leaves_what_a_plain_one_leaves(options: dict[str, Any]) -> None:
    """Those before the recording, the first replayed ones, the last, smaller one; two epochs."""
    lines: list[str] = []
    plain, captured = (_steps(capture, lines, **options) for capture in (False, True))
    for epoch in range(2):
        states: list[list[dict[str, Any]]] = []
        for steps in (plain, captured):
            torch.manual_seed(epoch)
            steps.learner.model.train()
            seen = []
            for index, size in enumerate(steps.of_epoch(epoch)):
                steps.log.count(size)
                if index < WARM_UP + 3 or size < BATCH:
                    seen.append(_state(steps))
            states.append(seen)
            seen.append(steps.log.means())
        for step, (one, other) in enumerate(zip(*states, strict=True)):
            different = [name for name in one if not _equal(one[name], other[name])]
            assert not different, f"epoch {epoch}, state {step}: {different}"
    assert lines == []


def test_a_replayed_epoch_launches_graphs_and_waits_for_nothing() -> None:
    lines: list[str] = []
    steps = _steps(True, lines)
    for epoch in range(WARM_UP + 1):  # the smaller batch comes once an epoch
        train_epoch(steps, epoch, RecordingObserver())
    batches = steps.of_epoch(WARM_UP + 1)
    next(batches)  # its plan is on the device by now
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.profiler.profile() as profile:
            for size in batches:
                steps.log.count(size)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    launched = {event.key: event.count for event in profile.key_averages()}
    assert launched.get("cudaGraphLaunch") == COUNT // BATCH
    assert lines == []


def test_an_evaluation_is_recorded_and_answers_the_same() -> None:
    lines: list[str] = []
    plain, captured = (_steps(capture, lines) for capture in (False, True))
    expected = predict(plain.learner, plain.task.test)
    for _ in range(3):
        assert torch.equal(predict(captured.learner, captured.task.test), expected)
    train_epoch(plain, 0, RecordingObserver())
    train_epoch(captured, 0, RecordingObserver())
    expected = predict(plain.learner, plain.task.test)
    assert torch.equal(predict(captured.learner, captured.task.test), expected)
    assert lines == []


@dataclass(frozen=True, kw_only=True)
class Asking(Loss):
    """Cross-entropy that asks the device for its value."""

    @property
    def hard_scale(self) -> float:
        return self.scale

    def terms(self, step: Step) -> Terms:
        total = F.cross_entropy(step.logits.float(), step.labels)
        return {"total": total * (1.0 if total.item() > 0 else 0.5)}


def test_a_loss_that_asks_the_host_is_not_recorded_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses.names()
    monkeypatch.setattr(losses, "_options", losses._options | {"asking": Asking})
    lines: list[str] = []
    plain, captured = (
        _steps(capture, lines, "plain_cnn", loss="asking") for capture in (False, True)
    )
    for epoch in range(2):
        for steps in (plain, captured):
            train_epoch(steps, epoch, RecordingObserver())
    assert _equal(_state(plain), _state(captured))
    (line,) = lines
    assert "the host waits for the device" in line
    assert Path(__file__).name in line


def test_what_fails_to_be_recorded_is_done_as_it_is() -> None:
    """In a process of its own, which a capture that failed may leave unable to go on."""
    alone = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with alone:
        alone.submit(_fail_to_record).result()


def _fail_to_record() -> None:
    """As where torch does not notice that the host waits: the watch is switched off here."""
    torch.use_deterministic_algorithms(True)
    losses.names()
    patch = pytest.MonkeyPatch()  # for good: this process ends with this
    patch.setattr(losses, "_options", losses._options | {"asking": Asking})
    patch.setattr("kdlsr.training.recording.reason_not_to_record", lambda _: None)
    lines: list[str] = []
    plain, captured = (
        _steps(capture, lines, "plain_cnn", loss="asking") for capture in (False, True)
    )
    for epoch in range(2):
        for steps in (plain, captured):
            train_epoch(steps, epoch, RecordingObserver())
    assert _equal(_state(plain), _state(captured))
    assert len(lines) == 1
    torch.cuda.empty_cache()  # as each recording does that comes later
    expected = predict(plain.learner, plain.task.test)
    for _ in range(WARM_UP + 1):
        assert torch.equal(predict(captured.learner, captured.task.test), expected)
    assert len(lines) == 1


def test_a_compiled_network_is_recorded_with_the_step() -> None:
    lines: list[str] = []
    plain, captured = (_steps(capture, lines, compiled=capture) for capture in (False, True))
    assert not captured.learner.is_graphed
    for steps in (plain, captured):
        terms = train_epoch(steps, 0, RecordingObserver())
    assert lines == []
    assert terms["total"] == pytest.approx(train_epoch(plain, 0, RecordingObserver())["total"], 1)
    logits = [predict(steps.learner, steps.task.test) for steps in (plain, captured)]
    assert all(found.isfinite().all() for found in logits)


def _run(folder: Path, *overrides: str) -> Run:
    chosen = [*SMALL, "schedule.epochs=3", "device=cuda", "deterministic=true", *overrides]
    return plan_run(read_config(compose_config([*chosen, f"output_dir={folder}"])))


@pytest.mark.parametrize("loss", [["loss=ce"], KD])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_has_the_same_bits_captured_plain_and_interrupted(
    tmp_path: Path, loss: list[str], precision: str
) -> None:
    chosen = [*loss, f"precision={precision}", "dataset.subset=270"]
    watcher = RecordingWatcher()
    plain = _run(tmp_path / "plain", *chosen, "capture=false")
    captured, broken = (_run(tmp_path / name, *chosen) for name in ("captured", "broken"))
    for run in (plain, captured):
        complete_run(run, Session(watcher))
    checkpoint_of(broken, 1, Session())
    complete_run(broken, Session(watcher))
    _assert_same([plain, captured])
    _assert_same([captured, broken])
    assert not [line for line in watcher.lines if "not recorded" in line]
