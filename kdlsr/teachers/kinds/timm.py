"""A teacher from timm, with its pretrained weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from kdlsr.config import UserError, nearest
from kdlsr.config.inputs import ImageSpec
from kdlsr.config.schema import ModelConfig
from kdlsr.data.normalisation import Normalisation
from kdlsr.models.classifier import with_classifier
from kdlsr.teachers.teacher import LoadedNetwork, Student, Teacher, kinds


@dataclass(frozen=True, kw_only=True)
class TimmTeacher(Teacher):
    """One of timm's pretrained networks."""

    architecture: str

    @property
    def name(self) -> str:
        return f"timm/{self.architecture}"

    def identity(self, *, with_seeds: bool) -> Mapping[str, Any]:  # noqa: ARG002
        return {"kind": self.kind, "model": self.architecture}

    def weights_identity(self, checkpoint: Path | None) -> Mapping[str, Any]:  # noqa: ARG002
        return {**self.identity(with_seeds=True), "timm": version("timm")}

    def load(self, checkpoint: Path | None) -> LoadedNetwork:  # noqa: ARG002
        import timm

        try:
            model: nn.Module = timm.create_model(self.architecture, pretrained=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"teacher.architecture={self.architecture}: its pretrained weights cannot be had "
                f"here ({str(error).splitlines()[0]})"
            ) from error
        found: Any = model.pretrained_cfg
        model = with_classifier(model, found["num_classes"])
        return LoadedNetwork(model, Normalisation(tuple(found["mean"]), tuple(found["std"])))


@kinds.register("timm")
def timm(*, student: Student, architecture: str) -> TimmTeacher:
    """Finds a network of timm's by its name.

    Args:
        student: who is taught.
        architecture: timm's name of it, with the tag of its weights: `resnet50.a1_in1k`.

    Raises:
        UserError: timm has no such network, or it has other classes than the data set, or
            takes other inputs.
    """
    import timm as library

    if not library.is_model(architecture.partition(".")[0]):
        close = nearest(architecture, library.list_models(pretrained=True))
        raise UserError(f"teacher.architecture={architecture}: not in timm{close}")
    classes = library.get_pretrained_cfg_value(architecture, "num_classes")
    if classes != student.facts.num_classes:
        raise UserError(
            f"teacher.architecture={architecture} has {classes} classes; the data set has "
            f"{student.facts.num_classes}"
        )
    channels = library.get_pretrained_cfg_value(architecture, "input_size")[0]
    if not student.facts.spec.interchangeable(ImageSpec(1, 1, channels)):
        raise UserError(
            f"teacher.architecture={architecture} takes images with {channels} channels; the data "
            f"set gives {student.facts.spec}"
        )
    return TimmTeacher(
        kind="timm",
        epoch=student.config.teacher.epoch,
        network=ModelConfig(name=architecture),
        architecture=architecture,
    )
