"""A teacher whose weights are in a file: ours, a bare state dict, or a foreign code base's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdlsr.config import UserError
from kdlsr.config.compose import option, relative_to_here
from kdlsr.config.encoding import Encoder
from kdlsr.config.schema import ModelConfig, as_plain, read_config
from kdlsr.data import Facts
from kdlsr.data.normalisation import Normalisation, check_normalisation
from kdlsr.data.recipe import read_recipe
from kdlsr.files import stream_digest
from kdlsr.models import (
    build_model,
    check_builds,
    encoder_of,
    identity_of_options,
    library_versions,
    options_without_tensors,
)
from kdlsr.teachers.archives import check_is_no_archive, opened
from kdlsr.teachers.teacher import LoadedNetwork, Student, Teacher, kinds, said_of_teacher
from kdlsr.teachers.weights import load_weights


@dataclass(frozen=True, kw_only=True)
class FileTeacher(Teacher):
    """Weights in a file.

    Attributes:
        path: of the file, which may lie in a tar archive.
        sha256: of its bytes.
        dataset, facts: the student's data set, for which the network is built.
        normalisation: of the pixels it was trained on; None: what the file says, if it does.
        key, prefix: which of the tensors in the file are meant; None: where such files have them.
    """

    path: Path
    sha256: str
    dataset: str
    facts: Facts
    normalisation: Normalisation | None
    key: str | None
    prefix: str | None

    @property
    def encoder(self) -> Encoder | None:
        return encoder_of(self.network.name, self.network.options)

    @property
    def name(self) -> str:
        return str(self.path)

    def identity(self, *, with_seeds: bool) -> Mapping[str, Any]:  # noqa: ARG002
        found: dict[str, Any] = {"kind": self.kind, "sha256": self.sha256}
        found["model"] = self.network.name
        found["options"] = identity_of_options(self.network.name, self.network.options)
        if self.normalisation is not None:
            found["normalisation"] = [self.normalisation.mean, self.normalisation.std]
        chosen = {"key": self.key, "prefix": self.prefix}
        return found | {name: value for name, value in chosen.items() if value is not None}

    def weights_identity(self, checkpoint: Path | None) -> Mapping[str, Any]:  # noqa: ARG002
        return {**self.identity(with_seeds=True), **library_versions(self.network.name)}

    def load(self, checkpoint: Path | None) -> LoadedNetwork:  # noqa: ARG002
        model = build_model(
            self.network.name,
            self.network.options,
            spec=self.facts.spec,
            num_classes=self.facts.num_classes,
            dataset=self.dataset,
        )
        match = load_weights(model, self.path, key=self.key, prefix=self.prefix)
        remark = f"teacher.path={self.path}: {match}{self._unseen()}"
        return LoadedNetwork(model, self.normalisation or match.normalisation, remark)

    def _unseen(self) -> str:
        """Names the options that no tensor tells, as they may be another's network's."""
        unseen = options_without_tensors(self.network.name, self.network.options)
        others = " or ".join(f"model.{option}" for option in unseen)
        return f"; a network with {others} has the same tensors, and other logits" if others else ""


@kinds.register("checkpoint")
def checkpoint(
    *,
    student: Student,
    path: str,
    model: str | None = None,
    key: str | None = None,
    prefix: str | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> FileTeacher:
    """Finds a file of weights.

    Args:
        student: who is taught.
        path: of the file; of one in a tar archive, the archive's and then its own there:
            `teachers.tar/resnet32x4/last.pth`.
        model: the network in it; null: the student's. `teacher.overrides` sets its options.
        key: of the state dict in it, dotted (`state_dict_ema`, `ema.module`); null: where such
            files have it, an average of weights only if there is no other.
        prefix: take only the tensors whose names begin so (`student.`); null: all.
        mean: of the pixels it was trained on, per channel in units of 0..1; null, with `std`: what
            a file of ours says, else the student's.
        std: likewise.

    Raises:
        UserError: there is no such file, or no such network; a mean or a std that is none.
    """
    file = relative_to_here(path)
    source = f"teacher.path={path}"
    with opened(file, source) as content:
        check_is_no_archive(content, source)
        sha256 = stream_digest(content)
    network = _network(student, model)
    facts = student.facts
    dataset = student.config.dataset.name
    with said_of_teacher("checkpoint"):
        check_builds(
            network.name,
            network.options,
            spec=facts.spec,
            num_classes=facts.num_classes,
            dataset=dataset,
            views=read_recipe(student.config.dataset.views).gives(facts.spec),
        )
    return FileTeacher(
        kind="checkpoint",
        epoch=student.config.teacher.epoch,
        network=network,
        path=file,
        sha256=sha256,
        dataset=dataset,
        facts=facts,
        normalisation=_normalisation(mean, std, student),
        key=key,
        prefix=prefix,
    )


def _network(student: Student, model: str | None) -> ModelConfig:
    """Returns the student's network, or the one that is named, with the overrides' options."""
    plain = as_plain(student.config)
    if model is not None:
        plain["model"] = _option_of_teacher(model)
    overrides = student.config.teacher.overrides
    for override in overrides:
        if override.section != "model":
            raise UserError(f"teacher.overrides: {override} does not change the model")
    return read_config(overrides.apply_to(plain, "teacher.overrides")).model


def _option_of_teacher(model: str) -> dict[str, Any]:
    try:
        return option("model", model)
    except UserError as error:
        raise UserError(
            str(error).replace(f"model={model}", f"teacher.model={model}", 1)
        ) from error


def _normalisation(
    mean: tuple[float, ...] | None, std: tuple[float, ...] | None, student: Student
) -> Normalisation | None:
    if (mean is None) != (std is None):
        raise UserError("teacher.mean and teacher.std go together")
    name = student.config.dataset.name
    check_normalisation({"mean": mean, "std": std}, student.facts.spec, "teacher", name)
    return None if mean is None or std is None else Normalisation(mean, std)
