"""A classifier of transformers' as a network of this suite: a dict of tokens -> logits."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

LIBRARIES = ("tokenizers", "transformers")  # whose versions its numbers depend on
INNER = "network."


class TextNetwork(nn.Module):
    """A sequence classifier of transformers', from tokens to logits.

    In a state dict its tensors have the names that they have in a checkpoint of transformers'.

    Args:
        network: the classifier.
        encoder: whether every token sees every other one that is no padding.
    """

    def __init__(self, network: nn.Module, encoder: bool) -> None:
        super().__init__()
        self.network = network
        self._encoder = encoder
        self.register_state_dict_post_hook(_without_inner)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_with_inner)  # type: ignore[no-untyped-call]

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns logits (B, K).

        Args:
            inputs: `input_ids`, `attention_mask` and maybe `token_type_ids`, (B, L) each.
        """
        mask = inputs["attention_mask"]
        if self._encoder:
            mask = _added_to_scores(mask)
        logits: Tensor = self.network(**{**inputs, "attention_mask": mask}).logits
        return logits


def _without_inner(
    _module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Mapping[str, Any]
) -> None:
    for name in [name for name in state if name.startswith(prefix + INNER)]:
        state[prefix + name.removeprefix(prefix + INNER)] = state.pop(name)


def _with_inner(_module: nn.Module, state: dict[str, Any], prefix: str, *_others: object) -> None:
    for name in [name for name in state if name.startswith(prefix)]:
        state[prefix + INNER + name.removeprefix(prefix)] = state.pop(name)


def _added_to_scores(mask: Tensor) -> Tensor:
    """Returns a mask (B, 1, 1, L) that is added to attention scores: 0, or their lowest number.

    transformers would make the same of it, once the host has waited to see whether any text is
    padded at all.
    """
    kind = mask.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
    hidden = mask[:, None, None, :] == 0
    return torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, torch.finfo(dtype).min)
