"""Sound files: what libsndfile takes for one, whether one is whole, and its samples.

A file's content decides what it is, whatever it is called. Where a header says how long a file is
(wav, au, flac), one that ends before is refused: libsndfile would read it as a shorter sound. An
Ogg or MP3 file that was cut between two packets tells nobody.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from kdlsr.config import UserError
from kdlsr.data.file_kind import AnyPath, FileKind, Head
from kdlsr.data.log_mel import Floats
from kdlsr.data.scan import read_bytes

RATES = range(1000, 400_000)
# Lengths that programs write which cannot go back to the header: "until the end".
UNKNOWN_LENGTH = 0x7FFF_0000
# Beyond what any recorder writes, in whatever unit: the power of far larger ones is no number.
LOUDEST = 2.0**64


class SoundFiles(FileKind):
    """Sounds: a file is one if libsndfile can read it, whatever it is called."""

    noun = "sound"
    media = "audio/"
    suffixes = (".wav", ".au", ".snd", ".flac", ".ogg", ".oga", ".mp3", ".aiff", ".aif")
    other_suffixes = (".m4a", ".aac", ".wma", ".opus", ".amr", ".caf")
    index = "-sound"

    def is_one(self, file: BinaryIO) -> bool:
        library = soundfile()
        try:
            with library.SoundFile(file):
                pass
            file.seek(0)  # only of what seems to be a sound is all read
            with _opened(Path(), file.read()):
                return True
        except (library.SoundFileError, UserError):
            return False

    def head(self, path: AnyPath, content: bytes) -> Head:
        with _opened(path, content) as sound:
            return Head(sound.frames, sound.samplerate, f"{sound.format} {sound.subtype}")


SOUNDS = SoundFiles()


def soundfile() -> ModuleType:
    """Returns the library that reads sounds.

    Raises:
        UserError: it is not installed.
    """
    try:
        import soundfile as library
    except (ImportError, OSError) as error:  # OSError: its libsndfile is missing
        raise UserError(
            f"sounds are read by soundfile ({error}): pip install 'kdlsr[audio]'"
        ) from error
    found: ModuleType = library
    return found


def read_sound(path: AnyPath, rate: int) -> Floats:
    """Returns a sound's samples (n,) in [-1, 1], channels averaged, at `rate` samples a second.

    Raises:
        UserError: the file is none, is damaged, ends early, or holds no finite numbers.
    """
    content, _ = read_bytes(path)
    with _opened(path, content) as sound:
        samples = sound.read(dtype="float64", always_2d=True)
        if len(samples) != sound.frames:
            raise UserError(
                f"{path} ends early: its header promises {sound.frames:,} samples, it has "
                f"{len(samples):,}; mend or remove it"
            )
        own_rate = sound.samplerate
    if not np.isfinite(samples).all():
        raise UserError(f"{path} holds samples that are no finite numbers; mend or remove it")
    loudest = np.abs(samples).max()
    if loudest > LOUDEST:
        raise UserError(
            f"{path} holds samples as large as {loudest:.0e}, where 1 is full scale; mend or "
            "remove it"
        )
    return _resampled(samples.mean(axis=1), own_rate, rate)


def _resampled(samples: Floats, have: int, want: int) -> Floats:
    if have == want:
        return samples
    from scipy.signal import resample_poly

    ratio = Fraction(want, have)
    resampled: Floats = resample_poly(samples, ratio.numerator, ratio.denominator)
    return resampled


@contextmanager
def _opened(path: AnyPath, content: bytes) -> Iterator[Any]:
    """Opens a whole sound; what libsndfile raises becomes one line that names the file."""
    library = soundfile()
    promised = _promised_bytes(content)
    if promised is not None and promised[0] > promised[1]:
        raise UserError(
            f"{path} ends early: its header promises {promised[0]:,} bytes of sound, it has "
            f"{promised[1]:,}; mend or remove it"
        )
    try:
        with library.SoundFile(io.BytesIO(content)) as sound:
            if not sound.frames:
                raise UserError(f"{path} holds no sound: it ends with its header; remove it")
            if sound.samplerate not in RATES:
                raise UserError(
                    f"{path} says {sound.samplerate:,} samples a second; expected "
                    f"{RATES.start:,} to {RATES.stop:,}"
                )
            yield sound
    except library.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).strip(" .")
        raise UserError(f"{path} is no readable sound ({reason}); mend or remove it") from error


def _promised_bytes(content: bytes) -> tuple[int, int] | None:
    """Returns how many bytes of samples a wav or au header promises, and how many follow it.

    None: the header does not say, or it is another format's.
    """
    if content[:4] in (b".snd", b"dns."):
        begin, size = _numbers(content, 4, 2, big=content[:4] == b".snd")
    elif content[:4] in (b"RIFF", b"RIFX") and content[8:12] == b"WAVE":
        begin, size = _data_chunk(content, big=content[:4] == b"RIFX")
    else:
        return None
    return None if size >= UNKNOWN_LENGTH else (size, max(len(content) - begin, 0))


def _data_chunk(content: bytes, *, big: bool) -> tuple[int, int]:
    """Returns where a wav's samples begin, and the length that stands before them."""
    begin = 12
    while begin + 8 <= len(content):
        name = content[begin : begin + 4]
        (size,) = _numbers(content, begin + 4, 1, big=big)
        begin += 8
        if name == b"data":
            return begin, size
        begin += size + size % 2
    return len(content), 0


def _numbers(content: bytes, begin: int, count: int, *, big: bool) -> tuple[int, ...]:
    """Returns unsigned integers of four bytes; zeros where the content ends before."""
    found = content[begin : begin + 4 * count].ljust(4 * count, b"\0")
    return struct.unpack(f"{'>' if big else '<'}{count}I", found)
