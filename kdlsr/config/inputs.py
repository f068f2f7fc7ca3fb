"""What a network is given: kind and shape of one input, known before any data is loaded.

A data set says which spec its samples have, a network is built for one, and the two are
compared here and nowhere else. Another modality is another subclass. No torch, no arrays.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class InputSpec(ABC):
    """Kind and shape of the inputs of one data set.

    Attributes:
        kind: what the inputs are, in the plural, as messages name them.
        from_0_to_1: whether a channel's mean and standard deviation are of values in 0..1.
    """

    kind: ClassVar[str]
    from_0_to_1: ClassVar[bool] = False

    @property
    @abstractmethod
    def normalised_channels(self) -> int:
        """How many channels have a mean and a standard deviation; 0: none (tokens)."""

    @abstractmethod
    def interchangeable(self, other: "InputSpec") -> bool:
        """Returns whether a network for inputs like these makes sense of `other`'s too."""

    @abstractmethod
    def __str__(self) -> str:
        """Kind and shape in words: "images of 32x32 with 3 channels"."""


@dataclass(frozen=True)
class ImageSpec(InputSpec):
    """Images: a batch is (N, channels, height, width), float, normalised per channel."""

    height: int
    width: int
    channels: int

    kind: ClassVar[str] = "images"
    from_0_to_1: ClassVar[bool] = True

    @property
    def normalised_channels(self) -> int:
        return self.channels

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width): of one input."""
        return self.channels, self.height, self.width

    def interchangeable(self, other: InputSpec) -> bool:
        """Size is free: most networks pool their last map."""
        return type(self) is type(other) and self.channels == other.channels

    def __str__(self) -> str:
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return f"{self.kind} of {self.height}x{self.width} with {channels}"


@dataclass(frozen=True)
class TokenSpec(InputSpec):
    """Text as numbers of tokens: a batch has `tokens` (N, L), int64, L at most `length`.

    Attributes:
        vocabulary: tokens are in [0, vocabulary).
        length: tokens of the longest input.
    """

    vocabulary: int
    length: int

    kind: ClassVar[str] = "tokens"

    @property
    def normalised_channels(self) -> int:
        return 0

    def interchangeable(self, other: InputSpec) -> bool:
        return isinstance(other, TokenSpec) and self.vocabulary == other.vocabulary

    def __str__(self) -> str:
        return f"{self.kind}, at most {self.length} of a vocabulary of {self.vocabulary}"


@dataclass(frozen=True)
class TextSpec(InputSpec):
    """Texts as they are: a network for them brings its own tokenizer (`config/encoding.py`).

    A batch has `input_ids` and `attention_mask`, and `token_type_ids` where the network asks for
    them: (N, L) each, int64, L at most `length`.

    Attributes:
        parts: 1: sentences; 2: pairs of sentences.
        length: tokens of the longest text; what is longer is cut off.
    """

    parts: int
    length: int

    kind: ClassVar[str] = "texts"

    @property
    def normalised_channels(self) -> int:
        return 0

    def interchangeable(self, other: InputSpec) -> bool:
        """Length is free: a network is told where a text ends."""
        return isinstance(other, TextSpec) and self.parts == other.parts

    def __str__(self) -> str:
        what = "pairs of texts" if self.parts == 2 else self.kind
        return f"{what} of at most {self.length} tokens"


@dataclass(frozen=True, init=False)
class SpectrogramSpec(ImageSpec):
    """Spectrograms: images of one channel, mel bands by frames; image networks take them."""

    kind: ClassVar[str] = "spectrograms"
    from_0_to_1: ClassVar[bool] = False  # often decibels

    def __init__(self, mel_bands: int, frames: int) -> None:
        super().__init__(mel_bands, frames, 1)
