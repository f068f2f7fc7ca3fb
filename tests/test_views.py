"""Views: equal to torchvision's on PIL images pixel for pixel, replayable, independent."""

import functools

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as pil_functional
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import InterpolationMode

from kdlsr.config import UserError
from kdlsr.data.draws import Draws, Purpose, draw, permutation, words
from kdlsr.data.views import (
    RECIPES,
    Flip,
    PadCrop,
    Rotate,
    Step,
    ViewMaker,
    ViewRecipe,
    recipe,
)

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
CPU = torch.device("cpu")
IMAGES = 3000
CIFAR_MEAN, CIFAR_STD = (0.50707, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615)


@functools.cache
def photographs(size: int) -> np.ndarray:
    """scikit-learn's two photographs, cut into overlapping tiles: (IMAGES, size, size, 3)."""
    tiles = [
        photo[top : top + size, left : left + size]
        for photo in load_sample_images().images
        for top in range(0, photo.shape[0] - size, 9)
        for left in range(0, photo.shape[1] - size, 9)
    ]
    chosen = np.random.default_rng(0).permutation(len(tiles))[:IMAGES]
    return np.stack([tiles[i] for i in chosen])


def noise(n: int, size: int, channels: int) -> np.ndarray:
    shape = (n, size, size, channels)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def smooth(n: int, size: int, channels: int) -> np.ndarray:
    """Waves of random direction and phase: every pixel differs a little from its neighbours."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:size, :size]
    wave = rng.uniform(-0.3, 0.3, (3, n, 1, 1, channels))
    phase = wave[0] * x[..., None] + wave[1] * y[..., None] + 20 * wave[2]
    return (127.5 + 127 * np.sin(phase)).astype(np.uint8)


def in_units_of_pixels(pixels: np.ndarray, device: str | torch.device = "cpu") -> ViewMaker:
    """A maker whose views are exactly the pixels' values: mean 0, std 1/255."""
    channels = pixels.shape[-1]
    return ViewMaker(pixels, (0.0,) * channels, (1 / 255,) * channels, device)


def by_torchvision(pixels: np.ndarray, draws: Draws, i: int) -> np.ndarray:
    """One view by torchvision's functions on a PIL image, in the recipe's order."""
    height, width, channels = pixels.shape
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    for step in draws.recipe.steps:
        if isinstance(step, PadCrop):
            image = pil_functional.pad(image, step.padding, fill=0)
            top, left = int(draws.top[i]), int(draws.left[i])
            image = pil_functional.crop(image, top, left, height, width)
        elif isinstance(step, Flip):
            image = pil_functional.hflip(image) if draws.flip[i] else image
        else:
            angle = float(draws.angle[i])
            image = pil_functional.rotate(image, angle, InterpolationMode.NEAREST, fill=0)
    return np.array(image).reshape(height, width, channels)


def count_differing_pixels(pixels: np.ndarray, draws: Draws) -> int:
    ours = in_units_of_pixels(pixels).views(np.arange(len(pixels)), draws)
    theirs = np.stack([by_torchvision(pixels[i], draws, i) for i in range(len(pixels))])
    return int((ours.permute(0, 2, 3, 1).numpy() != theirs).sum())


def same_draws(name: str, n: int, **given: object) -> Draws:
    """Draws that leave the images as they are, but for what is given."""
    r = recipe(name)
    values = {"top": r.padding, "left": r.padding, "flip": False, "angle": 0.0} | given
    return Draws(r, **{key: np.full(n, value) for key, value in values.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["cifar", "tiny_imagenet"])
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_views_of_photographs_equal_torchvisions_pixel_for_pixel(name, size, channels):
    pixels = photographs(size)[..., :channels]
    assert len(pixels) == IMAGES
    assert count_differing_pixels(pixels, draw(recipe(name), IMAGES, data_seed=5, epoch=3)) == 0


@pytest.mark.parametrize("make", [noise, smooth])
@pytest.mark.parametrize("name", ["shift", "crop_flip", "cifar", "tiny_imagenet"])
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3), (64, 1)])
def test_views_of_synthetic_images_equal_torchvisions_pixel_for_pixel(make, name, size, channels):
    pixels = make(300, size, channels)
    assert count_differing_pixels(pixels, draw(recipe(name), 300, data_seed=0, epoch=0)) == 0


