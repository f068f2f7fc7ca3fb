"""A teacher made ready to teach: from a run's checkpoint or a file from elsewhere, or from what
it answered before.

How a run that teaches is found, trained or continued is for `execute`; how outputs are kept,
for `teachers/`. What moves their bits is decided here.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdlsr.config import UserError
from kdlsr.config.compose import relative_to_here
from kdlsr.data.prepare import Streams, data_identity
from kdlsr.machine.device import AUTOCAST_DTYPES
from kdlsr.machine.environment import describe_environment
from kdlsr.metrics import classification_metrics
from kdlsr.models import build_model
from kdlsr.runs.plan import NUMERICS, Run, TeacherFile, canonical
from kdlsr.runs.session import Session
from kdlsr.teachers.live import LiveTeacher
from kdlsr.teachers.storage import FOLDER, OutputFolder
from kdlsr.teachers.stored import StoredTeacher
from kdlsr.teachers.weights import load_weights
from kdlsr.training.checkpoint import checkpoint_digest, read_checkpoint
from kdlsr.training.fit import SoftTargets

KEY_DIGEST = 16  # hex digits: nothing but the key is compared


@dataclass(frozen=True)
class TeacherWeights:
    """Where a teacher's weights are: a run's checkpoint file, or a file from elsewhere."""

    path: Path | None
    origin: dict[str, Any]

    @property
    def name(self) -> str:
        """The teacher's run_id, or its path."""
        return str(self.origin.get("run_id") or self.origin["path"])


@dataclass
class Teaching:
    """A teacher ready to teach.

    Attributes:
        soft_targets: what the loss asks for its logits; None where only the weights are used.
        network: gives the network itself, built when it is first asked for.
        test_logits: (N, K), of the test images.
        top1: their accuracy, percent.
        origin: run_id or path, and epoch, as result.json has them.
    """

    soft_targets: SoftTargets | None
    network: Callable[[], LiveTeacher]
    test_logits: Tensor
    top1: float
    origin: dict[str, Any]


def start_teaching(
    run: Run, source: TeacherWeights | None, streams: Streams, session: Session
) -> Teaching | None:
    """Says how good the teacher is before any student is trained.

    Its network is built only where an output of it is not stored.
    """
    if source is None:
        return None
    network = functools.cache(lambda: _live_teacher(run, source, session))
    stored = _stored_teacher(run, source, streams, network, session)
    test_logits = (stored or network()).predict(streams.test)
    top1 = classification_metrics(test_logits, streams.test.labels).top1
    after = f" after epoch {source.origin['epoch']}" if source.origin["epoch"] else ""
    kept = stored.stored_epochs() if stored else 0
    known = f"; its outputs on {kept} epochs are stored" if kept else ""
    session.say(f"teacher {source.name}{after}: {top1:.2f} % top-1 on the test set{known}")
    soft_targets = (stored or network()) if run.loss.needs_teacher else None
    return Teaching(soft_targets, network, test_logits, top1, source.origin)


# ---------------------------------------------------------------- its outputs, stored


def _stored_teacher(
    run: Run,
    source: TeacherWeights,
    streams: Streams,
    network: Callable[[], LiveTeacher],
    session: Session,
) -> StoredTeacher | None:
    """Returns the teacher with a store for its outputs, where it has some and may have one."""
    teacher = run.config.teacher
    if teacher.store == "off" or not run.loss.needs_teacher:
        return None
    identity = outputs_identity(run, source)
    shape = (streams.train.samples_per_epoch, run.facts.num_classes)
    outputs = OutputFolder(
        relative_to_here(run.config.output_dir) / FOLDER,
        _outputs_key(run, source, identity),
        {
            "teacher": source.name,
            "epoch": source.origin["epoch"],
            "dataset": run.config.dataset.name,
            "data_seed": run.config.data_seed,
            "views": shape[0],
            "classes": shape[1],
            "identity": identity,
        },
        teacher.store_limit_gb,
        session.say,
    )
    return StoredTeacher(network, outputs, shape, teacher.dtype, run.device)


