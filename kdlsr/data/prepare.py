"""From a data set's config to streams of batches: split, subset, normalisation, device."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kdlsr.config import UserError, build
from kdlsr.config.encoding import Encoder
from kdlsr.config.schema import DatasetConfig
from kdlsr.data.dataset import Content, Dataset, Facts, datasets
from kdlsr.data.draws import Rows
from kdlsr.data.normalisation import Normalisation, check_normalisation
from kdlsr.data.recipe import read_recipe
from kdlsr.data.samples import Samples
from kdlsr.data.split import stratified_split, stratified_subset
from kdlsr.data.stream import EvalStream, TrainStream
from kdlsr.files.download import Progress


@dataclass(frozen=True)
class Streams:
    """A run's data: training views, and plain validation and test inputs.

    Attributes:
        train: what is trained on.
        validation: what is held out of that; None: nothing is.
        test: what is tested on.
        more: further test sets, by name.
    """

    train: TrainStream
    validation: EvalStream | None
    test: EvalStream
    more: Mapping[str, EvalStream] = field(default_factory=dict)


def dataset_of(config: DatasetConfig) -> Dataset:
    """Returns the data set that a config names, its own options checked.

    Raises:
        UserError: unknown data set or option.
    """
    return build(datasets.get(config.name), config.options, "dataset")


def facts_of(config: DatasetConfig) -> Facts:
    """Returns what is known of the data set without decoding it.

    Raises:
        UserError: its files are missing or do not make a data set; `mean`, `std` or a step of
            `views` do not fit its inputs.
    """
    recipe = read_recipe(config.views)
    facts = _facts_once(dataset_of(config))
    _check_any(config.name, facts.train, facts.test)
    if config.subset is not None and config.subset < facts.num_classes:
        raise UserError(
            f"dataset.subset={config.subset} is less than one sample for each of the "
            f"{facts.num_classes} classes"
        )
    recipe.check_takes(facts.spec, config.name)
    values = {"mean": config.mean, "std": config.std}
    check_normalisation(values, facts.spec, "dataset", config.name)
    return facts


@functools.cache
def _facts_once(dataset: Dataset) -> Facts:
    """A folder is looked through once in a process: a sweep has many runs on the same one."""
    return dataset.facts()


def data_identity(config: DatasetConfig, facts: Facts) -> dict[str, Any]:
    """Returns all that decides which views a run sees, for its identity; no paths."""
    return {
        "fingerprint": facts.fingerprint,
        "input": [facts.spec.kind, *dataclasses.astuple(facts.spec)],
        "views": read_recipe(config.views).identity(),
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
    progress: Progress,
    encoder: Encoder | None = None,
) -> Streams:
    """Loads a data set (downloading or decoding it the first time) and makes its streams.

    Args:
        config: the data set's.
        data_seed: sets order and views.
        batch_size: samples per step.
        device: where batches are wanted.
        progress: is told of downloads and the like.
        encoder: of a network of texts; None for any other.

    Raises:
        UserError: it can be neither found nor downloaded, or a file of it is damaged.
    """
    facts = facts_of(config)
    train, test = _load_once(dataset_of(config), facts.fingerprint, progress)
    _check_any(config.name, facts.train, len(test.labels))
    kept, held_out = _kept(config, train, facts)
    normalisation = _normalisation(config, train, kept)
    recipe = read_recipe(config.views)

    def samples(content: Content) -> Samples:
        return content.samples(facts.spec, normalisation, recipe, device, encoder)

    def tested(content: Content) -> EvalStream:
        rows = np.arange(len(content.labels))
        return EvalStream(samples(content), rows, with_f1=facts.with_f1)

    trained = samples(train)
    held = EvalStream(trained, held_out, with_f1=facts.with_f1) if config.val_fraction else None
    return Streams(
        train=TrainStream(trained, kept, data_seed, batch_size),
        validation=held,
        test=tested(test),
        more={name: tested(content) for name, content in dataset_of(config).more().items()},
    )


def _check_any(dataset: str, train: int | None, test: int | None) -> None:
    """Refuses a data set with nothing to train or to test on; None: not counted yet."""
    for count, use in ((train, "train"), (test, "test")):
        if count == 0:
            raise UserError(f"dataset={dataset} has nothing to {use} on")


def _kept(config: DatasetConfig, train: Content, facts: Facts) -> tuple[Rows, Rows]:
    """Returns which rows are trained on, and which are held out for validation.

    Raises:
        UserError: a class is left without a sample, or nothing is held out.
    """
    kept = np.arange(len(train.labels))
    held_out = kept[:0]
    if config.val_fraction:
        kept, held_out = stratified_split(train.labels, config.val_fraction, config.split_seed)
        if not len(held_out):
            raise UserError(
                f"dataset.val_fraction={config.val_fraction:g} holds nothing out: no class has "
                "more than one sample, and one of each is trained on"
            )
    if config.subset is not None:
        if config.subset > len(kept):
            raise UserError(f"dataset.subset={config.subset}: there are {len(kept)} samples")
        kept = kept[stratified_subset(train.labels[kept], config.subset, config.split_seed)]
    _check_classes(config, facts, train.labels, train.labels[kept])
    return kept, held_out


def _check_classes(config: DatasetConfig, facts: Facts, labels: Rows, kept: Rows) -> None:
    """Refuses to train on a single sample, or without one of the data set's classes."""
    subset = "" if config.subset is None else f"dataset.subset={config.subset}: "
    if len(kept) < 2:
        raise UserError(f"{subset}{config.name} has {len(kept)} samples to train on; 2 are needed")
    never = np.setdiff1d(np.arange(facts.num_classes), labels)
    if len(never):
        first = facts.class_names[never[0]]
        raise UserError(
            f"dataset={config.name} has nothing to train on of {len(never)} of its "
            f"{facts.num_classes} classes; the first: {first}"
        )
    lost = np.setdiff1d(labels, kept)
    if len(lost):
        raise UserError(f"{subset}{len(lost)} classes of {config.name} would have no sample")


def _normalisation(config: DatasetConfig, train: Content, kept: Rows) -> Normalisation | None:
    if config.mean is not None and config.std is not None:
        return Normalisation(config.mean, config.std)
    moments = train.moments(kept)
    if moments is None:
        return None
    return Normalisation(config.mean or moments.mean, config.std or moments.std)


# A sweep's runs in one process share what was loaded; two data sets at most are held.
_loaded: dict[tuple[Dataset, str], tuple[Content, Content]] = {}


def _load_once(dataset: Dataset, fingerprint: str, progress: Progress) -> tuple[Content, Content]:
    key = (dataset, fingerprint)
    if key not in _loaded:
        while len(_loaded) >= 2:
            _loaded.pop(next(iter(_loaded)))
        _loaded[key] = dataset.load(progress)
    return _loaded[key]
