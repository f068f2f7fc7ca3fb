"""A run's kept features, `test_features.npz`, as they are read back from its folder."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kdlsr.runs.folder import FEATURES, DamagedFile, RunFolder
from kdlsr.runs.result import RunResult


@dataclass(frozen=True)
class KeptFeatures:
    """What a network's last layer was given of the test samples after the last epoch.

    Attributes:
        features: (N, D), float32.
        weight: (K, D), float32, of the last layer.
        bias: (K,), float32.
        labels: (N,), int64.
    """

    features: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def read_features(folder: RunFolder, result: RunResult) -> KeptFeatures | None:
    """Returns what a run kept with `keep_features=true`; None where it kept nothing.

    Raises:
        DamagedFile: it is not what the result vouches for.
    """
    if FEATURES not in result.files:
        return None
    try:
        with np.load(io.BytesIO(folder.vouched(result, FEATURES)), allow_pickle=False) as found:
            return KeptFeatures(*(found[name] for name in ("features", "weight", "bias", "labels")))
    except (ValueError, KeyError) as error:
        raise DamagedFile(f"{folder.path / FEATURES} is not what kdlsr writes there") from error
