"""How fast a tree of JPEGs becomes arrays, against a bare pool of Pillow's.

    python tests/benchmarks/decoding.py [FOLDER]

FOLDER holds `train/<class>/*` and `test/<class>/*`; without one, 32x32 JPEGs are made. The pool,
of as many forked processes as there are cores (and one of threads, for comparison), opens,
converts and returns arrays, and does nothing else. Ours looks for strays, verifies sizes, writes
a checksummed cache, and before that reads every file for the fingerprint, timed apart. All are
timed in turns, each of ours with an empty cache. `--processor` counts the cores' time instead of
the clock's, children's included, for a machine that is not idle: the seconds are then one core's.
The last line is one JSON object:

    ours_over_pool           decoding alone, images/s over the faster pool's
    with_fingerprint         the same, the fingerprint's reading included
    seconds_60000            that reading and decoding, of 60,000 files
    cores, files
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np
import numpy.typing as npt
from machine import describe
from PIL import Image
from turns import Contestant, finish, in_turns, ratio, show

from kdlsr.config import build
from kdlsr.data.class_folders import train_and_test
from kdlsr.data.decoded import load_decoded
from kdlsr.data.image_files import IMAGES, ImageDecoding
from kdlsr.data.image_folder import ImageFolder
from kdlsr.data.scan import inspect
from kdlsr.machine.cores import available_cores

CHUNK = 256
MADE = 24_000  # files, where there is no folder

Pixels = npt.NDArray[np.uint8]


def decode(paths: list[str]) -> Pixels:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def processes(chunks: list[list[str]]) -> Pixels:
    with Pool(available_cores(), context=multiprocessing.get_context("fork")) as pool:
        return np.concatenate(pool.map(decode, chunks, chunksize=1))


def threads(chunks: list[list[str]]) -> Pixels:
    with ThreadPoolExecutor(available_cores()) as pool:
        return np.concatenate(list(pool.map(decode, chunks)))


def make(root: Path) -> Path:
    """Writes smooth noise: JPEGs of a kilobyte, as photographs of this size are."""
    rng = np.random.default_rng(0)
    for number in range(MADE):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        split = "test" if number % 60 < 10 else "train"
        folder = root / split / f"class-{number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        picture = coarse.resize((32, 32), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:05d}.jpg", quality=90)
    return root


def ours(root: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """Returns what reads a tree for its fingerprint, and what decodes it, from nothing."""
    facts = build(ImageFolder, {"root": str(root)}, "dataset").facts()

    def fingerprint() -> object:
        return inspect(train_and_test(root, IMAGES), remembered=False)

    def load() -> object:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["KDLSR_DATA"] = cache
            decoding = ImageDecoding(facts.spec)
            return load_decoded(train_and_test(root, IMAGES), facts.fingerprint, decoding)

    return fingerprint, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor", action="store_true", help="processor time: a busy machine")
    arguments = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as place:
        os.environ["KDLSR_DATA"] = place
        root = arguments.folder or make(Path(place) / "made")
        tree = train_and_test(root, IMAGES)
        paths = [f"{root}/{path}" for path in (*tree.train.paths, *tree.test.paths)]
        chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
        fingerprint, load = ours(root)
        contestants = {
            "bare pool, processes": Contestant(lambda: processes(chunks), len(paths)),
            "bare pool, threads": Contestant(lambda: threads(chunks), len(paths)),
            "ours, fingerprint": Contestant(fingerprint, len(paths)),
            "ours, decoding": Contestant(load, len(paths)),
        }
        clock = processor_seconds if arguments.processor else time.perf_counter
        found = in_turns(contestants, arguments.rounds, clock)
    show(found, "files/s")
    pools = list(found.values())[: 1 if arguments.processor else 2]  # threads wait, for free
    pool = [max(rates) for rates in zip(*pools, strict=True)]
    reading, decoding = found["ours, fingerprint"], found["ours, decoding"]
    both = [1 / (1 / a + 1 / b) for a, b in zip(reading, decoding, strict=True)]
    finish(
        {
            "ours_over_pool": ratio(decoding, pool),
            "with_fingerprint": ratio(both, pool),
            "seconds_60000": 60_000 / statistics.median(both),
            "clock": "processor" if arguments.processor else "wall",
            "cores": available_cores(),
            "files": len(paths),
        }
    )


def processor_seconds() -> float:
    """Returns what this process and its children, those waited for, have taken of the cores."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
