"""GTZAN (Tzanetakis and Cook 2002): 1,000 tracks of 30 s, ten genres. Its faults are well known.

Artists repeat, so that a split at random tests in part on artists that were trained on (Sturm);
the fault-filtered split (Kereliuk, Sturm, Larsen 2015) leaves repetitions and broken files out.
Neither the music nor the lists are brought along.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from kdlsr.config import Between, UserError
from kdlsr.data.audio import AudioDataset, Samples, Seconds
from kdlsr.data.class_folders import files_of_classes, split_at_random
from kdlsr.data.dataset import datasets
from kdlsr.data.listing import ABSENT, HELD_BACK, UNLISTED, Files, Passed, Tree
from kdlsr.data.scan import Inspection, read_bytes
from kdlsr.data.sound_files import SOUNDS
from kdlsr.files.download import Progress

GENRES = tuple("blues classical country disco hiphop jazz metal pop reggae rock".split())  # noqa: SIM905
LAYOUTS = tuple(
    f"{start}{inner}{GENRES[0]}"
    for start in ("", "gtzan/", "GTZAN/")
    for inner in ("", "genres/", "genres_original/", "Data/genres_original/")
)
LISTS = {split: f"{split}_filtered.txt" for split in ("train", "valid", "test")}
BROKEN = "jazz.00054"  # in the copy that most people have


@datasets.register("gtzan")
@dataclass(frozen=True, kw_only=True)
class Gtzan(AudioDataset):
    """`<genre>/<genre>.<number>.wav` or `.au`, at `root` or where its copies have them below.

    Attributes:
        lists: a folder that holds `train_filtered.txt`, `valid_filtered.txt` and
            `test_filtered.txt`: lines such as `blues/blues.00029.wav`, matched without suffix.
            Tracks of the valid list are neither trained nor tested on. null: a share of each
            genre, drawn at random, is tested on, whoever plays.
        test_fraction: the share, without lists.
        test_seed: chooses which, without lists.
    """

    lists: str | None = None
    test_fraction: Annotated[float, Between(0, 1, open_low=True, open_high=True)] = 0.2
    test_seed: int = 0
    seconds: Seconds = 30.0
    n_fft: Samples = 2048
    hop: Samples = 1024

    def tree(self) -> Tree:
        root = self.place(LAYOUTS, f"{GENRES[0]}/*.wav or *.au, nor below genres_original/").parent
        for genre in GENRES:
            if not (root / genre).is_dir():
                raise UserError(f"{root} has no folder {genre}/: it is not GTZAN as published")
        passed: list[Passed] = []
        files = files_of_classes(root, list(GENRES), SOUNDS, passed)
        if self.lists is None:
            train, test = split_at_random(files, self.test_fraction, self.test_seed)
        else:
            lists = Path(self.lists).expanduser().absolute()
            train, test = _listed(files, lists, passed, self.skip_unreadable)
        return Tree(root, SOUNDS, GENRES, train, test, (), tuple(passed), self.skip_unreadable)

    def remark(self) -> str | None:
        if self.lists is not None:
            return None
        return (
            f"tested on {self.test_fraction:g} of each genre at random (dataset.test_seed="
            f"{self.test_seed}): artists are in both parts, which flatters every accuracy; "
            "dataset.lists=FOLDER reads the fault-filtered split"
        )

    def _inspected(self, progress: Progress) -> tuple[Tree, Inspection]:
        try:
            return super()._inspected(progress)
        except UserError as error:
            if BROKEN not in str(error) or self.skip_unreadable:
                raise
            raise UserError(
                f"{error}; this file is known to be broken in most copies: "
                "dataset.skip_unreadable=true goes on without it"
            ) from error


def _listed(
    files: Files, folder: Path, passed: list[Passed], without_broken: bool
) -> tuple[Files, Files]:
    """Returns the files of the train list and of the test list; the others are passed over."""
    stems = [Path(path).stem for path in files.paths]
    row_of = {stem: row for row, stem in enumerate(stems)}
    if len(row_of) < len(stems):
        twice = next(stem for row, stem in enumerate(stems) if row_of[stem] != row)
        raise UserError(f"{twice} is there twice, with two suffixes; remove one of them")
    split_of = _splits(folder, row_of, {BROKEN} if without_broken else set())
    if BROKEN in split_of and BROKEN not in row_of:
        genre = BROKEN.partition(".")[0]
        passed.append(Passed(genre, f"{genre}/{BROKEN}", ABSENT))
    for stem, path in zip(stems, files.paths, strict=True):
        split = split_of.get(stem)
        if split not in ("train", "test"):
            what = HELD_BACK if split == "valid" else UNLISTED
            passed.append(Passed(path.rpartition("/")[0], path, what))

    def of(split: str) -> Files:
        chosen = [row for stem, row in row_of.items() if split_of.get(stem) == split]
        return files.at(np.array(chosen, dtype=np.int64))

    return of("train"), of("test")


def _splits(folder: Path, row_of: Mapping[str, int], may_lack: Set[str]) -> dict[str, str]:
    """Returns which list each track stands on; those of `may_lack` need not be there."""
    split_of: dict[str, str] = {}
    for split, name in LISTS.items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"dataset.lists={folder}: there is no {name} in it")
        stems = [Path(line.strip()).stem for line in _lines(path) if line.strip()]
        missing = [stem for stem in stems if stem not in row_of and stem not in may_lack]
        if missing:
            raise UserError(
                f"{path} lists {len(missing)} tracks that are not there; the first: {missing[0]}"
            )
        for stem in stems:
            if split_of.setdefault(stem, split) != split:
                raise UserError(f"{path}: {stem} stands in {LISTS[split_of[stem]]} too")
    return split_of


def _lines(path: Path) -> list[str]:
    try:
        return read_bytes(path)[0].decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no list of tracks: it is not UTF-8") from error
