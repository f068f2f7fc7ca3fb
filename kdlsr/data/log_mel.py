"""Log-mel spectrograms: a sound as a picture of its loudness by pitch and time. NumPy only.

float64 throughout, on the CPU, so that what is rounded to bytes in the end is the same on every
machine but for ties. librosa's numbers (its defaults: Slaney's mel scale, its area-normalised
triangles, centred frames) to 1e-6 dB; librosa itself would cost 2 s of import and 250 MB.
"""

import functools

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FLOOR = 1e-10  # the least power that is told from silence
RANGE = 80.0  # dB below a clip's maximum that are kept
LINEAR_TO = 1000.0  # Hz; above it the mel scale is logarithmic
HZ_PER_MEL = 200 / 3
LOG_STEP = np.log(6.4) / 27


def log_mel(samples: Floats, rate: int, *, n_fft: int, hop: int, mels: int) -> Floats:
    """Returns the loudness of a sound in mel bands.

    10 log10(max(p, 1e-10)) of p, the power of the short-time Fourier transform (periodic Hann
    window, frames centred on every `hop`-th sample, zeros beyond the ends) weighed by the bands.

    Args:
        samples: (n,), in [-1, 1].
        rate: samples in a second.
        n_fft: samples of a frame, even.
        hop: samples from one frame to the next.
        mels: bands between 0 Hz and rate / 2.

    Returns:
        (mels, 1 + n // hop), in dB; the lowest band first.
    """
    padded = np.pad(samples, n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    weighed = power @ mel_bands(rate, n_fft, mels).T
    decibels: Floats = 10 * np.log10(np.maximum(weighed.T, FLOOR))
    return decibels


def in_bytes(decibels: Floats) -> npt.NDArray[np.uint8]:
    """Returns loudness below the maximum as 0 (80 dB below it, or more) to 255 (the maximum).

    Of silence, which has no maximum, nothing can be said: ask `is_silent` before.
    """
    below = np.clip(decibels - decibels.max(), -RANGE, 0.0)
    steps: npt.NDArray[np.uint8] = np.rint((below + RANGE) * (255 / RANGE)).astype(np.uint8)
    return steps


def is_silent(decibels: Floats) -> bool:
    """Whether nothing rises above the least power that is told from silence."""
    return bool(decibels.max() <= 10 * np.log10(FLOOR))


@functools.lru_cache(maxsize=8)
def mel_bands(rate: int, n_fft: int, mels: int) -> Floats:
    """Returns the weights of the Fourier transform's frequencies in each band.

    Triangles that overlap by half, as many as `mels`, equally wide on Slaney's scale (Auditory
    Toolbox, 1998): linear to 1 kHz, then logarithmic. The area of each is the same.

    Returns:
        (mels, n_fft // 2 + 1).
    """
    frequencies = np.fft.rfftfreq(n_fft, 1 / rate)
    corners = _hz(np.linspace(0, _mel(rate / 2), mels + 2))
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (frequencies - low) / (centre - low)
    falling = (high - frequencies) / (high - centre)
    bands: Floats = np.maximum(0, np.minimum(rising, falling)) * (2 / (high - low))
    return bands


def _mel(hz: float) -> float:
    if hz < LINEAR_TO:
        return hz / HZ_PER_MEL
    return float(LINEAR_TO / HZ_PER_MEL + np.log(hz / LINEAR_TO) / LOG_STEP)


def _hz(mel: Floats) -> Floats:
    above = np.maximum(mel - LINEAR_TO / HZ_PER_MEL, 0)
    hz: Floats = np.minimum(mel * HZ_PER_MEL, LINEAR_TO) * np.exp(LOG_STEP * above)
    return hz
