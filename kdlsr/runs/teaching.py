"""A teacher made ready to teach: its network, or what it answered before.

Where its weights are, and how a run that teaches is trained, is `execute`'s to know; how outputs
are kept, `teachers/`'s. What moves the bits of outputs, and so names their store, is decided here.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from kdlsr.config.compose import relative_to_here
from kdlsr.config.encoding import Encoder
from kdlsr.data.prepare import Streams, data_identity
from kdlsr.data.stream import EvalStream
from kdlsr.machine.device import AUTOCAST_DTYPES
from kdlsr.machine.environment import describe_environment
from kdlsr.metrics import classification_metrics
from kdlsr.runs.identity import digest_of
from kdlsr.runs.plan import NUMERICS, Run
from kdlsr.runs.session import Session
from kdlsr.teachers.network import LARGE_SPREAD, TeacherNetwork, check_spread, spread_of
from kdlsr.teachers.outputs import FOLDER, FORMAT, OutputStore
from kdlsr.teachers.past_targets import PastTargets
from kdlsr.teachers.soft_targets import FixedSoftTargets, SoftTargets
from kdlsr.teachers.teacher import LoadedNetwork, Teacher
from kdlsr.training.past import Past

KEY_DIGEST = 16  # hex digits: nothing but the key is compared
NEAR_CHANCE = 1.5  # times what guessing gets right


@dataclass(frozen=True)
class TeacherWeights:
    """A teacher and where its weights are.

    Attributes:
        teacher: decided.
        checkpoint: of its run; None for weights from elsewhere.
        epoch: the completed epochs of that checkpoint; None likewise.
    """

    teacher: Teacher
    checkpoint: Path | None = None
    epoch: int | None = None


@dataclass(frozen=True)
class OnTest:
    """What a teacher says of the test samples.

    Attributes:
        logits: (N, K).
        top1: their accuracy, percent.
        epoch: the completed epochs after which it teaches; None for weights from elsewhere.
    """

    logits: Tensor
    top1: float
    epoch: int | None


@dataclass(frozen=True)
class Teaching:
    """A teacher ready to teach.

    Attributes:
        soft_targets: what the loss asks for its logits; None where only the weights are used.
        on_test: gives what it says of the test samples; of the student's own past, when the
            student has been trained.
        network: gives the network itself, built when it is first asked for; None of a past.
        past: what the student has to remember of itself to be taught.
    """

    soft_targets: SoftTargets | PastTargets | None
    on_test: Callable[[], OnTest]
    network: Callable[[], TeacherNetwork] | None
    past: Past = field(default_factory=Past)


def start_teaching(
    run: Run, weights: TeacherWeights | None, streams: Streams, session: Session
) -> Teaching | None:
    """Makes a teacher ready, and tells how good it is before any student is trained.

    Its network is built only where an output of it is not stored.
    """
    if weights is None:
        return None
    if weights.teacher.own_past:
        return _own_past(run, weights.teacher, streams, session)
    network = functools.cache(lambda: _network(run, weights, streams, session))
    needed = run.loss.needs_teacher
    store = _store(run, weights, streams, session) if needed else None
    encoder = weights.teacher.encoder
    soft_targets = _soft_targets(run, network, store, streams, encoder)
    test_logits = soft_targets.predict(streams.test.read_by(encoder))
    spread = spread_of(test_logits).item()
    check_spread(spread)  # of stored outputs too
    top1 = classification_metrics(test_logits, streams.test.labels).top1
    stored = store.stored_epochs() if store else 0
    _tell(weights, top1, stored, run.facts.num_classes, session)
    if spread > LARGE_SPREAD:
        session.watcher.message(
            f"WARNING: logits of teacher {weights.teacher.name} differ by {spread:.3g} within one "
            "sample, which no temperature in use softens: weights or inputs may be another's"
        )
    on_test = OnTest(test_logits, top1, weights.epoch)
    return Teaching(soft_targets if needed else None, lambda: on_test, network)


def _own_past(run: Run, teacher: Teacher, streams: Streams, session: Session) -> Teaching:
    """Makes a student's own past ready to teach it, as soon as there is one."""
    ages = teacher.own_past
    past = Past(depth=ages[-1] + 1)  # what taught in the last epoch is one further ago after it
    targets = PastTargets(
        past, ages, run.build_model, lambda model: _answering(run, LoadedNetwork(model), streams)
    )
    session.watcher.message(
        f"teacher {teacher.name}: the network itself, so many epochs ago; until there is such a "
        "past the loss is cross-entropy"
    )

    def on_test() -> OnTest:
        logits = targets.predict(streams.test)
        top1 = classification_metrics(logits, streams.test.labels).top1
        epoch = run.config.schedule.epochs - ages[0] if len(ages) == 1 else None
        return OnTest(logits, top1, epoch)

    return Teaching(targets, on_test, None, past)


