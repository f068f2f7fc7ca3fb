"""Texts of the user's own: `train.tsv` and `test.tsv`, or `.csv`, with a label for each."""

from dataclasses import dataclass
from pathlib import Path

from kdlsr.config import UserError
from kdlsr.data.dataset import datasets
from kdlsr.data.text_dataset import TextDataset, TextSplits
from kdlsr.data.text_table import TextTable, read_bare, read_named, seem_names, wrong

SUFFIXES = (".tsv", ".csv")


@datasets.register("text_folder")
@dataclass(frozen=True, kw_only=True)
class TextFolder(TextDataset):
    """Lines of `text<TAB>label`, or of pairs, `text<TAB>text<TAB>label`; or columns by name.

    Classes are the labels of train, sorted. A double quote is a character in .tsv; in .csv it
    quotes.

    Attributes:
        text: the column of the text, or those of both texts of a pair, as the first line names
            them; null: the first columns of a file whose first line is a text.
        label: likewise, of the label; the two go together.
    """

    text: str | tuple[str, ...] | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if (self.text is None) != (self.label is None):
            raise ValueError("text and label go together: each names a column")
        if self.text is not None and not 1 <= len(self._texts) <= 2:
            raise ValueError("text names one column, or the two of a pair")

    @property
    def _texts(self) -> tuple[str, ...]:
        return (self.text,) if isinstance(self.text, str) else self.text or ()

    def read(self) -> TextSplits:
        if self.root is None:
            raise UserError(
                "dataset.root is missing: set dataset.root=FOLDER, which holds train.tsv and "
                "test.tsv (or .csv)"
            )
        return self.read_in(self.folder)

    def read_in(self, folder: Path) -> TextSplits:
        """Reads both files of a folder."""
        train, test = (self._table(_file(folder, split)) for split in ("train", "test"))
        if len(train.parts[0]) != len(test.parts[0]):
            raise wrong(test.path, 1, f"other columns than those of {train.path.name}")
        if self.label is None:
            _check_has_no_names(train, test)
        names = tuple(sorted(set(train.labels)))
        if len(names) < 2:
            raise UserError(f"{train.path}: all labels are {names[0]!r}; 2 classes are needed")
        classes = {name: number for number, name in enumerate(names)}
        known = f"no line of {train.path.name} has it"
        return TextSplits(names, train.numbered(classes, known), test.numbered(classes, known))

    def _table(self, path: Path) -> TextTable:
        if self.label is not None:
            return read_named(path, self._texts, self.label)
        if path.suffix == ".csv":
            raise UserError(f"{path}: name its columns: dataset.text=COLUMN dataset.label=COLUMN")
        return read_bare(path)


def _check_has_no_names(train: TextTable, test: TextTable) -> None:
    """Refuses files that both begin with one line, whose label is of no other text.

    Where no two texts share a label nothing can be told.
    """
    label = train.labels[0]
    is_one_line = (train.parts[0], label) == (test.parts[0], test.labels[0])
    is_alone = train.labels.count(label) == test.labels.count(label) == 1
    if is_one_line and is_alone and len(set(train.labels)) < len(train.labels):
        why = f" (both files begin so, and {label!r} is no other's label)"
        raise seem_names(train.path, [*train.parts[0], label], why)


def _file(folder: Path, split: str) -> Path:
    found = [path for s in SUFFIXES if (path := folder / f"{split}{s}").is_file()]
    if len(found) == 1:
        return found[0]
    listed = " or ".join(split + suffix for suffix in SUFFIXES)
    which = "both" if found else "neither"
    raise UserError(f"dataset.root={folder}: expected {listed} in it, found {which}")
