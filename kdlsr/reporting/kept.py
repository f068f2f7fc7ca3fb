"""What complete runs kept of their test sets, as studies read it: None where it cannot be read."""

import torch
from torch import Tensor

from kdlsr.reporting.summary import RunSummary
from kdlsr.runs.confidence import read_logits
from kdlsr.runs.features import KeptFeatures, read_features
from kdlsr.runs.folder import DamagedFile, RunFolder


def kept_features(run: RunSummary) -> KeptFeatures | None:
    """Returns a run's features; None where it kept none, or where they are damaged."""
    if run.folder is None or run.result is None:
        return None
    try:
        return read_features(run.folder, run.result)
    except DamagedFile:
        return None


def logits_of(folder: RunFolder | None) -> tuple[Tensor, Tensor] | None:
    """Returns the test logits and labels of the complete run in a folder, if it kept them."""
    result = folder.result() if folder else None
    if folder is None or result is None:
        return None
    try:
        return read_logits(folder, result, "test_logits.npz")
    except DamagedFile:
        return None


def teacher_folder(run: RunSummary) -> RunFolder | None:
    """Returns the folder of a run's teacher, where that taught with its last epoch."""
    teacher = run.card.teacher
    if teacher is None or teacher.run_id is None or teacher.epoch != "last" or run.folder is None:
        return None
    return RunFolder(run.folder.path.parent / teacher.run_id, teacher.run_id)


def has_all(classes: int, labels: Tensor) -> bool:
    """Whether each class has a sample."""
    return bool(torch.bincount(labels, minlength=classes).all())
