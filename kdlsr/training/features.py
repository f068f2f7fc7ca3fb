"""What a network's last layer is given, and that layer: its penultimate features and templates.

Looked at in a prediction of its own, after training; nothing that is learned or reported before
depends on it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdlsr.config import UserError
from kdlsr.data.samples import Inputs
from kdlsr.data.stream import EvalStream
from kdlsr.machine.device import AUTOCAST_DTYPES
from kdlsr.training.learner import Learner


@dataclass(frozen=True)
class Features:
    """A network's penultimate features of some samples, and its classifier, all fp32.

    Attributes:
        features: (N, D), the input of the last linear layer.
        weight: (K, D), of that layer: a template for each class.
        bias: (K,), zeros where it has none.
    """

    features: Tensor
    weight: Tensor
    bias: Tensor


def last_layer(model: nn.Module, num_classes: int) -> nn.Linear | nn.Conv2d:
    """Returns the layer that gives the logits: linear, or a 1x1 convolution (MobileNetV2).

    Raises:
        UserError: the network has none with so many outputs.
    """
    for layer in reversed(list(model.modules())):
        if isinstance(layer, nn.Linear) and layer.out_features == num_classes:
            return layer
        is_pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
        if isinstance(layer, nn.Conv2d) and is_pointwise and layer.out_channels == num_classes:
            return layer
    raise UserError(
        f"keep_features=true: {type(model).__name__} has no last linear layer of {num_classes} "
        "outputs, whose inputs would be kept"
    )


def penultimate_features(learner: Learner, stream: EvalStream, num_classes: int) -> Features:
    """Returns the features of all samples of `stream`, in its order, in the learner's precision.

    Raises:
        UserError: as `last_layer`.
    """
    layer = last_layer(learner.model, num_classes)
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    dtype = AUTOCAST_DTYPES.get(learner.precision)

    def features_of(inputs: Inputs) -> Tensor:
        seen.clear()
        # Not compiled: a compiled network was traced without the hook.
        learner.model.forward(inputs)
        (found,) = seen
        return found.flatten(1).to(torch.float32, copy=True)

    learner.model.eval()
    try:
        with (
            torch.inference_mode(),
            torch.autocast(learner.device.type, dtype=dtype, enabled=dtype is not None),
        ):
            features = stream.collect(lambda batch: features_of(batch.inputs))
    finally:
        hook.remove()
    weight = layer.weight.detach().flatten(1).float()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach().float()
    return Features(features, weight, bias)
