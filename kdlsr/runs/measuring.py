"""How fast a run's network is on this machine: a few of its own steps, on made inputs.

Neither data nor a teacher is asked for, and nothing is written of it. What runs will take is for
whoever plans them.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from kdlsr.config.inputs import ImageSpec, SpectrogramSpec, TextSpec
from kdlsr.data import Content, Images, Texts
from kdlsr.data.normalisation import Normalisation
from kdlsr.data.recipe import read_recipe
from kdlsr.data.spectrograms import Spectrograms
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.losses import Loss, build_loss
from kdlsr.machine.device import computing
from kdlsr.runs.learning import build_learner
from kdlsr.runs.plan import Run
from kdlsr.training.fit import predict, train_epoch
from kdlsr.training.learner import Learner
from kdlsr.training.record import EpochRecord
from kdlsr.training.recording import WARM_UP
from kdlsr.training.steps import TrainingSteps
from kdlsr.training.task import Task

MOST_STEPS = 20
SHARES = (32, 8, 1)  # of a batch: a small one tells whether there is time for a larger one
TYPICAL = 4  # texts are by so much shorter than the longest that their data set allows


@dataclass(frozen=True)
class Pace:
    """Seconds that a network takes.

    Attributes:
        step: of training, on one batch.
        answer: of evaluation, on one sample.
    """

    step: float
    answer: float


def measure(run: Run, threads: int, seconds: float) -> Pace | None:
    """Measures the pace of a run's network in about so many seconds, half of them at a warm-up.

    The network is the run's, and so are batch size, precision, device and views; the loss is
    cross-entropy. Where a step takes too long, it is told from one on an 8th or a 32nd of its
    batch, which takes somewhat more than its share.

    Returns:
        None where inputs like the run's cannot be made: tokens of another's making.

    Raises:
        UserError: the network cannot be built.
    """
    batch = run.config.schedule.batch_size
    sizes = [batch] if run.device.type == "cuda" else [max(2, batch // s) for s in SHARES]
    pace: Pace | None = None
    with computing(threads, run.config.deterministic):
        learner = build_learner(run, _cross_entropy(run), 0, seed=0)
        begun = time.perf_counter()  # the first optimiser of a process imports torch's compiler
        for size in sizes:
            steps = MOST_STEPS if pace is None and size == batch else 1
            if pace is not None:
                left = seconds - (time.perf_counter() - begun)
                steps = int(left / 3 / max(pace.step * size / batch, 1e-6))
            if steps < 1:
                break
            found = _timed(run, learner, size, min(steps, MOST_STEPS))
            if found is None:
                return None
            pace = Pace(found.step * batch / size, found.answer)
    return pace


class _Unobserved:
    """Watches nothing."""

    def step(self, done: int, of: int, terms: Callable[[], Mapping[str, float]]) -> None: ...

    def epoch(self, record: EpochRecord) -> None: ...


def _timed(run: Run, learner: Learner, batch: int, steps: int) -> Pace | None:
    """Times the second of two epochs, of so many steps, and an evaluation."""
    content = _made(run, batch * steps)
    if content is None:
        return None
    channels = run.facts.spec.normalised_channels
    normalisation = Normalisation((0.5,) * channels, (0.25,) * channels) if channels else None
    recipe = read_recipe(run.config.dataset.views)
    samples = content.samples(run.facts.spec, normalisation, recipe, run.device, run.encoder)
    rows = np.arange(batch * steps)
    task = Task(
        train=TrainStream(samples, rows, 0, batch),
        test=EvalStream(samples, rows),
        validation=None,
        loss=_cross_entropy(run),
        teacher=None,
        init_seed=0,
    )
    taken = TrainingSteps(learner, task)
    _warm_up(taken)
    trained = _seconds(lambda: train_epoch(taken, 1, _Unobserved()))
    answered = _seconds(lambda: predict(learner, task.test).cpu())
    return Pace(step=trained / steps, answer=answered / len(rows))


def _warm_up(taken: TrainingSteps) -> None:
    """Trains and, on a GPU, evaluates until all is recorded, a smaller last batch too."""
    train_epoch(taken, 0, _Unobserved())
    if taken.learner.device.type == "cuda":
        for _ in range(WARM_UP + 1):
            predict(taken.learner, taken.task.test).cpu()  # all is done before the clock runs


def _cross_entropy(run: Run) -> Loss:
    return build_loss("ce", {}, run.facts.num_classes)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _made(run: Run, count: int) -> Content | None:
    """Returns noise of the run's kind of inputs; texts of a quarter of the greatest length."""
    spec = run.facts.spec
    labels = np.arange(count) % run.facts.num_classes
    if isinstance(spec, ImageSpec):
        kind = Spectrograms if isinstance(spec, SpectrogramSpec) else Images
        shape = (count, *spec.size, spec.channels)
        return kind(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), labels)
    if isinstance(spec, TextSpec):
        words = " ".join(["word"] * max(1, spec.length // TYPICAL // spec.parts))
        return Texts(((words,) * spec.parts,) * count, labels)
    return None
