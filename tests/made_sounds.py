"""Trees of short tones, as people have recordings."""

import csv
import wave
from pathlib import Path
from typing import Any

import numpy as np

RATE = 8000
GENRES = ["blues", "classical", "country", "disco", "hiphop"]
GENRES += ["jazz", "metal", "pop", "reggae", "rock"]
# Small enough for milliseconds: 16 bands by 17 frames.
SMALL = {"rate": RATE, "seconds": 0.128, "mels": 16, "n_fft": 128, "hop": 64}
SMALL_OVERRIDES = [f"dataset.{key}={value}" for key, value in SMALL.items()]


def tone(hz: float, seconds: float = 0.128, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """A tone that decays, with a little noise: (n,), in [-1, 1]."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return 0.6 * np.sin(2 * np.pi * hz * time) * np.exp(-4 * time) + 0.02 * noise


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Writes 16 bits a sample, with Python's own writer; (n,) or (n, channels)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return path


def make_beeps(root: Path, train: int = 4, test: int = 2) -> Path:
    """So many tones of each of three pitches to train and to test on."""
    for split, count in (("train", train), ("test", test)):
        for label, name in enumerate(("high", "low", "middle")):
            for number in range(count):
                hz = (2800, 300, 900)[label] * (1 + 0.02 * number)
                seed = 100 * label + 10 * number + count
                write_wav(root / split / name / f"{number}.wav", tone(hz, seed=seed))
    return root


def make_fsdd(root: Path, speakers: tuple[str, ...] = ("ann", "bob"), takes: int = 7) -> Path:
    for digit in range(10):
        for number, speaker in enumerate(speakers):
            for index in range(takes):
                hz = 200 * (digit + 1) * (1 + 0.05 * number + 0.01 * index)
                seed = 100 * digit + 10 * number + index
                path = root / "recordings" / f"{digit}_{speaker}_{index}.wav"
                write_wav(path, tone(hz, seconds=0.06 + 0.01 * index, seed=seed))
    return root


def make_esc_folders(root: Path, classes: int = 10) -> Path:
    for label in range(classes):
        for fold in range(1, 6):
            path = root / f"{label + 1:03} - sound" / f"{fold}-{label}{fold}-A.wav"
            write_wav(path, tone(150 * (label + 1), seconds=0.05, seed=label))
    return root


def make_esc_listed(root: Path, classes: int = 50) -> Path:
    rows: list[list[Any]] = [["filename", "fold", "target", "category", "esc10", "src_file"]]
    for target in range(classes):
        for fold in range(1, 6):
            name = f"{fold}-{target}-A-{target}.wav"
            write_wav(root / "audio" / name, tone(60 * (target + 1), seconds=0.03, seed=target))
            rows.append([name, fold, target, f"sound{target}", target % 5 == 0, target])
    (root / "meta").mkdir()
    with (root / "meta" / "esc50.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def make_gtzan(root: Path, suffix: str = ".wav", tracks: int = 5) -> Path:
    """`root` is the folder of the genres; tracks are numbered from 50, jazz.00054 among them."""
    import soundfile

    for label, genre in enumerate(GENRES):
        (root / genre).mkdir(parents=True)
        for number in range(50, 50 + tracks):
            samples = tone(200 * (label + 1), seconds=0.05, seed=100 * label + number)
            path = root / genre / f"{genre}.{number:05}{suffix}"
            soundfile.write(path, samples, RATE, format=suffix[1:].upper(), subtype="PCM_16")
    return root
