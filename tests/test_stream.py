"""Streams: which samples come when, as what views, whatever the split, subset or batch size."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kdlsr.config.inputs import ImageSpec
from kdlsr.data import Images
from kdlsr.data.draws import partners, permutation
from kdlsr.data.image_samples import ImageSamples
from kdlsr.data.normalisation import Normalisation
from kdlsr.data.recipe import read_recipe
from kdlsr.data.stream import Batch, EvalStream, TrainStream

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
N = 101
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 16, 16, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 10, N)
EVERYTHING = np.arange(N)


def samples(
    views: str = "cifar", device: str = "cpu", resident: bool = True, batch_size: int = 50
) -> ImageSamples:
    normalisation = Normalisation((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
    spec, recipe = ImageSpec(16, 16, 3), read_recipe(views)
    images = Images(PIXELS, LABELS)
    made = ImageSamples(images, spec, normalisation, recipe, device, resident=resident)
    made.evaluation_batch_size = batch_size
    return made


def plain(rows) -> Tensor:
    return samples().plain(np.asarray(rows))(slice(None))


def train_stream(rows=EVERYTHING, views="cifar", data_seed=0, batch_size=25, **on) -> TrainStream:
    return TrainStream(samples(views, **on), rows, data_seed, batch_size)


def joined(batches: list[Batch]) -> Batch:
    return Batch(*(torch.cat(parts) for parts in zip(*(b[:3] for b in batches), strict=True)))


def by_sample(stream: TrainStream, epoch: int) -> dict[int, Tensor]:
    """Each sample's view in `epoch`, by its row in the original data set."""
    everything = joined(list(stream.epoch(epoch)))
    assert isinstance(everything.inputs, Tensor)
    return dict(zip(everything.rows.tolist(), everything.inputs, strict=True))


def test_an_epoch_shows_every_sample_once_in_the_drawn_order_with_its_label_and_view():
    whole = joined(list(train_stream(batch_size=20, data_seed=4).epoch(2)))
    expected = permutation(N, 4, 2)[:100]
    assert whole.rows.tolist() == expected.tolist()
    assert whole.labels.tolist() == LABELS[expected].tolist()
    assert whole.labels.dtype == whole.rows.dtype == torch.int64
    draws = read_recipe("cifar").draw(N, 4, 2)
    views = samples().drawn(expected, draws.of(expected))(slice(None))
    assert torch.equal(whole.inputs, views)


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (100, 25, [25, 25, 25, 25]),
        (99, 25, [25, 25, 25, 24]),
        (77, 25, [25, 25, 25, 2]),
        (76, 25, [25, 25, 25]),
        (10, 25, [10]),
        (3, 1, [1, 1, 1]),
        (2, 128, [2]),
    ],
)
def test_the_partial_batch_is_kept_unless_it_is_a_single_sample(n, batch_size, sizes):
    stream = train_stream(EVERYTHING[:n], batch_size=batch_size)
    assert [len(batch.labels) for batch in stream.epoch(0)] == sizes
    assert len(stream) == len(sizes)
    assert stream.samples_per_epoch == sum(sizes)


def test_the_dropped_sample_is_another_one_each_epoch():
    stream = train_stream(EVERYTHING[:51], batch_size=25)
    dropped = [set(range(51)) - set(by_sample(stream, epoch)) for epoch in range(4)]
    assert all(len(d) == 1 for d in dropped)
    assert len(set.union(*dropped)) > 1


@pytest.mark.parametrize("rows", [EVERYTHING[:0], EVERYTHING[:1]])
def test_fewer_than_two_samples_are_refused(rows):
    with pytest.raises(ValueError, match="cannot train"):
        train_stream(rows)


def test_an_epoch_replays_whatever_came_before_it():
    stream = train_stream()
    for epoch in range(3):
        list(stream.epoch(epoch))
    again, fresh = joined(list(stream.epoch(1))), joined(list(train_stream().epoch(1)))
    assert all(torch.equal(a, b) for a, b in zip(again[:3], fresh[:3], strict=True))


def test_epochs_and_data_seeds_differ_in_order_and_views():
    views = {
        key: by_sample(train_stream(data_seed=key[0]), key[1]) for key in ((0, 0), (0, 1), (1, 0))
    }
    base = views[0, 0]
    for other in ((0, 1), (1, 0)):
        assert list(views[other]) != list(base)
        common = set(base) & set(views[other])
        assert not any(torch.equal(base[i], views[other][i]) for i in common)


def test_a_samples_view_depends_neither_on_split_nor_subset_nor_batch_size():
    base = by_sample(train_stream(), 3)
    for other in (
        train_stream(EVERYTHING[::2]),
        train_stream(EVERYTHING[40:60]),
        train_stream(batch_size=7),
        train_stream(np.array([5, 90])),
    ):
        for row, view in by_sample(other, 3).items():
            assert row not in base or torch.equal(view, base[row])


