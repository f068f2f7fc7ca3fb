"""The layer that gives the logits, in fp32 where a network is evaluated in lower precision.

Logits in bf16 have eight bits: of a thousand images some tie, and others change their class. In
fp32 this one layer costs nothing that can be measured (`tests/benchmarks/evaluation.py`). Training
is left in the precision that was chosen.
"""

import torch
from torch import Tensor, nn

WITHOUT_AUTOCAST = "meta"  # where shapes alone are computed; torch's own question breaks a graph


class _InFp32(nn.Module):
    """A layer that computes in fp32 in evaluation mode, whatever autocast says."""

    weight: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """As the layer that it stands in for; features may be of any floating type."""
        out: Tensor
        device = features.device.type
        if self.training or device == WITHOUT_AUTOCAST:
            out = super().forward(features)
            return out
        with torch.autocast(device, enabled=False):
            out = super().forward(features.to(self.weight.dtype))
            return out


class Classifier(_InFp32, nn.Linear):
    """Maps features (N, D) to logits (N, K)."""


class PointwiseClassifier(_InFp32, nn.Conv2d):
    """Maps features (N, D, h, w) to logits (N, K, h, w)."""


_STANDS_IN: dict[type[nn.Module], type[_InFp32]] = {
    nn.Linear: Classifier,
    nn.Conv2d: PointwiseClassifier,
}


def with_classifier(model: nn.Module, num_classes: int) -> nn.Module:
    """Returns a network whose last layer computes in fp32 when it is evaluated.

    The layer's parameters and buffers stay the same objects by the same names, and no random
    number is drawn. A network that does not end in a linear layer or a convolution of K outputs
    stays as it is.

    Args:
        model: changed in place, unless it is such a layer itself.
        num_classes: K.
    """
    layers = [item for item in model.named_modules() if isinstance(item[1], tuple(_STANDS_IN))]
    if not layers:
        return model
    path, last = layers[-1]
    kind = _STANDS_IN.get(type(last))
    if kind is None or len(last.weight) != num_classes:
        return model
    classifier = kind.__new__(kind)
    classifier.__dict__ = last.__dict__
    if not path:
        return classifier
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, classifier)
    return model
