"""Views: equal to torchvision's on PIL images pixel for pixel, replayable, independent."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as pil_functional
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import InterpolationMode

from kdlsr.config import UserError
from kdlsr.config.inputs import ImageSpec
from kdlsr.data.draws import Purpose, permutation, words
from kdlsr.data.image_samples import ImageSamples
from kdlsr.data.images import Images
from kdlsr.data.normalisation import Normalisation
from kdlsr.data.recipe import Draws, ViewRecipe, read_recipe
from kdlsr.data.view_steps.flip import Flip
from kdlsr.data.view_steps.pad_crop import PadCrop
from kdlsr.data.view_steps.rotate import Rotate

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
CPU = torch.device("cpu")
VIEWS = Path(__file__).resolve().parents[1] / "conf" / "views"
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


def samples_of(
    pixels: np.ndarray, mean=CIFAR_MEAN, std=CIFAR_STD, device=CPU, views="none", **options
) -> ImageSamples:
    channels = pixels.shape[-1]
    normalisation = Normalisation(mean[:channels], std[:channels])
    images = Images(pixels, np.zeros(len(pixels), dtype=np.int64))
    spec = ImageSpec(*pixels.shape[1:])
    recipe = views if isinstance(views, ViewRecipe) else read_recipe(views)
    return ImageSamples(images, spec, normalisation, recipe, device, **options)


def in_units_of_pixels(pixels: np.ndarray) -> ImageSamples:
    """Samples whose views are exactly the pixels' values: mean 0, std 1/255."""
    return samples_of(pixels, (0.0,) * 3, (1 / 255,) * 3)


def views_of(samples: ImageSamples, rows, draws: Draws) -> torch.Tensor:
    return samples.drawn(rows, draws)(slice(None))


def plain(samples: ImageSamples, rows=None) -> torch.Tensor:
    return samples.plain(np.arange(samples.count) if rows is None else rows)(slice(None))


def draw(views, n: int, data_seed: int, epoch: int) -> Draws:
    recipe = views if isinstance(views, ViewRecipe) else read_recipe(views)
    return recipe.draw(n, data_seed, epoch)


def by_torchvision(pixels: np.ndarray, draws: Draws, i: int) -> np.ndarray:
    """One view by torchvision's functions on a PIL image, in the recipe's order."""
    height, width, channels = pixels.shape
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    for name, step in draws.recipe.steps.items():
        drawn = draws.parameters[name][:, i].tolist()
        if isinstance(step, PadCrop):
            image = pil_functional.pad(image, step.padding, fill=0)
            top, left = map(int, drawn)
            image = pil_functional.crop(image, top, left, height, width)
        elif isinstance(step, Flip):
            image = pil_functional.hflip(image) if drawn[0] else image
        else:
            image = pil_functional.rotate(image, drawn[0], InterpolationMode.NEAREST, fill=0)
    return np.array(image).reshape(height, width, channels)


def count_differing_pixels(pixels: np.ndarray, draws: Draws) -> int:
    ours = views_of(in_units_of_pixels(pixels), np.arange(len(pixels)), draws)
    theirs = np.stack([by_torchvision(pixels[i], draws, i) for i in range(len(pixels))])
    return int((ours.permute(0, 2, 3, 1).numpy() != theirs).sum())


def padding_of(name: str) -> int:
    step = read_recipe(name).steps.get("pad_crop")
    return step.padding if isinstance(step, PadCrop) else 0


def given_draws(name: str, n: int, top=None, left=None, flip=False, angle=0.0) -> Draws:
    """Draws that leave the images as they are, but for what is given."""
    recipe, centre = read_recipe(name), padding_of(name)
    values = {
        "pad_crop": [centre if top is None else top, centre if left is None else left],
        "flip": [flip],
        "rotate": [angle],
    }
    parameters = {
        step: np.stack([np.broadcast_to(np.float64(v), n) for v in values[step]])
        for step in recipe.steps
    }
    return Draws(recipe, n, parameters)