def outputs_identity(run: Run, source: TeacherWeights) -> dict[str, Any]:
    """Returns all that moves the bits of a teacher's outputs on a run's views.

    Neither the student is among it, nor its loss, initialisation or number of epochs; the
    batch size is, since the shape of a batch chooses how it is computed. Threads are torch's
    at the moment of the call.
    """
    config = run.config
    environment = describe_environment(run.device, run.precision, torch.get_num_threads())
    hardware = ["device_type", "device", "torch"]
    if run.device.type == "cpu":
        hardware += ["cpu_capability", "threads"]
    return {
        "numerics": NUMERICS,
        "teacher": _weights_identity(run, source),
        "dtype": config.teacher.dtype,
        "data": data_identity(config.dataset, run.facts),
        "data_seed": config.data_seed,
        "batch_size": config.schedule.batch_size,
        "precision": run.precision,
        "compile": config.compile,
        "deterministic": config.deterministic,
        **{key: environment[key] for key in hardware},
    }


def _weights_identity(run: Run, source: TeacherWeights) -> dict[str, Any]:
    """Returns what tells a teacher's weights from all others, and so its network too."""
    teacher = run.teacher
    if isinstance(teacher, TeacherFile):
        network = {"model": teacher.name, "options": teacher.options}
        identity = {"kind": teacher.kind, "sha256": teacher.sha256, **network}
        uses_timm = teacher.kind == "timm" or teacher.name == "timm"
    else:
        assert teacher is not None
        assert source.path is not None
        # A run made again elsewhere has its id and other bits: its checkpoint tells.
        identity = {**source.origin, "sha256": checkpoint_digest(source.path)}
        uses_timm = teacher.config.model.name == "timm"
    return identity | ({"timm": version("timm")} if uses_timm else {})


def _outputs_key(run: Run, source: TeacherWeights, identity: dict[str, Any]) -> str:
    digest = hashlib.sha256(canonical(identity).encode()).hexdigest()[:KEY_DIGEST]
    if isinstance(run.teacher, Run):
        shown = f"{run.teacher.run_id}-e{source.origin['epoch']}"
    else:
        shown = f"{run.config.dataset.name}-{run.config.teacher.name}"
    return f"{shown}-d{run.config.data_seed}-{digest}"


# ---------------------------------------------------------------- its network


def _live_teacher(run: Run, source: TeacherWeights, session: Session) -> LiveTeacher:
    # It may be built in the middle of a student's training, whose random numbers it leaves be.
    with torch.random.fork_rng(devices=[]):
        model = _teacher_model(run, source, session)
    autocast = AUTOCAST_DTYPES.get(run.precision)
    return LiveTeacher(model, run.config.teacher.dtype, run.device, autocast)


def _teacher_model(run: Run, source: TeacherWeights, session: Session) -> torch.nn.Module:
    teacher = run.teacher
    if isinstance(teacher, Run):
        model = teacher.build_model()
        assert source.path is not None
        model.load_state_dict(read_checkpoint(source.path)["model"])
        return model
    assert isinstance(teacher, TeacherFile)
    if teacher.kind == "timm":
        return _timm_pretrained(teacher.name)
    model = build_model(
        teacher.name,
        teacher.options,
        spec=run.facts.spec,
        num_classes=run.facts.num_classes,
        dataset=run.config.dataset.name,
    )
    assert teacher.path is not None
    match = load_weights(model, teacher.path)
    session.say(f"teacher.path={teacher.path}: {match}")
    return model


def _timm_pretrained(name: str) -> torch.nn.Module:
    import timm

    try:
        model: torch.nn.Module = timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"teacher.architecture={name}: its pretrained weights cannot be had here "
            f"({str(error).splitlines()[0]})"
        ) from error
    return model
