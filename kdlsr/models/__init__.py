"""Networks: a batch of inputs, images (N, C, H, W) or tokens -> logits (N, K), a file per family.

Here may come: plain `nn.Module`s written in torch, registered under the name that a config
uses, each with the recipe it is trained by unless the schedule says otherwise; and pretrained
ones by the names of others (timm's, the Hugging Face Hub's), with their tokenizers. What may not:
losses, data, a run's own weights, anything that knows it is being distilled. Imports
`kdlsr.config`, `kdlsr.files` and `kdlsr.machine` alone; timm and transformers are imported where
a network of theirs is built.

All of images keep channels_last: what goes in so comes out of every layer so. `features(x)`
gives the last feature map (N, C', h, w) of the networks that pool it.
"""

from kdlsr.models.registry import (
    ModelOption,
    Recipe,
    build_model,
    check_builds,
    encoder_of,
    identity_of_options,
    library_versions,
    models,
    options_without_tensors,
)

__all__ = [
    "ModelOption",
    "Recipe",
    "build_model",
    "check_builds",
    "encoder_of",
    "identity_of_options",
    "library_versions",
    "models",
    "options_without_tensors",
]
