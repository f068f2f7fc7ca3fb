"""How fast views are made on one core, against torchvision's transforms on PIL images.

    python tests/benchmarks/views.py

CIFAR-sized images (32x32, RGB), padding, crop, flip, rotation and normalisation, float32, one
thread each. `stream` is what training calls: order, draws and plan of the epoch, views, labels.
`lookup` stops before unpacking and normalisation. `pil` is torchvision's functional pad, crop,
hflip, rotate, to_tensor and normalize, image by image, and a stack per batch; its random numbers
are drawn beforehand. All are timed in turns, so that a machine whose speed drifts slows each.
The last line is one JSON object:

    images_per_second_per_core   the stream at a batch of 128, median
    over_pil                     the stream over PIL, median of the turns' ratios
"""

import argparse
import statistics
from collections.abc import Callable

import numpy as np
import torch
import torchvision.transforms.functional as pil_functional
from machine import describe
from PIL import Image
from torchvision.transforms import InterpolationMode
from turns import Contestant, finish, in_turns, ratio, show

from kdlsr.config.inputs import ImageSpec
from kdlsr.data import Images
from kdlsr.data.draws import permutation
from kdlsr.data.image_samples import ImageSamples
from kdlsr.data.normalisation import Normalisation
from kdlsr.data.recipe import read_recipe
from kdlsr.data.stream import TrainStream

SIZE, PADDING = 32, 4
MEAN, STD = (0.50707, 0.48655, 0.44092), (0.26733, 0.25644, 0.27615)
BATCHES = (128, 512, 1024)


def our_stream(samples: ImageSamples, batch: int) -> Callable[[int], None]:
    stream = TrainStream(samples, np.arange(samples.count), 0, batch)

    def epoch(number: int) -> None:
        for _ in stream.epoch(number):
            pass

    return epoch


def our_lookup(samples: ImageSamples, batch: int) -> Callable[[int], None]:
    """The stream's work up to the looked-up bytes."""

    def epoch(number: int) -> None:
        order = permutation(samples.count, 0, number)
        table = samples.recipe.draw(samples.count, 0, number).of(order).table((SIZE, SIZE))
        plan = torch.from_numpy(np.concatenate([order[None].astype(np.int32), table]))
        for start in range(0, samples.count, batch):
            samples._looked_up(plan[:, start : start + batch], SIZE)

    return epoch


def by_pil(pixels: np.ndarray, batch: int) -> Callable[[int], None]:
    images = [Image.fromarray(image) for image in pixels]

    def view(image: Image.Image, top: int, left: int, flip: bool, angle: float) -> torch.Tensor:
        image = pil_functional.crop(
            pil_functional.pad(image, PADDING, fill=0), top, left, SIZE, SIZE
        )
        image = pil_functional.hflip(image) if flip else image
        image = pil_functional.rotate(image, angle, InterpolationMode.NEAREST, fill=0)
        return pil_functional.normalize(pil_functional.to_tensor(image), MEAN, STD)

    def epoch(number: int) -> None:
        drawn = read_recipe("cifar").draw(len(images), 0, number).parameters
        top, left = drawn["pad_crop"].astype(int).tolist()
        flip, angle = drawn["flip"][0].tolist(), drawn["rotate"][0].tolist()
        arguments = list(zip(images, top, left, flip, angle, strict=True))
        for start in range(0, len(images), batch):
            torch.stack([view(*given) for given in arguments[start : start + batch]])

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=50_000, help="of ours, per epoch")
    parser.add_argument("--pil-images", type=int, default=5_000, help="of PIL's, per epoch")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (options.images, SIZE, SIZE, 3), dtype=np.uint8)
    images = Images(pixels, np.zeros(len(pixels), dtype=np.int64))
    spec, cpu = ImageSpec(SIZE, SIZE, 3), torch.device("cpu")
    samples = images.samples(spec, Normalisation(MEAN, STD), read_recipe("cifar"), cpu)
    print(describe(), "1 thread", sep="; ")
    contestants = {
        f"stream, batch {b}": _contestant(our_stream(samples, b), options.images) for b in BATCHES
    }
    contestants["lookup, batch 128"] = _contestant(our_lookup(samples, 128), options.images)
    pil_images = pixels[: options.pil_images]
    contestants["pil, batch 128"] = _contestant(by_pil(pil_images, 128), len(pil_images))
    found = in_turns(contestants, options.rounds)
    show(found)
    ours = found["stream, batch 128"]
    finish(
        {
            "images_per_second_per_core": round(statistics.median(ours)),
            "over_pil": ratio(ours, found["pil, batch 128"]),
        }
    )


def _contestant(epoch: Callable[[int], None], images: int) -> Contestant:
    number = iter(range(1000))  # each turn another epoch: nothing is left over from the last
    return Contestant(lambda: epoch(next(number)), images)


if __name__ == "__main__":
    main()
