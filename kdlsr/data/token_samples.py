"""From texts to the tokens that a network sees: padded in batch, on the device.

All tokens lie one after the other on the device; a batch is one lookup, as wide as its longest
text, and the host, which knows the lengths, waits for nothing. Texts of like length share a
batch. Nothing random happens here: a text is the same in every epoch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from kdlsr.config.encoding import Encoder
from kdlsr.config.inputs import TextSpec
from kdlsr.data.draws import Rows, permutation_in_buckets
from kdlsr.data.samples import Samples
from kdlsr.data.tokenised import tokenised

if TYPE_CHECKING:
    from kdlsr.data.texts import Texts

WIDTH_STEP = 8  # batches are as wide as a multiple of it: ten shapes, not fifty
EVALUATION_BATCH_SIZE = 128


class TokenSamples(Samples):
    """Texts of one split as an encoder's tokens, held on the device.

    Args:
        texts: what is read.
        spec: what they are; its `length` bounds a text's tokens.
        encoder: by what it is read.
        device: where batches are wanted.

    Raises:
        UserError: the tokens cannot be cached.
    """

    varies = False

    def __init__(
        self, texts: "Texts", spec: TextSpec, encoder: Encoder, device: torch.device | str
    ) -> None:
        self.spec, self.device, self.on_device = spec, torch.device(device), True
        self.evaluation_batch_size = EVALUATION_BATCH_SIZE
        self.labels = torch.as_tensor(texts.labels, dtype=torch.int64, device=self.device)
        self._texts, self._spec, self._encoder = texts, spec, encoder
        tokens = tokenised(texts, encoder, spec.length)
        self.lengths: Rows = tokens.lengths
        self._ids = torch.from_numpy(tokens.ids).to(self.device)
        types = tokens.types
        self._types = None if types is None else torch.from_numpy(types).to(self.device)
        self._offsets = torch.from_numpy(tokens.offsets).to(self.device)
        self._columns = torch.arange(spec.length, device=self.device)

    def order(self, rows: Rows, data_seed: int, epoch: int, batch_size: int) -> Rows:
        """Drawn so that texts of like length share a batch."""
        return rows[permutation_in_buckets(self.lengths[rows], data_seed, epoch, batch_size)]

    def evaluation_order(self, rows: Rows) -> Rows:
        """By length."""
        return np.argsort(self.lengths[rows], kind="stable")

    def read_by(self, encoder: Encoder | None) -> "TokenSamples":
        """The same texts as another network's tokenizer reads them; None: as these."""
        if encoder is None or encoder.identity == self._encoder.identity:
            return self
        return TokenSamples(self._texts, self._spec, encoder, self.device)

    def views(
        self,
        rows: Rows,
        data_seed: int,  # noqa: ARG002
        epoch: int,  # noqa: ARG002
    ) -> Callable[[slice], dict[str, Tensor]]:
        return self.plain(rows)

    def plain(self, rows: Rows) -> Callable[[slice], dict[str, Tensor]]:
        """Makes ready a batch's `input_ids`, `attention_mask` and, for some, `token_type_ids`.

        Each is (B, L), int64: L is a multiple of 8, or the spec's length.
        """
        lengths = self.lengths[rows]
        places = torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(self.device)
        begin, end = self._offsets[places], self._offsets[places + 1]

        def made(part: slice) -> dict[str, Tensor]:
            width = min(-int(-lengths[part].max() // WIDTH_STEP) * WIDTH_STEP, self._spec.length)
            place = begin[part, None] + self._columns[:width]
            mask = place < end[part, None]
            place *= mask  # of what is no token: the first of all texts, which is overwritten
            ids = self._ids[place].to(torch.int64).masked_fill_(~mask, self._encoder.padding)
            inputs = {"input_ids": ids, "attention_mask": mask.to(torch.int64)}
            if self._types is not None:
                inputs["token_type_ids"] = self._types[place].to(torch.int64) * mask
            return inputs

        return made
