"""How texts become tokens: what a network of texts brings along, and its data applies.

A tokenizer belongs to a network, texts belong to a data set, and neither room knows the other:
this is what they meet in. NumPy only.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Tokens:
    """Texts as numbers, one after the other, special tokens included, without padding.

    Attributes:
        ids: (T,), int32, in [0, vocabulary).
        offsets: (N + 1,), int64, from 0 to T: text i is ids[offsets[i]:offsets[i + 1]].
        types: (T,), uint8: which sentence of a pair each is of; None: the network asks for none.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    types: npt.NDArray[np.uint8] | None = None

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(N,): tokens of each text."""
        return np.diff(self.offsets)


class Encoder(ABC):
    """A network's tokenizer."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """SHA-256 of all that decides the tokens: two encoders of one identity give the same."""

    @property
    @abstractmethod
    def padding(self) -> int:
        """The token that fills up a batch's shorter texts; the network is told to ignore it."""

    @abstractmethod
    def encode(self, texts: Sequence[tuple[str, ...]], length: int) -> Tokens:
        """Returns the tokens of texts of one or two sentences each.

        Args:
            texts: N, all of as many sentences.
            length: the most tokens of a text; what is longer is cut off, from the longer
                sentence of a pair.
        """