def test_a_samples_partner_is_another_one_of_its_class_and_every_other_one_in_time() -> None:
    rows = EVERYTHING[LABELS != 3][::2]
    seen: dict[int, set[int]] = {int(row): set() for row in rows}
    for epoch in range(150):
        found = partners(LABELS, rows, 0, epoch)
        assert (LABELS[found] == LABELS[rows]).all()
        for row, other in zip(rows.tolist(), found.tolist(), strict=True):
            seen[row].add(other)
    classes = {row: set(rows[LABELS[rows] == LABELS[row]].tolist()) for row in seen}
    assert seen == {row: own - {row} or {row} for row, own in classes.items()}


def test_partners_are_drawn_for_epoch_and_data_seed_whatever_else_there_is() -> None:
    first = partners(LABELS, EVERYTHING, 4, 7)
    assert np.array_equal(first, partners(LABELS, EVERYTHING, 4, 7))
    assert not np.array_equal(first, partners(LABELS, EVERYTHING, 4, 8))
    assert not np.array_equal(first, partners(LABELS, EVERYTHING, 5, 7))
    alone = np.array([3, 9, 12])
    assert np.array_equal(partners(np.arange(20), alone, 0, 0), alone)


def test_a_batchs_partners_have_the_views_that_they_have_themselves() -> None:
    stream = train_stream(EVERYTHING[:60])
    own, others = by_sample(stream, 2), partners(LABELS, EVERYTHING[:60], 0, 2)
    for batch in stream.batches(stream.plan(2, with_partners=True)):
        assert isinstance(batch.partners, Tensor)
        for row, view in zip(batch.rows.tolist(), batch.partners, strict=True):
            assert torch.equal(view, own[int(others[row])])
        assert (batch.labels == torch.from_numpy(LABELS[others[batch.rows]])).all()
    assert all(batch.partners is None for batch in stream.epoch(2))


def test_views_named_none_are_the_plain_images():
    for row, view in by_sample(train_stream(views="none"), 0).items():
        assert torch.equal(view, plain([row])[0])


def test_evaluation_shows_the_chosen_samples_in_order_without_augmentation():
    chosen = np.array([7, 3, 50, 100, 0])
    stream = EvalStream(samples(batch_size=2), chosen)
    whole = joined(list(stream))
    assert [len(batch.labels) for batch in stream] == [2, 2, 1]
    assert len(stream) == 3
    assert whole.rows.tolist() == stream.rows.tolist() == chosen.tolist()
    assert whole.labels.tolist() == stream.labels.tolist() == LABELS[chosen].tolist()
    assert torch.equal(whole.inputs, plain(chosen))


@pytest.mark.parametrize("views", ["none", "cifar"])
def test_streams_are_the_same_where_the_pixels_stay_off_the_device(views):
    away = {"device": "cpu:0", "resident": False}  # to torch another device than "cpu"
    ours, expected = train_stream(views=views, **away), train_stream(views=views)
    for a, b in zip(*(joined(list(s.epoch(1)))[:3] for s in (ours, expected)), strict=True):
        assert torch.equal(a, b)
    evaluation = EvalStream(samples(batch_size=10, **away), EVERYTHING[::3])
    near = EvalStream(samples(batch_size=10), EVERYTHING[::3])
    for batch, other in zip(evaluation, near, strict=True):
        assert torch.equal(batch.inputs, other.inputs)


def test_training_after_an_evaluation_under_inference_mode_works():
    stream = train_stream()
    with torch.inference_mode():
        list(EvalStream(stream.samples, EVERYTHING))
    batch = next(stream.epoch(0))
    assert not batch.inputs.is_inference()


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("views", ["none", "cifar"])
def test_a_gpus_stream_equals_the_cpus_and_never_makes_the_host_wait(resident, views):
    stream = train_stream(views=views, device="cuda", resident=resident)
    list(stream.epoch(0))
    batches, evaluation = [], EvalStream(stream.samples, EVERYTHING)
    epoch = stream.epoch(1)
    batches.append(next(epoch))  # the epoch's draws are moved here, once
    try:
        torch.cuda.set_sync_debug_mode("error")
        batches += list(epoch)
        evaluated = list(evaluation)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for ours, expected in (
        (batches, train_stream(views=views).epoch(1)),
        (evaluated, EvalStream(samples(), EVERYTHING)),
    ):
        for a, b in zip(joined(ours)[:3], joined(list(expected))[:3], strict=True):
            assert a.device.type == "cuda"
            assert torch.equal(a.cpu(), b)