def _soft_targets(
    run: Run,
    network: Callable[[], TeacherNetwork],
    store: OutputStore | None,
    streams: Streams,
    encoder: Encoder | None,
) -> SoftTargets:
    """Returns what the teacher says of each row, which it reads with its own `encoder`."""
    train = streams.train
    rows, classes, dtype = train.rows, run.facts.num_classes, run.config.teacher.dtype
    if train.samples.varies:
        per_epoch = train.samples_per_epoch
        return SoftTargets(network, store, rows, per_epoch, classes, dtype, run.device)
    plain = EvalStream(train.samples.read_by(encoder), rows)
    return FixedSoftTargets(network, store, plain, classes, dtype, run.device)


def _tell(
    weights: TeacherWeights,
    top1: float,
    stored: int | Literal["all"],
    classes: int,
    session: Session,
) -> None:
    after = f" after epoch {weights.epoch}" if weights.epoch else ""
    known = f"; its outputs on {stored} epochs are stored" if stored else ""
    name = weights.teacher.name
    session.watcher.message(f"teacher {name}{after}: {top1:.2f} % top-1 on the test set{known}")
    chance = 100 / classes
    chosen_poor = isinstance(weights.teacher.epoch, int)  # De-KD: it is meant to be poor
    if top1 < NEAR_CHANCE * chance and not chosen_poor:
        session.watcher.message(
            f"WARNING: teacher {name} is hardly better than guessing ({chance:.2f} %): weights, "
            "class order or normalisation may be another network's"
        )


def _store(
    run: Run, weights: TeacherWeights, streams: Streams, session: Session
) -> OutputStore | None:
    """Returns where the teacher's outputs are kept; None where none may be."""
    teacher = run.config.teacher
    if teacher.store == "off":
        return None
    samples = streams.train.samples
    one_pass = None if samples.varies else samples.evaluation_batch_size
    identity = outputs_identity(run, weights, one_pass)
    return OutputStore(
        relative_to_here(run.config.output_dir) / FOLDER,
        _outputs_key(run, weights, identity),
        {
            "teacher": weights.teacher.name,
            "epoch": weights.epoch,
            "dataset": run.config.dataset.name,
            "data_seed": identity.get("data_seed"),
            "views": streams.train.samples_per_epoch,
            "classes": run.facts.num_classes,
            "identity": identity,
        },
        teacher.store_limit_gb,
        session.watcher.message,
    )


def outputs_identity(
    run: Run, weights: TeacherWeights, one_pass: int | None = None
) -> dict[str, Any]:
    """Returns all that moves the bits of a teacher's outputs on a run's views.

    Neither the student is among it, nor its loss, initialisation or number of epochs; the
    batch size is, since the shape of a batch chooses how it is computed. Threads are torch's
    at the moment of the call.

    Args:
        run: the student.
        weights: the teacher's.
        one_pass: the batch size of the one pass whose outputs serve every epoch and data seed;
            None: views vary, and are seen in the batches of the training.
    """
    config, encoder = run.config, weights.teacher.encoder or run.encoder
    drawn = {"data_seed": config.data_seed, "batch_size": config.schedule.batch_size}
    environment = describe_environment(run.device, run.precision, torch.get_num_threads())
    hardware = ["device_type", "device", "torch"]
    if run.device.type == "cpu":
        hardware += ["cpu_capability", "threads"]
    return {
        "format": FORMAT,
        "numerics": NUMERICS,
        "teacher": {**weights.teacher.weights_identity(weights.checkpoint), "epoch": weights.epoch},
        "dtype": config.teacher.dtype,
        "data": data_identity(config.dataset, run.facts),
        **(drawn if one_pass is None else {"one_pass": one_pass}),
        **({} if encoder is None else {"encoder": encoder.identity}),
        "precision": run.precision,
        "compile": config.compile,
        "deterministic": config.deterministic,
        **{key: environment[key] for key in hardware},
    }


def _outputs_key(run: Run, weights: TeacherWeights, identity: dict[str, Any]) -> str:
    trained = weights.teacher.run
    if trained is not None:
        shown = f"{trained.run_id}-e{weights.epoch}"
    else:
        shown = f"{run.config.dataset.name}-{run.config.teacher.name}"
    drawn = f"-d{identity['data_seed']}" if "data_seed" in identity else ""
    return f"{shown}{drawn}-{digest_of(identity, KEY_DIGEST)}"


def _network(
    run: Run, weights: TeacherWeights, streams: Streams, session: Session
) -> TeacherNetwork:
    # It may be built in the middle of a student's training, whose random numbers it leaves be.
    with torch.random.fork_rng(devices=[]):
        loaded = weights.teacher.load(weights.checkpoint)
    if loaded.remark is not None:
        session.watcher.message(loaded.remark)
    return _answering(run, loaded, streams)


def _answering(run: Run, loaded: LoadedNetwork, streams: Streams) -> TeacherNetwork:
    """Returns a network as a run's teacher: on its device, in its arithmetic."""
    return TeacherNetwork(
        loaded.model,
        run.config.teacher.dtype,
        run.device,
        AUTOCAST_DTYPES.get(run.precision),
        seen=streams.train.samples.normalisation,
        learnt=loaded.normalisation,
    )
