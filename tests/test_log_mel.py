"""Log-mel spectrograms: equal to a naive transform in float64, and to librosa's figures."""

import numpy as np
import pytest
from made_sounds import tone

from kdlsr.data.log_mel import in_bytes, is_silent, log_mel, mel_bands

# librosa 0.11.0: power_to_db(melspectrogram(y, sr=8000, n_fft=512, hop_length=256, n_mels=32,
# pad_mode="constant"), amin=1e-10, top_db=None) of `_chirp`, less its maximum, 0 at -80 dB and 255
# at 0 dB: every fourth band, every second frame.
LIBROSA = [
    *([174, 0, 0, 0], [209, 188, 188, 188], [155, 17, 17, 17], [181, 0, 0, 0]),
    *([154, 230, 42, 0], [127, 0, 185, 210], [110, 0, 0, 0], [97, 70, 70, 70]),
]
# Its mel_frequencies(7, fmin=0, fmax=4000): the corners of five bands.
LIBROSA_CORNERS = [0.0, 390.7, 781.4, 1194.2, 1786.8, 2673.4, 4000.0]


def _chirp() -> np.ndarray:
    time = np.arange(2000) / 8000
    rising = 0.25 * np.sin(2 * np.pi * (1000 + 2000 * time) * time)
    quiet = 0.001 * np.cos(2 * np.pi * 3000 * time)
    return 0.5 * np.sin(2 * np.pi * 440 * time) + rising + quiet


def test_librosas_figures_are_met_within_one_step() -> None:
    ours = in_bytes(log_mel(_chirp(), 8000, n_fft=512, hop=256, mels=32))
    assert ours.shape == (32, 8)
    assert np.abs(ours[::4, ::2].astype(int) - np.array(LIBROSA)).max() <= 1


def test_a_naive_transform_gives_the_same_decibels() -> None:
    samples, rate, n_fft, hop = tone(700, 0.05), 8000, 64, 24
    padded = np.concatenate([np.zeros(32), samples, np.zeros(32)])
    powers = []
    for begin in range(0, len(samples) + 1, hop):
        frame = [
            padded[begin + i] * 0.5 * (1 - np.cos(2 * np.pi * i / n_fft)) for i in range(n_fft)
        ]
        waves = np.exp(-2j * np.pi * np.outer(np.arange(33), np.arange(n_fft)) / n_fft)
        powers.append(np.abs(waves @ np.array(frame)) ** 2)
    weighed = mel_bands(rate, n_fft, 8) @ np.array(powers).T
    expected = 10 * np.log10(np.maximum(weighed, 1e-10))
    ours = log_mel(samples, rate, n_fft=n_fft, hop=hop, mels=8)
    assert ours.shape == (8, 1 + len(samples) // hop)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_bands_are_slaneys_triangles_of_equal_area() -> None:
    bands = mel_bands(8000, 8000, 5)  # a frequency for each Hz
    np.testing.assert_allclose(bands.sum(axis=1), 1, atol=1e-3)
    peaks = bands.argmax(axis=1)
    np.testing.assert_allclose(peaks, LIBROSA_CORNERS[1:-1], atol=1)
    for band, low, high in zip(bands, LIBROSA_CORNERS[:-2], LIBROSA_CORNERS[2:], strict=True):
        assert np.flatnonzero(band)[[0, -1]] == pytest.approx([low, high], abs=1.5)


def test_bytes_are_eighty_decibels_below_the_maximum() -> None:
    decibels = np.array([[-20.0, -100.0, -100.1], [-60.0, -20.16, -20.15]])
    assert in_bytes(decibels).tolist() == [[255, 0, 0], [128, 254, 255]]


def test_silence_is_told_from_what_is_quiet() -> None:
    settings = {"n_fft": 64, "hop": 32, "mels": 8}
    assert is_silent(log_mel(np.zeros(400), 8000, **settings))
    assert not is_silent(log_mel(1e-4 * tone(500, 0.05), 8000, **settings))
