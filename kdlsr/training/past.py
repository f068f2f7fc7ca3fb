"""What a network remembers of itself: its weights after each of its last epochs.

Weights only. Who learns from them, and how, is `teachers/`'s.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

Weights = Mapping[str, Tensor]


class Past:
    """A network's weights after its last epochs, on the CPU; they are part of its checkpoint.

    Args:
        depth: how many epochs are remembered; 0: none, which costs nothing.
    """

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self._newest_first: list[Weights] = []

    def remember(self, model: nn.Module) -> None:
        """Keeps the weights of `model` (its buffers too) as those after one more epoch."""
        if self.depth:
            state = {name: _copied(value) for name, value in model.state_dict().items()}
            self._newest_first = [state, *self._newest_first][: self.depth]

    def ago(self, epochs: int) -> Weights | None:
        """Returns the weights of so many epochs before the newest; None where there are none."""
        return self._newest_first[epochs] if epochs < len(self._newest_first) else None

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is remembered."""
        return {"newest_first": [dict(weights) for weights in self._newest_first]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`."""
        self._newest_first = list(state["newest_first"])


def _copied(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True)
