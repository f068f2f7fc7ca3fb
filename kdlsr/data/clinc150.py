"""CLINC150 (Larson et al. 2019): queries to an assistant, of 150 intents. CC BY 3.0."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from kdlsr.config import AtLeast, UserError
from kdlsr.data.dataset import data_dir, datasets
from kdlsr.data.text_dataset import TextDataset, TextSplits
from kdlsr.data.text_table import read_text
from kdlsr.data.texts import Texts
from kdlsr.files import parse_json

FILE = "data_full.json"


@datasets.register("clinc150")
@dataclass(frozen=True, kw_only=True)
class Clinc150(TextDataset):
    """15,000 queries to train on and 4,500 to test on, read from `<root>/data_full.json`.

    The file lies in github.com/clinc/oos-eval, `data/`. Without `root` it is looked for in
    `<data dir>/clinc150`. Its 3,000 queries for validation are not used (`val_fraction` holds
    some out of training), nor are those out of scope, which have none of the 150 intents.
    """

    max_length: Annotated[int, AtLeast(8)] = 64

    def read(self) -> TextSplits:
        folder = data_dir() / "clinc150" if self.root is None else self.folder
        path = folder / FILE
        if not path.is_file():
            raise UserError(
                f"dataset=clinc150: there is no {path}; put {FILE} of github.com/clinc/oos-eval "
                "there, or set dataset.root"
            )
        splits = _parsed(path)
        train = _pairs(path, splits, "train")
        names = tuple(sorted({intent for _, intent in train}))
        return TextSplits(
            names,
            _texts(path, "train", train, names),
            _texts(path, "test", _pairs(path, splits, "test"), names),
            remark="queries out of scope, and those for validation, are passed over",
        )


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        values = parse_json(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: no JSON ({error.msg})") from error
    except ValueError as error:
        raise UserError(f"{path}: no JSON ({error})") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{path}: expected the splits train and test")
    return values


def _pairs(path: Path, splits: Mapping[str, Any], split: str) -> list[tuple[str, str]]:
    """Returns (query, intent) of a split."""
    listed = splits.get(split)
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path}: there is no list {split!r} in it")
    for number, pair in enumerate(listed, 1):
        is_pair = isinstance(pair, list) and len(pair) == 2
        if not is_pair or not all(isinstance(text, str) and text.strip() for text in pair):
            raise UserError(f"{path}, {split}, entry {number}: expected a query and its intent")
    return [(query, intent) for query, intent in listed]


def _texts(path: Path, split: str, pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> Texts:
    classes = {name: number for number, name in enumerate(names)}
    for number, (_, intent) in enumerate(pairs, 1):
        if intent not in classes:
            raise UserError(
                f"{path}, {split}, entry {number}: no query of train has the intent {intent!r}"
            )
    labels = np.array([classes[intent] for _, intent in pairs], dtype=np.int64)
    return Texts(tuple((query,) for query, _ in pairs), labels)
