"""Splits and subsets: stratified, disjoint, complete, and a function of labels and seed only."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.config.schema import DatasetConfig
from kdlsr.data.dataset import Dataset, Facts, datasets, quiet
from kdlsr.data.images import Images
from kdlsr.data.prepare import load_streams
from kdlsr.data.split import stratified_split, stratified_subset
from kdlsr.files.download import Progress


def uneven_labels() -> np.ndarray:
    """Classes 0..4 of 5, 10, 40, 100 and 345 samples, shuffled."""
    labels = np.repeat(np.arange(5), [5, 10, 40, 100, 345])
    return np.random.default_rng(0).permutation(labels)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.1, 0.25, 0.5, 0.99])
def test_the_parts_of_a_split_are_sorted_disjoint_and_complete(fraction):
    labels = uneven_labels()
    kept, held_out = stratified_split(labels, fraction, 0)
    for part in (kept, held_out):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    assert np.array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(labels)))


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.0, [0, 0, 0, 0, 0]),
        (0.01, [1, 1, 1, 1, 3]),
        (0.1, [1, 1, 4, 10, 35]),
        (0.5, [3, 5, 20, 50, 173]),
        (0.99, [4, 9, 39, 99, 342]),
    ],
)
def test_each_class_gives_its_share_at_least_one_and_never_all(fraction, expected):
    labels = uneven_labels()
    _, held_out = stratified_split(labels, fraction, 0)
    assert np.bincount(labels[held_out], minlength=5).tolist() == expected


def test_the_only_image_of_a_class_is_trained_on():
    kept, held_out = stratified_split([0, 0, 0, 1], 0.5, 0)
    assert 3 in kept
    assert len(held_out) == 2


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match="cannot be held out"):
        stratified_split([0, 1], fraction, 0)


def test_a_split_and_a_subset_are_pinned():
    kept, held_out = stratified_split(np.arange(20) % 2, 0.3, split_seed=0)
    assert held_out.tolist() == [0, 7, 8, 13, 17, 18]
    assert kept.tolist() == [1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 14, 15, 16, 19]
    assert stratified_subset(np.arange(20) % 3, 5, split_seed=0).tolist() == [4, 5, 9, 16, 18]


def test_a_split_depends_on_its_seed_and_on_no_global_state():
    labels = uneven_labels()
    first = stratified_split(labels, 0.2, 3)[1]
    np.random.seed(123)
    torch.manual_seed(123)
    assert np.array_equal(first, stratified_split(labels, 0.2, 3)[1])
    assert not np.array_equal(first, stratified_split(labels, 0.2, 4)[1])


def test_a_larger_fraction_holds_out_what_a_smaller_one_does_and_more():
    labels = uneven_labels()
    small, large = (set(stratified_split(labels, f, 0)[1].tolist()) for f in (0.1, 0.3))
    assert small < large


def test_every_sample_is_equally_likely_to_be_held_out():
    labels = np.repeat([0, 1], 50)
    times = np.zeros(100)
    for seed in range(2000):
        times[stratified_split(labels, 0.2, seed)[1]] += 1
    assert np.abs(times / 2000 - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 2000)


def test_split_and_subset_choose_independently():
    labels = np.zeros(10_000, dtype=np.int64)
    held_out = stratified_split(labels, 0.5, 0)[1]
    subset = stratified_subset(labels, 5000, 0)
    assert abs(len(np.intersect1d(held_out, subset)) - 2500) < 5 * 25


@pytest.mark.parametrize("size", [0, 1, 7, 50, 499, 500])
def test_a_subset_has_its_size_and_each_class_its_share(size):
    labels = uneven_labels()
    subset = stratified_subset(labels, size, 0)
    assert subset.dtype == np.int64
    assert len(np.unique(subset)) == size
    assert (np.diff(subset) > 0).all()
    counts = np.bincount(labels[subset], minlength=5)
    assert np.abs(counts - size * np.bincount(labels) / 500).max() < 1


def test_largest_remainders_get_the_samples_left_over():
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    subset = stratified_subset(labels, 7, 0)  # exact shares 1.17, 2.33, 3.5
    assert np.bincount(labels[subset]).tolist() == [1, 2, 4]
    # Equal remainders: the lower class first.
    assert np.bincount(np.arange(30)[stratified_subset(np.arange(30) % 3, 4, 0)] % 3).tolist() == [
        2,
        1,
        1,
    ]


def test_a_subset_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="11 of 10"):
        stratified_subset(np.zeros(10), 11, 0)


def test_labels_need_not_be_consecutive():
    labels = np.repeat([-3, 7, 1000], 10)
    _, held_out = stratified_split(labels, 0.2, 0)
    assert sorted(labels[held_out]) == [-3, -3, 7, 7, 1000, 1000]


def images(labels: list[int]) -> Images:
    return Images(np.zeros((len(labels), 4, 4, 1), dtype=np.uint8), np.array(labels))


@dataclass(frozen=True, kw_only=True)
class Few(Dataset):
    """As few samples as a test wants."""

    labels: tuple[int, ...] = ()
    tested: tuple[int, ...] = (0, 1)

    def facts(self) -> Facts:
        return Facts(ImageSpec(4, 4, 1), 2, f"few-{self.labels}", ("no", "yes"))

    def load(self, progress: Progress = quiet) -> tuple[Images, Images]:
        return images(list(self.labels)), images(list(self.tested))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 1], {"val_fraction": 0.1}, r"dataset\.val_fraction=0\.1 holds nothing out: no class"),
        ([0] * 20 + [1], {"subset": 3}, r"subset=3: 1 classes of few would have no"),
        ([0] * 5 + [1] * 5, {"val_fraction": 0.5, "subset": 9}, r"dataset\.subset=9: there are 4"),
        ([0], {}, "^few has 1 samples to train on; 2 are needed"),
        ([0] * 9, {}, "^dataset=few has nothing to train on of 1 of its 2 classes; the first: yes"),
        (
            [0, 1],
            {"options": {"labels": [0, 1], "tested": []}},
            "^dataset=few has nothing to test on",
        ),
    ],
)
def test_a_split_that_leaves_nothing_to_learn_is_refused_in_one_line(
    monkeypatch, labels, options, message
):
    datasets.names()
    monkeypatch.setitem(datasets._options, "few", Few)
    config = DatasetConfig(**{"name": "few", "options": {"labels": labels}, **options})
    with pytest.raises(UserError, match=message):
        load_streams(config, data_seed=0, batch_size=2, device=torch.device("cpu"), progress=quiet)
