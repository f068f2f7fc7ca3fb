"""What data sets of sounds share: files become log-mel spectrograms, which image networks take.

No data set stands here, and no file's format: `sound_files` reads, `log_mel` computes.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from kdlsr.config import Between, UserError
from kdlsr.config.inputs import SpectrogramSpec
from kdlsr.data.dataset import Dataset, Facts, quiet
from kdlsr.data.decoded import Decoding, load_decoded
from kdlsr.data.file_kind import AnyPath
from kdlsr.data.listing import Tree, counted
from kdlsr.data.log_mel import Floats, in_bytes, is_silent, log_mel, mel_bands
from kdlsr.data.scan import Inspection, inspect
from kdlsr.data.sound_files import RATES, read_sound, soundfile
from kdlsr.data.spectrograms import Spectrograms
from kdlsr.files.download import Progress

FRONT_END = 1  # raised when what a sound becomes changes
# What an option of a front end may be.
Rate: TypeAlias = Annotated[int, Between(RATES.start, RATES.stop)]
Seconds: TypeAlias = Annotated[float, Between(0, 3600, open_low=True)]
Bands: TypeAlias = Annotated[int, Between(1, 1024)]
Samples: TypeAlias = Annotated[int, Between(1, 1 << 16)]  # of a frame


@dataclass(frozen=True)
class LogMel(Decoding):
    """What sounds become: log-mel spectrograms in bytes, 80 dB below each one's maximum.

    Attributes:
        spec: mel bands by frames.
        rate: samples a second that sounds are resampled to.
        length: samples of each: of longer ones the middle, shorter ones end with silence.
        n_fft, hop: samples of a frame, and from one to the next.
    """

    spec: SpectrogramSpec
    rate: int
    length: int
    n_fft: int
    hop: int

    sized_by: ClassVar[str] = "dataset.mels or dataset.seconds"

    def settings(self) -> list[object]:
        """Returns what decides the spectrograms besides the sounds."""
        return [FRONT_END, *self.spec.size, self.rate, self.length, self.n_fft, self.hop]

    def key(self) -> list[object]:
        return ["log-mel", *self.settings(), soundfile().__libsndfile_version__]

    def decode(self, path: AnyPath) -> npt.NDArray[np.uint8]:
        samples = self._fitted(read_sound(path, self.rate))
        bands = self.spec.height
        decibels = log_mel(samples, self.rate, n_fft=self.n_fft, hop=self.hop, mels=bands)
        if is_silent(decibels):
            raise UserError(
                f"{path} is silent in the {self.length / self.rate:g} s about its middle: a "
                "network learns nothing from it; remove it"
            )
        return in_bytes(decibels)[:, :, None]

    def _fitted(self, samples: Floats) -> Floats:
        surplus = len(samples) - self.length
        if surplus > 0:
            return samples[surplus // 2 : surplus // 2 + self.length]
        return np.pad(samples, (0, -surplus))


@dataclass(frozen=True, kw_only=True)
class AudioDataset(Dataset):
    """Sounds in files; what they become is kept in the data directory's `.kdlsr-cache`.

    Attributes:
        rate: samples a second that all sounds are resampled to.
        seconds: of each: of longer sounds the middle is taken, shorter ones end with silence.
        mels: bands between 0 Hz and rate / 2.
        n_fft: samples of a frame, even.
        hop: samples from one frame to the next; there are 1 + rate * seconds // hop.
        skip_unreadable: go on without files that are called sounds, or seem to be, and cannot
            be read, however many they are; otherwise one of them is an error.
    """

    rate: Rate = 22050
    seconds: Seconds = 5.0
    mels: Bands = 64
    n_fft: Samples = 1024
    hop: Samples = 512
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        if self.n_fft % 2 or self.hop > self.n_fft:
            raise ValueError(
                f"n_fft={self.n_fft} with hop={self.hop} is not possible; expected an even n_fft, "
                "and a hop no longer than it"
            )
        empty = int((mel_bands(self.rate, self.n_fft, self.mels).max(axis=1) == 0).sum())
        if empty:
            raise ValueError(
                f"mels={self.mels} with n_fft={self.n_fft}: {empty} bands lie between two "
                "frequencies of the Fourier transform; set fewer mels, or a larger n_fft"
            )

    def facts(self) -> Facts:
        soundfile()
        tree, found = self._inspected(quiet)
        return Facts(
            spec=self._decoding.spec,
            num_classes=len(tree.class_names),
            fingerprint=self._fingerprint(tree, found),
            class_names=tree.class_names,
            train=len(tree.train.paths),
            test=len(tree.test.paths),
            skipped=counted(tree.passed),
            remark=self.remark(),
        )

    def load(self, progress: Progress = quiet) -> tuple[Spectrograms, Spectrograms]:
        tree, found = self._inspected(progress)
        fingerprint = self._fingerprint(tree, found)
        train, test = load_decoded(tree, fingerprint, self._decoding, progress)
        return Spectrograms(train.pixels, train.labels), Spectrograms(test.pixels, test.labels)

    @abstractmethod
    def tree(self) -> Tree:
        """Returns which files are trained and tested on; opens none of them.

        Raises:
            UserError: they are not there, or do not make this data set.
        """

    def remark(self) -> str | None:
        """Returns what whoever reads its accuracies has to know."""
        return None

    def place(self, names: Sequence[str], wanted: str) -> Path:
        """Returns the first of some folders, relative to the data set's, that holds it.

        Args:
            names: the layouts that are known, each a folder or file that it has.
            wanted: what is looked for, in words.

        Raises:
            UserError: there is none of them.
        """
        for name in names:
            if (self.folder / name).exists():
                return self.folder / name
        raise UserError(
            f"{self.folder} holds no {wanted}: set dataset.root=FOLDER to the folder that does"
        )

    @property
    def _decoding(self) -> LogMel:
        length = round(self.rate * self.seconds)
        spec = SpectrogramSpec(self.mels, 1 + length // self.hop)
        return LogMel(spec, self.rate, length, self.n_fft, self.hop)

    def _inspected(self, progress: Progress) -> tuple[Tree, Inspection]:
        tree = self.tree()
        found = inspect(tree, progress)
        return tree.sifted(found.strays), found

    def _fingerprint(self, tree: Tree, found: Inspection) -> str:
        """Of the spectrograms: what is in the files, what it becomes, and which is tested on."""
        parts = [found.fingerprint, self._decoding.settings(), tree.train.paths, tree.test.paths]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
