"""What somebody else's distribution adds to kdlsr: text, a network for it, two view steps.

Named by entry points in `test_outside.py`; nothing here registers itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdlsr.config.inputs import InputSpec, TokenSpec
from kdlsr.data import Content, Dataset, Facts
from kdlsr.data.draws import Rows, Words, permutation, unit
from kdlsr.data.places import Floats, Places
from kdlsr.data.samples import Inputs, Samples
from kdlsr.data.view_steps import PixelStep, SpatialStep
from kdlsr.models import ModelOption

CLASSES, WORDS_PER_CLASS, LONGEST = 3, 20, 12
SPEC = TokenSpec(vocabulary=1 + CLASSES * WORDS_PER_CLASS, length=LONGEST)  # 0 is padding


@dataclass(frozen=True)
class Sentences(Content):
    """Token numbers of each sentence, of any length."""

    sentences: list[np.ndarray]
    labels: np.ndarray

    def moments(self, rows: Rows) -> None:
        return None

    def samples(
        self,
        spec: InputSpec,
        normalisation: object,
        recipe: object,
        device: torch.device,
        encoder: object = None,
    ) -> "SentenceSamples":
        return SentenceSamples(self, spec, device)


class SentenceSamples(Samples):
    """Sentences of like length share a batch, which is padded to its longest."""

    def __init__(self, content: Sentences, spec: InputSpec, device: torch.device) -> None:
        self.spec, self.device = spec, device
        self.labels = torch.as_tensor(content.labels, device=device)
        self.sentences = [torch.from_numpy(sentence) for sentence in content.sentences]
        self.lengths = np.array([len(sentence) for sentence in content.sentences])

    def order(self, rows: Rows, data_seed: int, epoch: int, batch_size: int) -> Rows:
        rows = super().order(rows, data_seed, epoch, batch_size)
        rows = rows[np.argsort(self.lengths[rows], kind="stable")]
        batches = rows[: len(rows) // batch_size * batch_size].reshape(-1, batch_size)
        shuffled = batches[permutation(len(batches), data_seed, epoch)]
        return np.concatenate([shuffled.reshape(-1), rows[batches.size :]])

    def views(self, rows: Rows, data_seed: int, epoch: int) -> Callable[[slice], Inputs]:
        return self.plain(rows)

    def plain(self, rows: Rows) -> Callable[[slice], Inputs]:
        def made(part: slice) -> dict[str, Tensor]:
            chosen = [self.sentences[row] for row in rows[part]]
            tokens = nn.utils.rnn.pad_sequence(chosen, batch_first=True)
            return {"tokens": tokens.to(self.device)}

        return made


@dataclass(frozen=True, kw_only=True)
class MadeText(Dataset):
    """Each class has words of its own."""

    sentences: int = 300

    def facts(self) -> Facts:
        return Facts(SPEC, CLASSES, f"made-text-{self.sentences}", ("one", "two", "three"))

    def load(self, progress: Any = None) -> tuple[Sentences, Sentences]:
        return self._made(0), self._made(1)

    def _made(self, seed: int) -> Sentences:
        rng = np.random.default_rng(seed)
        labels = np.arange(self.sentences) % CLASSES
        lengths = rng.integers(2, LONGEST + 1, len(labels))
        words = [rng.integers(0, WORDS_PER_CLASS, length) for length in lengths]
        return Sentences(
            [1 + WORDS_PER_CLASS * k + w for k, w in zip(labels, words, strict=True)], labels
        )


class Bag(nn.Module):
    """The mean of the words' embeddings, and a linear layer."""

    def __init__(self, spec: TokenSpec, num_classes: int, width: int) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(spec.vocabulary, width, mode="mean", padding_idx=0)
        self.linear = nn.Linear(width, num_classes)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.linear(self.words(inputs["tokens"]))


def bag(*, spec: TokenSpec, num_classes: int, width: int = 16) -> nn.Module:
    return Bag(spec, num_classes, width)


BAG = ModelOption(bag, small=True)


@dataclass(frozen=True)
class UpsideDown(SpatialStep):
    """Mirror top to bottom with `probability`."""

    probability: float = 0.5

    words = 1
    keeps_frame = True

    def draw(self, drawn: Words) -> Floats:
        return (unit(drawn) < self.probability).T.astype(np.float64)

    def place(self, places: Places, parameters: Floats) -> Places:
        return Places(places.x, places.y.mirrored(parameters[0] > 0))


@dataclass(frozen=True)
class Erase(PixelStep):
    """Blacken a square of `size` pixels somewhere in the image."""

    size: int

    words = 2

    def draw(self, drawn: Words) -> Floats:
        return unit(drawn).T

    def change(self, images: Tensor, parameters: Tensor) -> Tensor:
        height, width = images.shape[2:]
        down, right = self._covered(height, parameters[0]), self._covered(width, parameters[1])
        return images.masked_fill(down[:, None, :, None] & right[:, None, None, :], 0.0)

    def _covered(self, length: int, share: Tensor) -> Tensor:
        """Which of `length` pixels in a line are covered: (B, length)."""
        start = (share * (length - self.size + 1)).floor()[:, None]
        pixels = torch.arange(length, device=share.device)
        return (pixels >= start) & (pixels < start + self.size)
