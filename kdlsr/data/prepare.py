"""From a data set's config to streams of views: split, subset, normalisation, device."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kdlsr.config import UserError, build
from kdlsr.config.schema import DatasetConfig
from kdlsr.data.source import Facts, ImageSet, Source, datasets
from kdlsr.data.split import stratified_split, stratified_subset
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.data.views import ViewMaker, recipe

Report = Callable[[str, int, int], None]
EVAL_BATCH_SIZE = 1000
RESIDENT_SHARE = 0.4  # of a GPU's free memory that a data set may take


@dataclass(frozen=True)
class Streams:
    """A run's data: training views, and plain validation and test images."""

    train: TrainStream
    validation: EvalStream | None
    test: EvalStream


def source_of(config: DatasetConfig) -> Source:
    """Returns the data set that a config names, its own options checked.

    Raises:
        UserError: unknown data set, views or option.
    """
    recipe(config.views)
    return build(datasets.get(config.name), config.options, "dataset")


def facts_of(config: DatasetConfig) -> Facts:
    """Returns what is known of the data set without decoding it.

    Raises:
        UserError: its files are missing or do not make a data set; `mean` or `std` do not
            fit its channels.
    """
    facts = _facts_once(source_of(config))
    for key in ("mean", "std"):
        values = getattr(config, key)
        channels = facts.spec.normalised_channels
        if values is not None and len(values) != channels:
            raise UserError(
                f"dataset.{key} has {len(values)} values; {config.name} has "
                f"{channels} channels (null: computed from the training images)"
            )
    return facts


@functools.cache
def _facts_once(source: Source) -> Facts:
    """A folder is looked through once in a process: a sweep has many runs on the same one."""
    return source.facts()


def data_identity(config: DatasetConfig, facts: Facts) -> dict[str, Any]:
    """Returns all that decides which views a run sees, for its identity; no paths."""
    return {
        "fingerprint": facts.fingerprint,
        "input": [facts.spec.kind, *dataclasses.astuple(facts.spec)],
        "views": repr(recipe(config.views).steps),
        "normalisation": [config.mean, config.std],
        "validation": [config.val_fraction, config.split_seed] if config.val_fraction else None,
        "subset": [config.subset, config.split_seed] if config.subset else None,
    }


def load_streams(
    config: DatasetConfig,
    *,
    data_seed: int,
    batch_size: int,
    device: torch.device,
    report: Report,
) -> Streams:
    """Loads a data set (downloading or decoding it the first time) and makes its streams.

    Raises:
        UserError: it can be neither found nor downloaded, or a file of it is damaged.
    """
    train, test = _load_once(source_of(config), facts_of(config).fingerprint, report)
    everything = np.arange(len(train.labels))
    kept, held_out = everything, everything[:0]
    if config.val_fraction:
        kept, held_out = stratified_split(train.labels, config.val_fraction, config.split_seed)
    if config.subset is not None:
        if config.subset > len(kept):
            raise UserError(f"dataset.subset={config.subset}: there are {len(kept)} images")
        kept = kept[stratified_subset(train.labels[kept], config.subset, config.split_seed)]
    mean, std = _normalisation(config, train, kept)

    def maker(images: ImageSet) -> ViewMaker:
        return ViewMaker(
            images.pixels, mean, std, device, resident=_fits(images.pixels.nbytes, device)
        )

    train_maker = maker(train)
    return Streams(
        train=TrainStream(
            train_maker, train.labels, kept, recipe(config.views), data_seed, batch_size
        ),
        validation=EvalStream(train_maker, train.labels, held_out, EVAL_BATCH_SIZE)
        if config.val_fraction
        else None,
        test=EvalStream(maker(test), test.labels, np.arange(len(test.labels)), EVAL_BATCH_SIZE),
    )


def _normalisation(
    config: DatasetConfig, train: ImageSet, kept: np.ndarray[Any, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if config.mean is not None and config.std is not None:
        return config.mean, config.std
    mean, std = _channel_moments(train, kept)
    return config.mean or mean, config.std or std


def _channel_moments(
    images: ImageSet, kept: np.ndarray[Any, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel in units of 0..1, exact (integer sums)."""
    channels = images.pixels.shape[-1]
    total = np.zeros(channels, dtype=np.int64)
    squares = np.zeros(channels, dtype=np.int64)
    count = 0
    for start in range(0, len(kept), 4096):
        pixels = images.pixels[kept[start : start + 4096]].reshape(-1, channels).astype(np.int64)
        total += pixels.sum(0)
        squares += (pixels**2).sum(0)
        count += len(pixels)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _fits(size: int, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size * 4 / 3 < RESIDENT_SHARE * free


# A sweep's runs in one process share what was loaded; two data sets at most are held.
_loaded: dict[tuple[Source, str], tuple[ImageSet, ImageSet]] = {}


def _load_once(source: Source, fingerprint: str, report: Report) -> tuple[ImageSet, ImageSet]:
    key = (source, fingerprint)
    if key not in _loaded:
        while len(_loaded) >= 2:
            _loaded.pop(next(iter(_loaded)))
        _loaded[key] = source.load(report)
    return _loaded[key]
