"""Labelled texts in lines of columns: TSV without any quoting, as GLUE has it, and CSV with it.

What the columns and labels of a data set mean is its own business. Whatever is wrong is said in
one line that names the file and the line.
"""

import csv
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from kdlsr.config import UserError
from kdlsr.config.overrides import Override
from kdlsr.data.texts import Texts

Row: TypeAlias = tuple[int, list[str]]
HEADED = ("label", "labels", "class", "category", "target", "intent")  # no class, but a column


@dataclass(frozen=True)
class TextTable:
    """Labelled texts as they are written in a file.

    Attributes:
        path: of the file.
        lines: where each stands, from 1.
        parts: the text or texts of each.
        labels: as they are written.
    """

    path: Path
    lines: Sequence[int]
    parts: tuple[tuple[str, ...], ...]
    labels: tuple[str, ...]

    def numbered(self, classes: Mapping[str, int], expected: str) -> Texts:
        """Returns the texts with their classes' numbers.

        Args:
            classes: the number of each label that may be written.
            expected: which these are, in words.

        Raises:
            UserError: another one stands in a line.
        """
        for line, label in zip(self.lines, self.labels, strict=True):
            if label not in classes:
                raise wrong(self.path, line, f"the label {label!r} is not possible; {expected}")
        labels = np.array([classes[label] for label in self.labels], dtype=np.int64)
        return Texts(self.parts, labels)


def wrong(path: Path, line: int, what: str) -> UserError:
    """Returns the refusal of a line of a file."""
    return UserError(f"{path}, line {line}: {what}")


def header_of(path: Path) -> tuple[str, ...]:
    """Returns what stands in the columns of a file's first line."""
    return tuple(_first(path, _rows(path))[1])


def read_named(path: Path, texts: Sequence[str], label: str) -> TextTable:
    """Reads a file by the names that its first line gives to its columns.

    Raises:
        UserError: a column is missing, or a line has others or an empty text; the file is not
            there or not in UTF-8.
    """
    rows = _rows(path)
    _, header = _first(path, rows)
    for name in (*texts, label):
        if name not in header:
            raise wrong(path, 1, f"there is no column {name!r} among {_listed(header)}")
    return _table(path, rows, len(header), [header.index(name) for name in (*texts, label)])


def read_bare(path: Path) -> TextTable:
    """Reads lines of one text or two and then a label, without a first line of names.

    Raises:
        UserError: as for `read_named`.
    """
    first = header_of(path)
    if len(first) not in (2, 3):
        raise wrong(path, 1, f"{len(first)} columns; expected text, label, or text, text, label")
    if first[-1].strip().lower() in HEADED:
        raise seem_names(path, first)
    return _table(path, _rows(path), len(first), range(len(first)))


def seem_names(path: Path, first: Sequence[str], why: str = "") -> UserError:
    """Returns the refusal of a first line that seems to name columns, and how to choose them."""
    *texts, label = first
    text = texts[0] if len(texts) == 1 else texts
    chosen = (Override("dataset.text", text), Override("dataset.label", label))
    what = f"{_listed(first)} seem to be names of columns, not a text and its label"
    return wrong(path, 1, f"{what}{why}: choose them by {shlex.join(o.text for o in chosen)}")


def _table(path: Path, rows: Iterator[Row], width: int, columns: Sequence[int]) -> TextTable:
    parts: list[tuple[str, ...]] = []
    labels: list[str] = []
    lines: list[int] = []
    for line, fields in rows:
        if len(fields) != width:
            raise wrong(path, line, f"{len(fields)} columns; the first line has {width}")
        *text, label = [fields[column] for column in columns]
        if not all(part.strip() for part in text):
            raise wrong(path, line, "the text is empty")
        if not label.strip():
            raise wrong(path, line, "the label is empty")
        parts.append(tuple(text))
        labels.append(label.strip())
        lines.append(line)
    if not parts:
        raise UserError(f"{path} holds no text")
    return TextTable(path, lines, tuple(parts), tuple(labels))


def _first(path: Path, rows: Iterator[Row]) -> Row:
    for row in rows:
        return row
    raise UserError(f"{path} is empty")


def _rows(path: Path) -> Iterator[Row]:
    """Yields the line number and the columns of each row, as the file is read."""
    # Lines end where a line feed is, and not at what else Unicode has for it.
    newline = "" if path.suffix == ".csv" else "\n"
    try:
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            yield from (_of_csv if path.suffix == ".csv" else _of_tsv)(path, file)
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def _of_tsv(path: Path, file: Iterable[str]) -> Iterator[Row]:
    empty = None
    for number, line in enumerate(file, 1):
        text = line.rstrip("\r\n")
        if not text:
            empty = empty or number
            continue
        if empty is not None:  # at the end of a file there may be some
            raise wrong(path, empty, "the line is empty")
        yield number, text.split("\t")


def _of_csv(path: Path, file: Iterable[str]) -> Iterator[Row]:
    reader, begin = csv.reader(file, strict=True), 1
    try:
        for fields in reader:
            if fields:
                yield begin, fields
            begin = reader.line_num + 1
    except csv.Error as error:
        raise wrong(path, begin, f"no CSV ({error})") from error


def read_text(path: Path) -> str:
    """Returns what a file in UTF-8 says, without a byte-order mark.

    Raises:
        UserError: there is none, it cannot be read, or it has another encoding.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def _not_utf8(path: Path) -> UserError:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                found = f"byte 0x{line[error.start]:02x} is not UTF-8"
                return wrong(path, number, f"{found}; save the file as UTF-8")
    return UserError(f"{path} is not UTF-8")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:12]) + ("..." if len(names) > 12 else "")