@pytest.mark.parametrize(
    "steps",
    [
        (Rotate(15.0), Flip()),
        (Flip(), Rotate(15.0)),
        (Flip(), PadCrop(3), Rotate(180.0)),
        (PadCrop(4), Rotate(45.0), Flip()),
        (PadCrop(40), Flip()),
    ],
)
def test_steps_compose_in_any_supported_order(steps: tuple[Step, ...]):
    draws = draw(ViewRecipe("test", steps), 400, data_seed=1, epoch=0)
    assert count_differing_pixels(noise(400, 32, 3), draws) == 0
    assert count_differing_pixels(noise(400, 30, 3)[:, :21], draws) == 0


@pytest.mark.parametrize("name", ["cifar", "tiny_imagenet"])
@pytest.mark.parametrize("size", [31, 32, 64])
def test_special_angles_equal_torchvisions(name, size):
    edges = [0.0, 1e-300, 1e-12, 1e-6, 0.001, 0.1, 1.0, 14.999999999, 15.0, 20.0, 30.0, 45.0, 60.0]
    angles = np.array(
        [sign * a for a in [*edges, 89.9, 90.0, 180.0, 270.0, 360.0] for sign in (1, -1)]
    )
    n = len(angles)
    for flip in (False, True):
        for offset in (0, recipe(name).padding, 2 * recipe(name).padding):
            draws = Draws(
                recipe(name),
                top=np.full(n, offset),
                left=np.full(n, 2 * recipe(name).padding - offset),
                flip=np.full(n, flip),
                angle=angles,
            )
            assert count_differing_pixels(noise(n, size, 3), draws) == 0


def test_a_step_twice_or_a_crop_after_the_rotation_is_refused():
    with pytest.raises(ValueError, match="twice"):
        ViewRecipe("test", (Flip(), Flip()))
    with pytest.raises(ValueError, match="after a rotation"):
        ViewRecipe("test", (Rotate(5.0), PadCrop(2)))
    with pytest.raises(ValueError, match="padding"):
        PadCrop(-1)


def test_recipes_are_those_of_the_papers():
    assert recipe("cifar").steps == (PadCrop(4), Flip(0.5), Rotate(15.0))
    assert recipe("tiny_imagenet").steps == (Rotate(20.0), Flip(0.5))
    assert recipe("none").steps == ()
    assert all(name == r.name for name, r in RECIPES.items())
    with pytest.raises(UserError, match=r"dataset\.views=cifr: no such option; nearest: cifar"):
        recipe("cifr")


@pytest.mark.parametrize("channels", [1, 3])
def test_normalisation_follows_the_zero_fill_and_is_that_of_totensor_and_normalize(channels):
    pixels = noise(64, 32, channels)
    mean, std = CIFAR_MEAN[:channels], CIFAR_STD[:channels]
    draws = draw(recipe("cifar"), 64, 0, 0)
    views = ViewMaker(pixels, mean, std, CPU).views(np.arange(64), draws)
    for i in range(64):
        image = pil_functional.to_tensor(by_torchvision(pixels[i], draws, i))
        expected = pil_functional.normalize(image, list(mean), list(std))
        torch.testing.assert_close(views[i], expected, rtol=0, atol=1e-6)
    exact = (pixels / 255 - np.array(mean)) / np.array(std)
    plain = ViewMaker(pixels, mean, std, CPU).plain(slice(None)).permute(0, 2, 3, 1).double()
    assert np.abs(plain.numpy() - exact).max() < 1e-6


@pytest.mark.parametrize("name", ["none", "shift", "cifar", "tiny_imagenet"])
def test_views_that_change_nothing_are_the_plain_images_bit_for_bit(name):
    maker = ViewMaker(noise(50, 32, 3), CIFAR_MEAN, CIFAR_STD, CPU)
    chosen = np.array([3, 3, 49, 0, 17])
    plain = maker.plain(torch.from_numpy(chosen))
    assert torch.equal(maker.views(chosen, same_draws(name, 5)), plain)
    assert torch.equal(plain, maker.plain(slice(None))[chosen])
    assert torch.equal(maker.plain(slice(10, 40, 3)), maker.plain(slice(None))[10:40:3])


