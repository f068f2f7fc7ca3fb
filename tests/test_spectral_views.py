"""Views of spectrograms: shifts and masks, replayed by (row, epoch, data seed), in any batch."""

import numpy as np
import pytest
import torch

from kdlsr.config import UserError, build
from kdlsr.config.inputs import ImageSpec, SpectrogramSpec
from kdlsr.data.image_samples import ImageSamples
from kdlsr.data.normalisation import Normalisation
from kdlsr.data.recipe import ViewRecipe, read_recipe
from kdlsr.data.spectrograms import Spectrograms
from kdlsr.data.view_steps import view_steps

BANDS, FRAMES, COUNT = 12, 20, 300
CPU = torch.device("cpu")
AUDIO = [{"time_shift": {"frames": 3}}, {"time_mask": {"frames": 5, "count": 2}}]
AUDIO += [{"frequency_mask": {"bands": 4}}]


def samples_of(views, bands: int = BANDS, frames: int = FRAMES, count: int = COUNT) -> ImageSamples:
    """Spectrograms without a silent point, in units of their bytes."""
    pixels = np.random.default_rng(0).integers(1, 256, (count, bands, frames, 1), dtype=np.uint8)
    content = Spectrograms(pixels, np.zeros(count, dtype=np.int64))
    recipe = read_recipe(views)
    spec = SpectrogramSpec(bands, frames)
    return content.samples(spec, Normalisation((0.0,), (1 / 255,)), recipe, CPU)


