"""A teacher's network made ready to teach, from a run's checkpoint or a file from elsewhere.

How a run that teaches is found, trained or continued is for `execute`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdlsr.config import UserError
from kdlsr.data.prepare import Streams
from kdlsr.metrics import classification_metrics
from kdlsr.models import build_model
from kdlsr.runs.plan import Run, TeacherFile
from kdlsr.runs.session import Session
from kdlsr.teachers import LiveTeacher
from kdlsr.teachers.weights import load_weights
from kdlsr.training.checkpoint import read_checkpoint
from kdlsr.training.hardware import AUTOCAST_DTYPES


@dataclass(frozen=True)
class TeacherWeights:
    """Where a teacher's weights are: a run's checkpoint file, or a file from elsewhere."""

    path: Path | None
    origin: dict[str, Any]


@dataclass
class Teaching:
    """A teacher ready to teach: its logits live and, on the test set, known."""

    network: LiveTeacher
    test_logits: Tensor
    top1: float
    origin: dict[str, Any]  # run_id or path, and epoch, as result.json has them


def start_teaching(
    run: Run, source: TeacherWeights | None, streams: Streams, session: Session
) -> Teaching | None:
    """Loads the teacher and says how good it is before any student is trained."""
    if source is None:
        return None
    network = LiveTeacher(
        _teacher_model(run, source, session),
        run.config.teacher.dtype,
        run.device,
        AUTOCAST_DTYPES.get(run.precision),
    )
    test_logits = network.predict(streams.test)
    top1 = classification_metrics(test_logits, streams.test.labels)["top1"]
    assert top1 is not None
    name = source.origin.get("run_id") or source.origin["path"]
    after = f" after epoch {source.origin['epoch']}" if source.origin["epoch"] else ""
    session.say(f"teacher {name}{after}: {top1:.2f} % top-1 on the test set")
    return Teaching(network, test_logits, top1, source.origin)


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
        num_classes=run.facts.num_classes,
        in_channels=run.facts.channels,
        image_size=run.facts.image_size,
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