@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_float32_nchw_in_channels_last_memory(channels):
    maker = in_units_of_pixels(noise(10, 20, channels)[:, :16])
    for batch in (maker.plain(slice(0, 4)), maker.views([1, 2, 3, 4], same_draws("cifar", 4))):
        assert batch.shape == (4, channels, 16, 20)
        assert batch.dtype == torch.float32
        assert batch.is_contiguous(memory_format=torch.channels_last)


def test_views_come_in_the_dtype_asked_for():
    maker = ViewMaker(noise(4, 8, 1), (0.5,), (0.25,), CPU, torch.bfloat16)
    assert maker.plain(slice(None)).dtype == torch.bfloat16


def test_a_maker_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="3 channels"):
        ViewMaker(noise(2, 8, 3), (0.5,), (0.25,), CPU)
    with pytest.raises(ValueError, match="uint8"):
        ViewMaker(noise(2, 8, 3).astype(np.float32), (0.5,) * 3, (0.25,) * 3, CPU)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 images and 3 draws"):
        in_units_of_pixels(noise(9, 8, 3)).views(np.arange(2), same_draws("cifar", 3))


def test_an_index_out_of_range_is_an_error_not_another_image():
    maker = in_units_of_pixels(noise(9, 8, 3))
    for index in (9, -2, 10**6):
        with pytest.raises(IndexError):
            maker.views(np.array([0, index]), same_draws("cifar", 2))
        with pytest.raises(IndexError):
            maker.plain(np.array([0, index]))


def test_a_view_is_the_same_in_any_batch_and_with_any_number_of_threads():
    maker = ViewMaker(noise(600, 32, 3), CIFAR_MEAN, CIFAR_STD, CPU)
    draws = draw(recipe("cifar"), 600, 0, 0)
    everything = np.arange(600)
    together = maker.views(everything, draws)
    for rows in (everything[::-1].copy(), np.array([7]), np.array([599, 7, 7, 0]), everything[1:]):
        assert torch.equal(maker.views(rows, draws.of(rows)), together[rows])
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert torch.equal(maker.views(everything, draws), together)
    finally:
        torch.set_num_threads(before)


def test_more_than_two_billion_pixels_are_addressed_by_wider_integers_to_the_same_effect():
    maker = in_units_of_pixels(noise(40, 16, 3))
    rows, draws = np.arange(40), draw(recipe("cifar"), 40, 0, 0)
    narrow = maker.views(rows, draws)
    maker._index_dtype = torch.int64  # what a maker of so many pixels chooses
    assert torch.equal(maker.views(rows, draws), narrow)


def test_a_maker_made_under_inference_mode_serves_training():
    with torch.inference_mode():
        maker = ViewMaker(noise(8, 8, 3), CIFAR_MEAN, CIFAR_STD, CPU)
        maker.plain(slice(None))
    views = maker.views(np.arange(8), draw(recipe("cifar"), 8, 0, 0))
    weight = torch.ones(3, requires_grad=True)
    (views.mean((0, 2, 3)) * weight).sum().backward()
    assert weight.grad is not None


