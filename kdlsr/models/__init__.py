"""Networks: a batch of inputs, mostly images (N, C, H, W) -> logits (N, K), one file per family.

Here may come: plain `nn.Module`s written in torch, registered under the name that a config
uses, each with the recipe it is trained by unless the schedule says otherwise. What may not:
losses, data, weights from files, anything that knows it is being distilled. Imports
`kdlsr.config` and `kdlsr.machine` alone; timm is imported where a network of timm's is built.

All of these keep channels_last: what goes in so comes out of every layer so. `features(x)`
gives the last feature map (N, C', h, w) of the networks that pool it.
"""

from kdlsr.models.registry import (
    ModelOption,
    Recipe,
    build_model,
    check_builds,
    encoder_of,
    models,
    options_without_tensors,
)

__all__ = [
    "ModelOption",
    "Recipe",
    "build_model",
    "check_builds",
    "encoder_of",
    "models",
    "options_without_tensors",
]
