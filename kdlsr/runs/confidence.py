"""What a complete run's confidence is worth, from its files: raw and after temperature scaling.

Any finished run can be asked, of whatever data. The temperature is fitted on the samples held out
of training, and applied to the test samples; nothing is trained or written.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdlsr.metrics import (
    Confidence,
    Reliability,
    Temperature,
    confidence_figures,
    fit_temperature,
    reliability,
)
from kdlsr.runs.folder import DamagedFile, RunFolder
from kdlsr.runs.result import RunResult

NO_SPLIT = "no val_logits.npz: no validation split, or a run from before they were kept"


@dataclass(frozen=True)
class RunConfidence:
    """A run's confidence on the test set after its last epoch.

    Attributes:
        raw: of the logits as they are.
        temperature: fitted on the validation samples; None where there are none.
        scaled: of the logits divided by it; None likewise.
        bins, scaled_bins: of the reliability diagram, likewise.
        why_not: why there is no temperature, or none inside of its range, in one line; None
            where there is nothing to say.
    """

    raw: Confidence
    bins: Reliability
    temperature: Temperature | None = None
    scaled: Confidence | None = None
    scaled_bins: Reliability | None = None
    why_not: str | None = None


def read_confidence(folder: RunFolder, result: RunResult) -> RunConfidence | None:
    """Returns the confidence of a complete run; None where it kept no logits.

    Raises:
        DamagedFile: its logits are not those that its result vouches for.
    """
    test = read_logits(folder, result, "test_logits.npz")
    if test is None:
        return None
    raw, bins = confidence_figures(*test), reliability(*test)
    held_out = read_logits(folder, result, "val_logits.npz")
    if held_out is None:
        return RunConfidence(raw, bins, why_not=NO_SPLIT)
    temperature = fit_temperature(*held_out)
    scaled = confidence_figures(*test, temperature.value)
    scaled_bins = reliability(*test, temperature.value)
    return RunConfidence(raw, bins, temperature, scaled, scaled_bins, _remark(temperature))


def read_logits(folder: RunFolder, result: RunResult, name: str) -> tuple[Tensor, Tensor] | None:
    """Returns logits (N, K) and labels (N,) that a run kept; None where it kept none.

    Args:
        folder: the run's.
        result: the run's.
        name: `test_logits.npz` or `val_logits.npz`.

    Raises:
        DamagedFile: they are not what the result vouches for.
    """
    if name not in result.files:
        return None
    try:
        with np.load(io.BytesIO(folder.vouched(result, name)), allow_pickle=False) as found:
            return torch.from_numpy(found["logits"]), torch.from_numpy(found["labels"])
    except (ValueError, KeyError) as error:
        raise DamagedFile(f"{folder.path / name} is not what kdlsr writes there") from error


def _remark(temperature: Temperature) -> str | None:
    if temperature.bound is None:
        return None
    why = {"lowest": "nearly every validation sample is right", "highest": "hardly any is right"}
    return f"the temperature is held at {temperature.value:g}: {why[temperature.bound]}"
