"""Labelled texts in lines of columns: TSV without any quoting, as GLUE has it, and CSV with it.

What the columns and labels of a data set mean is its own business. Whatever is wrong is said in
one line that names the file and the line.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdlsr.config import UserError
from kdlsr.data.texts import Texts

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
    return tuple(_rows(path)[0][1])


def read_named(path: Path, texts: Sequence[str], label: str) -> TextTable:
    """Reads a file by the names that its first line gives to its columns.

    Raises:
        UserError: a column is missing, or a line has others or an empty text; the file is not
            there or not in UTF-8.
    """
    (_, header), *rows = _rows(path)
    for name in (*texts, label):
        if name not in header:
            raise wrong(path, 1, f"there is no column {name!r} among {_listed(header)}")
    return _table(path, rows, len(header), [header.index(name) for name in (*texts, label)])


def read_bare(path: Path) -> TextTable:
    """Reads lines of one text or two and then a label, without a first line of names.

    Raises:
        UserError: as for `read_named`.
    """
    rows = _rows(path)
    _, first = rows[0]
    if len(first) not in (2, 3):
        raise wrong(path, 1, f"{len(first)} columns; expected text, label, or text, text, label")
    if first[-1].strip().lower() in HEADED:
        raise wrong(
            path,
            1,
            f"{_listed(first)} seem to be names of columns, not a text and its label: choose "
            f"them by dataset.text={first[0]} dataset.label={first[-1]}",
        )
    return _table(path, rows, len(first), range(len(first)))


def _table(
    path: Path, rows: Sequence[tuple[int, list[str]]], width: int, columns: Sequence[int]
) -> TextTable:
    parts: list[tuple[str, ...]] = []
    labels: list[str] = []
    for line, fields in rows:
        if len(fields) != width:
            raise wrong(path, line, f"{len(fields)} columns; the first line has {width}")
        *text, label = (fields[column] for column in columns)
        if not all(part.strip() for part in text):
            raise wrong(path, line, "the text is empty")
        parts.append(tuple(text))
        labels.append(label.strip())
    if not parts:
        raise UserError(f"{path} holds no text")
    return TextTable(path, [line for line, _ in rows], tuple(parts), tuple(labels))


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Returns the line number and the columns of each row; there is at least one."""
    text = read_text(path)
    rows = _of_csv(path, text) if path.suffix == ".csv" else _of_tsv(text)
    if not rows:
        raise UserError(f"{path} is empty")
    return rows


def _of_tsv(text: str) -> list[tuple[int, list[str]]]:
    # Not by `splitlines`, which takes more than ends of lines for one.
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n") if text.strip() else []
    return [(number, line.split("\t")) for number, line in enumerate(lines, 1)]


def _of_csv(path: Path, text: str) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, begin = [], 1
    try:
        for fields in reader:
            if fields:
                rows.append((begin, fields))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise wrong(path, begin, f"no CSV ({error})") from error
    return rows


def read_text(path: Path) -> str:
    """Returns what a file in UTF-8 says, without a byte-order mark.

    Raises:
        UserError: there is none, it cannot be read, or it has another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        found = content[error.start]
        raise wrong(
            path, line, f"byte 0x{found:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:12]) + ("..." if len(names) > 12 else "")
