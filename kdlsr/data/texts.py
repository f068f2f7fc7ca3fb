"""Texts in the host's memory: the content of every data set of texts. NumPy only.

No tokenizer: a network brings its own, so that two networks may read the same rows.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdlsr.config.encoding import Encoder
from kdlsr.config.inputs import InputSpec, TextSpec
from kdlsr.data.dataset import Content

if TYPE_CHECKING:
    import torch

    from kdlsr.data.normalisation import Normalisation
    from kdlsr.data.recipe import ViewRecipe
    from kdlsr.data.token_samples import TokenSamples


@dataclass(frozen=True, eq=False)
class Texts(Content):
    """Texts and their classes, in a fixed order.

    Attributes:
        parts: N texts, each of as many parts: a sentence, or the two of a pair.
        labels: (N,), int64, in [0, num_classes).
    """

    parts: tuple[tuple[str, ...], ...]
    labels: npt.NDArray[np.int64]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the texts, in their order; not of the labels."""
        told = (f"{len(part)}:{part}" for text in self.parts for part in text)
        return hashlib.sha256("".join(told).encode("utf-8", "surrogatepass")).hexdigest()

    def moments(self, rows: npt.NDArray[np.int64]) -> None:  # noqa: ARG002
        """Words are no quantities."""
        return

    def samples(
        self,
        spec: InputSpec,
        normalisation: "Normalisation | None",  # noqa: ARG002
        recipe: "ViewRecipe",  # noqa: ARG002 (there are no steps for texts)
        device: "torch.device",
        encoder: Encoder | None = None,
    ) -> "TokenSamples":
        """Tokens, resident on the device.

        Raises:
            ValueError: there is no encoder, or the spec is not of texts.
            UserError: the tokens cannot be cached.
        """
        from kdlsr.data.token_samples import TokenSamples

        if encoder is None or not isinstance(spec, TextSpec):
            raise ValueError(f"texts are read by an encoder, which the network brings, not {spec}")
        return TokenSamples(self, spec, encoder, device)
