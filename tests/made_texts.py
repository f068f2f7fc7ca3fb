"""Files of labelled texts as users have them; a small network of texts, its tokenizer made up."""

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from kdlsr.config.compose import add_config_folder
from kdlsr.config.encoding import Encoder, Tokens
from kdlsr.config.inputs import TextSpec
from kdlsr.data.glue import Mnli, Mrpc, Qnli, Rte, Sst2
from kdlsr.models import ModelOption, models

WORDS = {  # of each class, and of both
    "good": ("fine", "lovely", "witty", "bright", "warm", "brave"),
    "poor": ("dull", "grim", "stale", "flat", "cold", "vain"),
    "": ("the", "film", "is", "a", "and", "so", "very", "plot", "cast", "in", "it", "of"),
}
CLASSES = ("good", "poor")
GLUE = {task.name: task for task in (s.task for s in (Sst2, Mrpc, Qnli, Rte, Mnli))}


def reviews(count: int, seed: int, longest: int = 20) -> list[tuple[str, str]]:
    """Returns (text, class), of 3 to `longest` words; a text says which class it is of."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        name = CLASSES[number % 2]
        length = int(rng.integers(3, longest + 1))
        told = rng.choice(WORDS[name], max(1, length // 4))
        filling = rng.choice(WORDS[""], length - len(told))
        found.append((" ".join(rng.permutation([*told, *filling])), name))
    return found


def write_tsv(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Writes rows of columns, without quoting."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_reviews(root: Path, train: int = 101, test: int = 45) -> Path:
    """Writes `train.tsv` and `test.tsv`."""
    write_tsv(root / "train.tsv", reviews(train, 0))
    write_tsv(root / "test.tsv", reviews(test, 1))
    return root


def lay_glue(name: str, root: Path) -> dict[str, list[list[str]]]:
    """Writes a task's files as GLUE has them, other columns and a byte-order mark included."""
    task = GLUE[name]
    header = ["index", *task.texts, "note", task.label]
    written = list(task.written)
    files: dict[str, list[list[str]]] = {}
    for file in ("train.tsv", *task.dev):
        texts = [f'{file} "{name}' for name in task.texts]
        rows = [[str(i), *texts, "-", written[i % len(written)]] for i in range(6)]
        files[file] = rows
        write_tsv(root / task.folder / file, [[f"\ufeff{header[0]}", *header[1:]], *rows])
    write_tsv(root / task.folder / "test.tsv", [header[:-1], rows[0][:-1]])
    return files


def lay(name: str, root: Path) -> None:
    """Writes as much as makes the data set of texts that is called `name`."""
    if name in GLUE:
        lay_glue(name, root)
    elif name == "clinc150":
        pairs = [["one", "a"], ["two", "b"]]
        (root / "data_full.json").write_text(json.dumps({"train": pairs, "test": pairs}))
    elif name == "banking77":
        for split in ("train", "test"):
            (root / f"{split}.csv").write_text("text,category\none,a\ntwo,b\n")
    else:
        make_reviews(root, 8, 4)


TEXTS = (*GLUE, "clinc150", "banking77", "text_folder")


@dataclass(frozen=True)
class WordEncoder(Encoder):
    """A token a word, by its hash; 1 begins a text and 2 ends each of its sentences."""

    vocabulary: int = 211
    letters: bool = False  # a token a letter instead
    with_types: bool = False

    @property
    def identity(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    @property
    def padding(self) -> int:
        return 0

    def encode(self, texts: Sequence[tuple[str, ...]], length: int) -> Tokens:
        ids, types, offsets = [], [], [0]
        for text in texts:
            mine, sentence = [1], [0]
            for number, part in enumerate(text):
                words = list(part) if self.letters else part.split()
                found = [3 + zlib.crc32(w.encode()) % (self.vocabulary - 3) for w in words]
                mine += [*found, 2]
                sentence += [number] * (len(found) + 1)
            ids += mine[:length]
            types += sentence[:length]
            offsets.append(len(ids))
        kinds = np.array(types, dtype=np.uint8) if self.with_types else None
        return Tokens(np.array(ids, dtype=np.int32), np.array(offsets), kinds)


class MaskedBag(nn.Module):
    """The mean of a text's embedded tokens, dropped out, and a line; padding counts for nothing."""

    def __init__(self, vocabulary: int, classes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        mask = inputs["attention_mask"].unsqueeze(2).float()
        # In float64, whose sums of so few are exact: zeros beside them move no bit.
        summed = (self.embedding(inputs["input_ids"]) * mask).double().sum(1).float()
        return self.head(self.dropout(summed / mask.sum(1)))


def bag(
    *,
    spec: TextSpec,
    num_classes: int,
    width: int = 8,
    letters: bool = False,
) -> nn.Module:
    return MaskedBag(WordEncoder().vocabulary, num_classes, width)


def words(*, letters: bool = False) -> Encoder:
    return WordEncoder(letters=letters)


@pytest.fixture
def text_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Offers `model=bag`, a network of texts that reads words, or with `letters` letters."""
    models.names()
    monkeypatch.setitem(models._options, "bag", ModelOption(bag, encoder=words))
    monkeypatch.setenv("KDLSR_DATA", str(tmp_path / "data"))
    file = tmp_path / "conf" / "model" / "bag.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("name: bag\nwidth: 8\nletters: false\n")
    add_config_folder(tmp_path / "conf")
    yield
    add_config_folder(None)