@pytest.mark.parametrize("name", ["cifar", "tiny_imagenet"])
@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_views_of_photographs_equal_torchvisions_pixel_for_pixel(name, size, channels):
    pixels = photographs(size)[..., :channels]
    assert len(pixels) == IMAGES
    assert count_differing_pixels(pixels, draw(name, IMAGES, data_seed=5, epoch=3)) == 0


@pytest.mark.parametrize("make", [noise, smooth])
@pytest.mark.parametrize("name", ["shift", "crop_flip", "cifar", "tiny_imagenet"])
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3), (64, 1)])
def test_views_of_synthetic_images_equal_torchvisions_pixel_for_pixel(make, name, size, channels):
    pixels = make(300, size, channels)
    assert count_differing_pixels(pixels, draw(name, 300, data_seed=0, epoch=0)) == 0


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
def test_steps_compose_in_any_supported_order(steps):
    recipe = ViewRecipe({type(step).__name__: step for step in steps})
    draws = draw(recipe, 400, data_seed=1, epoch=0)
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
        for top in (0, padding_of(name), 2 * padding_of(name)):
            left = 2 * padding_of(name) - top
            draws = given_draws(name, n, top, left, flip, angles)
            assert count_differing_pixels(noise(n, size, 3), draws) == 0


@pytest.mark.parametrize(
    ("views", "refusal"),
    [
        (["flip", {"flip": {"probability": 0.1}}], "views: flip stands twice, .* same numbers"),
        (
            [{"rotate": {"degrees": 5}}, {"pad_crop": {"padding": 2}}],
            "views: pad_crop after rotate would need a second lookup .* put pad_crop before rotate",
        ),
        (
            [{"pad_crop": {"padding": -1}}],
            r"pad_crop\.padding=-1 is not possible; expected an integer",
        ),
        ([{"flip": {"probability": 2}}], r"flip\.probability=2 is not possible; .*\[0, 1\]"),
        ([{"flip": {"chance": 1}}], r"unknown key dataset\.views: flip\.chance; known: probab"),
        (["rotate"], r"rotate\.degrees is missing"),
        (["flop"], "view step=flop: no such option; nearest: flip"),
        ([{"flip": {}, "rotate": {}}], "is no step; expected NAME, or NAME: OPTIONS"),
        ([{"flip": None}], "flip: None is not possible; expected a mapping"),
        ("cifr", "^dataset.views=cifr: no such option; nearest: cifar"),
    ],
)
def test_an_impossible_recipe_is_refused_in_a_line_that_says_why(views, refusal):
    with pytest.raises(UserError, match=refusal) as refused:
        read_recipe(views)
    assert "\n" not in str(refused.value)


def test_recipes_are_those_of_the_papers():
    cifar = {"pad_crop": PadCrop(4), "flip": Flip(0.5), "rotate": Rotate(15.0)}
    assert list(read_recipe("cifar").steps.items()) == list(cifar.items())
    tiny_imagenet = {"rotate": Rotate(20.0), "flip": Flip(0.5)}
    assert list(read_recipe("tiny_imagenet").steps.items()) == list(tiny_imagenet.items())
    assert read_recipe("shift").steps == {"pad_crop": PadCrop(1)}
    assert read_recipe("crop_flip").steps == {"pad_crop": PadCrop(4), "flip": Flip(0.5)}
    assert read_recipe("none").steps == {}