def views_of(samples: ImageSamples, rows=None, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    rows = np.arange(samples.count) if rows is None else np.array(rows)
    return samples.views(rows, seed, epoch)(slice(None))


def plain(samples: ImageSamples) -> torch.Tensor:
    return samples.plain(np.arange(samples.count))(slice(None))


def test_a_shift_moves_in_time_alone_and_lets_silence_in() -> None:
    samples = samples_of([{"time_shift": {"frames": 3}}])
    drawn = samples.recipe.draw(COUNT, 0, 0).parameters["time_shift"][0]
    assert sorted(set(drawn)) == [-3, -2, -1, 0, 1, 2, 3]
    padded = np.pad(plain(samples).numpy(), ((0, 0), (0, 0), (0, 0), (3, 3)))
    views = views_of(samples)
    for row, by in enumerate(drawn.astype(int)):
        assert np.array_equal(views[row], padded[row, :, :, 3 + by : 3 + by + FRAMES])


def test_a_crop_is_a_part_of_the_sound_anywhere() -> None:
    samples = samples_of([{"time_crop": {"frames": 6}}])
    shares = samples.recipe.draw(COUNT, 0, 0).parameters["time_crop"][0]
    begins = (shares * (FRAMES - 6 + 1)).astype(int)
    assert set(begins) == set(range(FRAMES - 6 + 1))
    before, views = plain(samples), views_of(samples)
    assert views.shape == (COUNT, 1, BANDS, 6)
    assert views.is_contiguous(memory_format=torch.channels_last)
    for row, begin in enumerate(begins):
        assert torch.equal(views[row], before[row, :, :, begin : begin + 6])
    longer = samples_of([{"time_crop": {"frames": 99}}])
    assert torch.equal(views_of(longer), before)


def test_a_crop_composes_with_shifts_flips_and_masks() -> None:
    """What a shift before it let in is silent in it; what follows it stays inside of it."""
    steps = [
        {"time_shift": {"frames": 5}},
        {"time_crop": {"frames": 8}},
        {"flip": {"probability": 1}},
    ]
    samples = samples_of([*steps, {"time_mask": {"frames": 3}}])
    drawn = samples.recipe.draw(COUNT, 0, 0).parameters
    shifts = drawn["time_shift"][0].astype(int)
    begins = (drawn["time_crop"][0] * (FRAMES - 8 + 1)).astype(int)
    padded = np.pad(plain(samples).numpy(), ((0, 0), (0, 0), (0, 0), (5, 5)))
    views = views_of(samples).numpy()
    for row in range(COUNT):
        first = 5 + shifts[row] + begins[row]
        expected = padded[row, :, :, first : first + 8][..., ::-1].copy()
        width = int(drawn["time_mask"][0, row])
        begin = int(drawn["time_mask"][1, row] * (8 - width + 1))
        expected[..., begin : begin + width] = 0
        assert np.array_equal(views[row], expected)


@pytest.mark.parametrize(
    ("step", "option", "axis"), [("time_mask", "frames", 3), ("frequency_mask", "bands", 2)]
)
def test_a_mask_silences_whole_lines_and_nothing_else(step: str, option: str, axis: int) -> None:
    samples = samples_of([{step: {option: 4}}])
    before, after = plain(samples), views_of(samples)
    size, other = before.shape[axis], 5 - axis
    silent = (after == 0).all(dim=other).squeeze(1)
    widths, begins = samples.recipe.draw(COUNT, 0, 0).parameters[step]
    for row in range(COUNT):
        begin = int(begins[row] * (size - widths[row] + 1))
        expected = np.zeros(size, dtype=bool)
        expected[begin : begin + int(widths[row])] = True
        assert np.array_equal(silent[row], expected)
    changed = (before != after).any(dim=other).squeeze(1)
    assert torch.equal(changed, silent)


def test_masks_are_spread_as_specaugments() -> None:
    """Widths uniform in 0..F, begins uniform where the mask fits."""
    step = build(view_steps.get("frequency_mask"), {"bands": 3}, "")
    n = 40_000
    drawn = step.draw(step.words_of("frequency_mask", n, 1, 2))
    widths, begins = drawn[0], np.floor(drawn[1] * (8 - drawn[0] + 1))
    np.testing.assert_allclose(np.bincount(widths.astype(int)) / n, 0.25, atol=0.02)
    for width in range(4):
        chosen = begins[widths == width].astype(int)
        np.testing.assert_allclose(np.bincount(chosen) / len(chosen), 1 / (9 - width), atol=0.02)


def test_one_mask_more_leaves_the_others_where_they_were() -> None:
    one, three = (
        read_recipe([{"time_mask": {"frames": 9, "count": count}}]).draw(50, 3, 4)
        for count in (1, 3)
    )
    for single, several in zip(
        one.parameters["time_mask"].reshape(2, 1, 50),
        three.parameters["time_mask"].reshape(2, 3, 50),
        strict=True,
    ):
        assert np.array_equal(single[0], several[0])


def test_a_mask_wider_than_the_spectrogram_silences_no_more_than_it() -> None:
    samples = samples_of([{"frequency_mask": {"bands": 1000, "count": 4}}])
    assert views_of(samples).shape == (COUNT, 1, BANDS, FRAMES)


def test_views_replay_by_row_epoch_and_seed_in_any_batch() -> None:
    samples = samples_of(AUDIO)
    whole = views_of(samples, seed=5, epoch=2)
    assert torch.equal(views_of(samples_of(AUDIO), seed=5, epoch=2), whole)
    chosen = [7, 7, 299, 0, 120]
    assert torch.equal(views_of(samples, chosen, 5, 2), whole[chosen])
    parts = samples.views(np.arange(COUNT), 5, 2)
    halves = torch.cat([parts(slice(0, 151)), parts(slice(151, None))])
    assert torch.equal(halves, whole)
    assert not torch.equal(views_of(samples, seed=5, epoch=3), whole)
    assert not torch.equal(views_of(samples, seed=6, epoch=2), whole)
    assert samples.on_device


def test_a_step_draws_the_same_whatever_else_the_recipe_has() -> None:
    whole = read_recipe(AUDIO).draw(COUNT, 1, 1).parameters
    for step in AUDIO:
        (name,) = step
        alone = read_recipe([step]).draw(COUNT, 1, 1).parameters[name]
        assert np.array_equal(alone, whole[name])


def test_masks_come_after_shifts_and_take_spectrograms_alone() -> None:
    with pytest.raises(UserError, match="put time_shift before frequency_mask"):
        read_recipe(list(reversed(AUDIO)))
    recipe = read_recipe("audio")
    recipe.check_takes(SpectrogramSpec(32, 32), "fsdd")
    for name in recipe.steps:
        only = ViewRecipe({name: recipe.steps[name]})
        with pytest.raises(UserError, match=f"{name} takes spectrograms; dataset=digits gives ima"):
            only.check_takes(ImageSpec(8, 8, 1), "digits")


@pytest.mark.parametrize(
    ("bands", "frames", "at_once"),
    [(32, 32, 1000), (64, 64, 1000), (64, 216, 303), (128, 1292, 25)],
)
def test_large_spectrograms_are_evaluated_fewer_at_once(
    bands: int, frames: int, at_once: int
) -> None:
    assert samples_of([], bands, frames, count=2).evaluation_batch_size == at_once
