"""What the files of a tree may be: images, sounds. How they are called, and what a head tells.

A kind of file is a subclass beside the code that reads such files; nothing is read here.
"""

import mimetypes
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO, ClassVar, NamedTuple, TypeAlias

AnyPath: TypeAlias = str | Path
"""Text where there are many: a `Path` costs as much as reading a small file."""


class Head(NamedTuple):
    """What a file's first bytes say of it.

    Attributes:
        first, second: width and height in pixels of an image; frames and rate in Hz of a sound.
        form: Pillow's mode of an image, libsndfile's format of a sound; "" for neither.
    """

    first: int
    second: int
    form: str


NO_HEAD = Head(0, 0, "")


class FileKind(ABC):
    """One kind of file that a data set may be a tree of.

    Attributes:
        noun: what such a file is, in the singular, as messages name it.
        media: what its media types begin with.
        suffixes: a file called so has to be of this kind: one that cannot be read is an error,
            or, where the user says so, a loss that is counted. Any other file is of this kind
            if its content is.
        other_suffixes: of such files that may not be readable; `mimetypes` does not know all.
        index: what the name of its index of checksums ends with: a tree may be read as two kinds.
    """

    noun: ClassVar[str]
    media: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    other_suffixes: ClassVar[tuple[str, ...]]
    index: ClassVar[str]

    def promised_by(self, path: str) -> bool:
        """Whether a file is called as those are that are always read."""
        return path.lower().endswith(self.suffixes)

    def seems(self, path: str) -> bool:
        """Whether somebody meant a file of this kind, by its name."""
        media, _ = mimetypes.guess_type(path)
        is_media = media is not None and media.startswith(self.media)
        return is_media or path.lower().endswith((*self.suffixes, *self.other_suffixes))

    @abstractmethod
    def is_one(self, file: BinaryIO) -> bool:
        """Whether an open file is of this kind and can be read; its content decides."""

    @abstractmethod
    def head(self, path: AnyPath, content: bytes) -> Head:
        """Returns what a file's head says.

        Raises:
            UserError: the file at `path` is not of this kind, or is damaged.
        """
