"""Free Spoken Digit Dataset (Jackson et al.): the digits 0 to 9, spoken; 8 kHz, CC BY-SA 4.0."""

import re
from dataclasses import dataclass

import numpy as np

from kdlsr.config import UserError, nearest
from kdlsr.data.audio import AudioDataset, Bands, Rate, Samples, Seconds
from kdlsr.data.dataset import datasets
from kdlsr.data.listing import Files, Passed, Tree, listed
from kdlsr.data.sound_files import SOUNDS

NAME = re.compile(r"(?:.*/)?(\d)_([^_/]+)_(\d+)\.wav", re.IGNORECASE)
PLACES = ("recordings", "fsdd/recordings", "free-spoken-digit-dataset/recordings")
TESTED_INDEX = 5  # recordings 0 to 4 of each digit and speaker are the published test set
DIGITS = tuple("0123456789")
BY_INDEX, BY_SPEAKER = "index", "speaker:"


@datasets.register("fsdd")
@dataclass(frozen=True, kw_only=True)
class Fsdd(AudioDataset):
    """`recordings/<digit>_<speaker>_<index>.wav`, as github:Jakobovski/free-spoken-digit-dataset.

    Attributes:
        split: `index`: recordings 0 to 4 of each speaker and digit are the test set, as its
            authors say; `speaker:<name>`: all that one of the speakers said is.
    """

    split: str = BY_INDEX
    rate: Rate = 8000
    seconds: Seconds = 1.0
    mels: Bands = 32
    n_fft: Samples = 512
    hop: Samples = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split != BY_INDEX and not self.split.startswith(BY_SPEAKER):
            raise ValueError(
                f"split={self.split!r} is not possible; expected {BY_INDEX}, or {BY_SPEAKER}<name>"
            )

    def tree(self) -> Tree:
        recordings = self.place(PLACES, "recordings/<digit>_<speaker>_<index>.wav")
        found, passed = listed(recordings.parent, recordings.name, SOUNDS)
        rows = {path: match.groups() for path in found if (match := NAME.fullmatch(path))}
        passed += [
            Passed(recordings.name, path, "not named <digit>_<speaker>_<index>.wav")
            for path in found
            if path not in rows
        ]
        tested = self._tested(rows)
        train, test = (_files(rows, paths) for paths in (rows.keys() - tested, tested))
        for digit in DIGITS:
            if int(digit) not in train.labels:
                raise UserError(f"{recordings} has no recording of {digit} to train on")
        if not test.paths:
            raise UserError(f"{recordings} has no recording of index 0 to 4 to test on")
        root, skip = recordings.parent, self.skip_unreadable
        return Tree(root, SOUNDS, DIGITS, train, test, (), tuple(passed), skip)

    def _tested(self, rows: dict[str, tuple[str, ...]]) -> set[str]:
        if self.split == BY_INDEX:
            return {path for path, (_, _, index) in rows.items() if int(index) < TESTED_INDEX}
        name = self.split.removeprefix(BY_SPEAKER)
        speakers = {speaker for _, speaker, _ in rows.values()}
        if name not in speakers:
            raise UserError(f"dataset.split={self.split}: no such speaker{nearest(name, speakers)}")
        return {path for path, (_, speaker, _) in rows.items() if speaker == name}


def _files(rows: dict[str, tuple[str, ...]], paths: set[str]) -> Files:
    ordered = sorted(paths)
    labels = np.array([int(rows[path][0]) for path in ordered], dtype=np.int64)
    return Files(tuple(ordered), labels)