def test_pixels_kept_off_the_device_give_the_same_views():
    pixels = noise(40, 16, 3)
    draws = draw(recipe("cifar"), 40, 0, 0)
    resident = ViewMaker(pixels, CIFAR_MEAN, CIFAR_STD, CPU)
    # To torch "cpu:0" is another device than "cpu": batches take the way that they take to a GPU.
    kept_off = ViewMaker(pixels, CIFAR_MEAN, CIFAR_STD, "cpu:0", resident=False)
    assert kept_off.pixel_device != kept_off.device
    rows = np.arange(40)
    assert torch.equal(resident.views(rows, draws), kept_off.views(rows, draws))
    assert torch.equal(resident.plain(rows), kept_off.plain(slice(None)))


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("name", ["none", "cifar", "tiny_imagenet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpus_views_equal_the_cpus_bit_for_bit(resident, name, channels):
    pixels = noise(500, 32, channels)
    mean, std = CIFAR_MEAN[:channels], CIFAR_STD[:channels]
    draws, rows = draw(recipe(name), 500, 0, 0), np.arange(500)
    ours = ViewMaker(pixels, mean, std, "cuda", resident=resident)
    views = ours.views(rows, draws)
    assert views.device.type == "cuda"
    assert views.is_contiguous(memory_format=torch.channels_last)
    on_cpu = ViewMaker(pixels, mean, std, CPU)
    assert torch.equal(views.cpu(), on_cpu.views(rows, draws))
    assert torch.equal(ours.plain(slice(None)).cpu(), on_cpu.plain(slice(None)))


def test_the_random_words_and_the_order_are_pinned():
    assert [hex(w) for w in words(Purpose.ORDER, (0, 0), 4)] == [
        "0x57994a7db8f816c6",
        "0x93967384228b3028",
        "0x162ed305c3fe6350",
        "0xa2b235f1c8da1be9",
    ]
    assert permutation(10, 0, 0).tolist() == [8, 7, 4, 2, 6, 5, 9, 0, 1, 3]
    assert permutation(10, 1, 2).tolist() == [4, 5, 9, 6, 7, 1, 0, 8, 2, 3]


def test_the_drawn_parameters_are_pinned():
    draws = draw(recipe("cifar"), 4, data_seed=1, epoch=2)
    assert draws.top.tolist() == [4, 5, 7, 0]
    assert draws.left.tolist() == [2, 0, 4, 5]
    assert draws.flip.tolist() == [False, False, False, False]
    np.testing.assert_allclose(
        draws.angle, [12.87208432, -8.77126548, 0.31628426, 4.00908887], rtol=0, atol=1e-8
    )


def test_draws_leave_the_global_generator_alone():
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    draw(recipe("cifar"), 100, 0, 0)
    permutation(100, 0, 0)
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[arg-type]


def test_order_is_a_permutation_replayed_for_equal_and_other_for_different_seed_or_epoch():
    base = permutation(1000, 3, 7)
    assert base.dtype == np.int64
    assert np.array_equal(np.sort(base), np.arange(1000))
    assert np.array_equal(base, permutation(1000, 3, 7))
    for other in (permutation(1000, 4, 7), permutation(1000, 3, 8), permutation(1000, 7, 3)):
        assert (other == base).sum() < 10


def test_views_replay_for_equal_and_differ_for_different_seed_or_epoch():
    maker = in_units_of_pixels(noise(200, 32, 3))

    def views(seed: int, epoch: int) -> torch.Tensor:
        return maker.views(np.arange(200), draw(recipe("cifar"), 200, seed, epoch))

    assert torch.equal(views(3, 7), views(3, 7))
    for other in ((4, 7), (3, 8), (7, 3)):
        unchanged = (views(3, 7) == views(*other)).flatten(1).all(1)
        assert not unchanged.any()


def test_seeds_of_all_63_bits_count():
    assert not np.array_equal(permutation(100, 2**62, 0), permutation(100, 2**62 + 1, 0))


def test_order_and_views_come_from_different_words():
    assert not set(words(Purpose.ORDER, (0, 0), 4000)) & set(words(Purpose.VIEWS, (0, 0), 4000))


def test_a_samples_draw_depends_neither_on_the_number_of_samples_nor_on_the_recipe():
    few, many = draw(recipe("cifar"), 10, 0, 0), draw(recipe("cifar"), 1000, 0, 0)
    for name in ("top", "left", "flip", "angle"):
        assert np.array_equal(getattr(few, name), getattr(many, name)[:10])
    without_rotation = draw(recipe("crop_flip"), 1000, 0, 0)
    assert np.array_equal(without_rotation.top, many.top)
    assert np.array_equal(without_rotation.flip, many.flip)
    assert not without_rotation.angle.any()


def test_draws_have_the_distributions_of_torchvisions_transforms():
    n = 100_000
    draws = draw(recipe("cifar"), n, 0, 0)
    assert abs(draws.flip.mean() - 0.5) < 0.008  # 5 standard deviations
    for offsets in (draws.top, draws.left):
        counts = np.bincount(offsets, minlength=9)
        assert len(counts) == 9
        assert np.abs(counts / n - 1 / 9).max() < 0.005
    share, _ = np.histogram(draws.angle, bins=10, range=(-15, 15))
    assert share.sum() == n
    assert np.abs(share / n - 0.1).max() < 0.005
    together = np.corrcoef([draws.top, draws.left, draws.flip, draws.angle])
    assert np.abs(together - np.eye(4)).max() < 0.016


def test_a_recipe_without_a_step_draws_nothing_for_it():
    draws = draw(recipe("none"), 100, 0, 0)
    assert not draws.top.any()
    assert not draws.left.any()
    assert not draws.flip.any()
    assert not draws.angle.any()