@pytest.mark.parametrize("path", sorted(VIEWS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_recipe_begins_with_a_command_that_names_it(path: Path):
    first = path.read_text().splitlines()[0]
    assert first.startswith("# python -m kdlsr.train ")
    assert f"dataset.views={path.stem}" in first
    read_recipe(path.stem)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalisation_follows_the_zero_fill_and_is_that_of_totensor_and_normalize(channels):
    pixels = noise(64, 32, channels)
    mean, std = CIFAR_MEAN[:channels], CIFAR_STD[:channels]
    draws = draw("cifar", 64, 0, 0)
    views = views_of(samples_of(pixels), np.arange(64), draws)
    for i in range(64):
        image = pil_functional.to_tensor(by_torchvision(pixels[i], draws, i))
        expected = pil_functional.normalize(image, list(mean), list(std))
        torch.testing.assert_close(views[i], expected, rtol=0, atol=1e-6)
    exact = (pixels / 255 - np.array(mean)) / np.array(std)
    ours = plain(samples_of(pixels)).permute(0, 2, 3, 1).double()
    assert np.abs(ours.numpy() - exact).max() < 1e-6


@pytest.mark.parametrize("name", ["none", "shift", "cifar", "tiny_imagenet"])
def test_views_that_change_nothing_are_the_plain_images_bit_for_bit(name):
    samples = samples_of(noise(50, 32, 3))
    chosen = np.array([3, 3, 49, 0, 17])
    unchanged = plain(samples, chosen)
    assert torch.equal(views_of(samples, chosen, given_draws(name, 5)), unchanged)
    assert torch.equal(unchanged, plain(samples)[chosen])
    assert torch.equal(samples.plain(chosen)(slice(1, 4)), unchanged[1:4])


@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_float32_nchw_in_channels_last_memory(channels):
    samples = in_units_of_pixels(noise(10, 20, channels)[:, :16])
    rows = np.arange(4)
    for batch in (plain(samples, rows), views_of(samples, rows, given_draws("cifar", 4))):
        assert batch.shape == (4, channels, 16, 20)
        assert batch.dtype == torch.float32
        assert batch.is_contiguous(memory_format=torch.channels_last)


def test_views_come_in_the_dtype_asked_for():
    samples = samples_of(noise(4, 8, 1), dtype=torch.bfloat16)
    assert plain(samples).dtype == torch.bfloat16


def test_samples_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="3 channels"):
        samples_of(noise(2, 8, 3), (0.5,), (0.25,))
    with pytest.raises(ValueError, match="uint8"):
        samples_of(noise(2, 8, 3).astype(np.float32))
    with pytest.raises(ValueError, match="2 images and 3 draws"):
        views_of(in_units_of_pixels(noise(9, 8, 3)), np.arange(2), given_draws("cifar", 3))
    with pytest.raises(ValueError, match="cannot normalise"):
        Normalisation((0.5,), (0.0,))


def test_a_row_out_of_range_is_an_error_not_another_image():
    samples = in_units_of_pixels(noise(9, 8, 3))
    for row in (9, -2, 10**6):
        with pytest.raises(IndexError):
            views_of(samples, np.array([0, row]), given_draws("cifar", 2))
        with pytest.raises(IndexError):
            plain(samples, np.array([0, row]))


def test_a_view_is_the_same_in_any_batch_and_with_any_number_of_threads():
    samples = samples_of(noise(600, 32, 3))
    draws = draw("cifar", 600, 0, 0)
    everything = np.arange(600)
    together = views_of(samples, everything, draws)
    for rows in (everything[::-1].copy(), np.array([7]), np.array([599, 7, 7, 0]), everything[1:]):
        assert torch.equal(views_of(samples, rows, draws.of(rows)), together[rows])
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert torch.equal(views_of(samples, everything, draws), together)
    finally:
        torch.set_num_threads(before)


def test_more_than_two_billion_pixels_are_addressed_by_wider_integers_to_the_same_effect():
    samples = in_units_of_pixels(noise(40, 16, 3))
    rows, draws = np.arange(40), draw("cifar", 40, 0, 0)
    narrow = views_of(samples, rows, draws)
    samples._place_dtype = torch.int64  # what samples of so many pixels choose
    assert torch.equal(views_of(samples, rows, draws), narrow)


def test_samples_made_under_inference_mode_serve_training():
    with torch.inference_mode():
        samples = samples_of(noise(8, 8, 3))
        plain(samples)
    views = views_of(samples, np.arange(8), draw("cifar", 8, 0, 0))
    weight = torch.ones(3, requires_grad=True)
    (views.mean((0, 2, 3)) * weight).sum().backward()
    assert weight.grad is not None


def test_pixels_kept_off_the_device_give_the_same_views():
    pixels = noise(40, 16, 3)
    draws = draw("cifar", 40, 0, 0)
    resident = samples_of(pixels)
    # To torch "cpu:0" is another device than "cpu": batches take the way that they take to a GPU.
    kept_off = samples_of(pixels, device="cpu:0", resident=False)
    assert kept_off.pixel_device != kept_off.device
    assert (resident.on_device, kept_off.on_device) == (True, False)
    rows = np.arange(40)
    assert torch.equal(views_of(resident, rows, draws), views_of(kept_off, rows, draws))
    assert torch.equal(plain(resident), plain(kept_off))


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("name", ["none", "cifar", "tiny_imagenet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpus_views_equal_the_cpus_bit_for_bit(resident, name, channels):
    pixels = noise(500, 32, channels)
    draws, rows = draw(name, 500, 0, 0), np.arange(500)
    ours = samples_of(pixels, device="cuda", resident=resident)
    views = views_of(ours, rows, draws)
    assert views.device.type == "cuda"
    assert views.is_contiguous(memory_format=torch.channels_last)
    on_cpu = samples_of(pixels)
    assert torch.equal(views.cpu(), views_of(on_cpu, rows, draws))
    assert torch.equal(plain(ours).cpu(), plain(on_cpu))


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
    drawn = draw("cifar", 4, data_seed=1, epoch=2).parameters
    assert drawn["pad_crop"].tolist() == [[4, 5, 7, 0], [2, 0, 4, 5]]
    assert drawn["flip"].tolist() == [[0, 0, 0, 0]]
    np.testing.assert_allclose(
        drawn["rotate"][0], [12.87208432, -8.77126548, 0.31628426, 4.00908887], rtol=0, atol=1e-8
    )


def test_draws_leave_the_global_generator_alone():
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    draw("cifar", 100, 0, 0)
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
    samples = in_units_of_pixels(noise(200, 32, 3))

    def views(seed: int, epoch: int) -> torch.Tensor:
        return views_of(samples, np.arange(200), draw("cifar", 200, seed, epoch))

    assert torch.equal(views(3, 7), views(3, 7))
    for other in ((4, 7), (3, 8), (7, 3)):
        unchanged = (views(3, 7) == views(*other)).flatten(1).all(1)
        assert not unchanged.any()


def test_seeds_of_all_63_bits_count():
    assert not np.array_equal(permutation(100, 2**62, 0), permutation(100, 2**62 + 1, 0))


def test_order_and_views_come_from_different_words():
    assert not set(words(Purpose.ORDER, (0, 0), 4000)) & set(words(Purpose.VIEWS, (0, 0), 4000))


def test_a_samples_draw_depends_neither_on_the_number_of_samples_nor_on_the_recipe():
    few, many = draw("cifar", 10, 0, 0), draw("cifar", 1000, 0, 0)
    assert list(few.parameters) == ["pad_crop", "flip", "rotate"]
    for name, drawn in few.parameters.items():
        assert np.array_equal(drawn, many.parameters[name][:, :10])
    without_rotation = draw("crop_flip", 1000, 0, 0)
    assert list(without_rotation.parameters) == ["pad_crop", "flip"]
    for name, drawn in without_rotation.parameters.items():
        assert np.array_equal(drawn, many.parameters[name])


def test_draws_have_the_distributions_of_torchvisions_transforms():
    n = 100_000
    drawn = draw("cifar", n, 0, 0).parameters
    (top, left), (flip,), (angle,) = drawn["pad_crop"], drawn["flip"], drawn["rotate"]
    assert abs(flip.mean() - 0.5) < 0.008  # 5 standard deviations
    for offsets in (top, left):
        counts = np.bincount(offsets.astype(int), minlength=9)
        assert len(counts) == 9
        assert np.abs(counts / n - 1 / 9).max() < 0.005
    share, _ = np.histogram(angle, bins=10, range=(-15, 15))
    assert share.sum() == n
    assert np.abs(share / n - 0.1).max() < 0.005
    together = np.corrcoef([top, left, flip, angle])
    assert np.abs(together - np.eye(4)).max() < 0.016


def test_a_recipe_without_a_step_draws_nothing_for_it():
    assert draw("none", 100, 0, 0).parameters == {}
