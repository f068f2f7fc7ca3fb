"""Pretrained networks of texts, whole or their first layers, by transformers.

transformers is imported when such a network is built. Attention is eager always: with a fused
kernel the width that a batch is padded to would move bits. No code of a checkpoint is ever run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import nn

from kdlsr.config import AtLeast, UserError
from kdlsr.config.inputs import TextSpec
from kdlsr.machine.device import BF16_MATRICES
from kdlsr.models.pretrained import (
    CONFIG,
    pretrained_folder,
    read_object,
    weights_identity,
)
from kdlsr.models.registry import Recipe, register
from kdlsr.models.text_network import LIBRARIES, TextNetwork
from kdlsr.models.tokenizing import FileEncoder, read_encoder

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Stacks of encoder layers, whose first k are a network of k layers. Every token sees every other
# one, so that a mask says which of them are padding and nothing else.
ENCODERS = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
OFFSET = ("camembert", "roberta", "xlm-roberta")  # their positions begin after the padding token
TWO_TYPES = ("albert", "bert", "electra", "mobilebert")  # unless their config says otherwise
FINE_TUNED = Recipe("adamw", lr=5e-5, weight_decay=0.01)  # as is common on GLUE, at a batch of 32


def _encoder(path: str) -> FileEncoder:
    folder = pretrained_folder(path)
    config, named = read_object(folder / CONFIG), f"model.path={path}: {CONFIG}"
    kind = config.get("model_type")
    types = _number(config, "type_vocab_size", named)
    if types is None:
        types = 2 if kind in TWO_TYPES else 1
    padding = _number(config, "pad_token_id", named)
    is_open = padding is None and kind not in ENCODERS
    instead = _padding_of_decoder(folder, path, named) if is_open else 0
    return read_encoder(
        str(folder), "model.path", types=types > 1, padding=padding, instead=instead
    )


def _padding_of_decoder(folder: Path, path: str, named: str) -> int | None:
    """Returns what pads where the last token that does not is looked at: none of a text's own."""
    config = _read_config(folder, path).to_dict()
    found = (_number(config, key, named) for key in ("pad_token_id", "eos_token_id"))
    return next((token for token in found if token is not None), None)


def _number(config: Mapping[str, Any], key: str, named: str) -> int | None:
    """Returns a number of a network's config, of several the first; None: it has none.

    -1 is how some say that there is no such token.
    """
    value = config.get(key)
    if isinstance(value, list) and value:
        value = value[0]
    if value is None or value == -1:
        return None
    if type(value) is not int or value < 0:
        raise UserError(f"{named} has {key}={value!r}; expected a whole number")
    return value


def _identity(path: str, layers: int | None = None) -> Mapping[str, Any]:
    return {**weights_identity(pretrained_folder(path)), "layers": layers}


@register(
    "hf",
    recipe=FINE_TUNED,
    encoder=_encoder,
    identity=_identity,
    bf16_flags=BF16_MATRICES,
    libraries=LIBRARIES,
)
def hf(
    *,
    spec: TextSpec,
    num_classes: int,
    path: str,
    layers: Annotated[int, AtLeast(1)] | None = None,
) -> nn.Module:
    """Builds a pretrained network with a classifier.

    The classifier is the checkpoint's, where it has one for as many classes; otherwise it is
    drawn. Dropout is as the checkpoint has it.

    Args:
        spec: of the texts.
        num_classes: K.
        path: a folder with config.json, .safetensors and a tokenizer, or a name on the Hugging
            Face Hub.
        layers: keep its first so many layers; None: all.

    Raises:
        UserError: it cannot be had or read, has fewer layers or none that can be counted, or
            takes no texts so long.
    """
    folder = pretrained_folder(path)
    config = _read_config(folder, path)
    _set_layers(config, layers, path)
    config.num_labels = num_classes
    encoder = _encoder(path)
    if config.pad_token_id is None or config.model_type not in ENCODERS:
        config.pad_token_id = encoder.padding
    _check_tokens(config, encoder, path)
    _check_length(config, spec, path)
    on_meta = torch.get_default_device().type == "meta"
    network = _from_config(config, path) if on_meta else _load(folder, config, path)
    return TextNetwork(network, config.model_type in ENCODERS)


for _name in ("bert_base", "distilbert", "minilm"):  # their config files say where the weights are
    register(
        _name,
        recipe=FINE_TUNED,
        encoder=_encoder,
        identity=_identity,
        bf16_flags=BF16_MATRICES,
        libraries=LIBRARIES,
    )(hf)


def _read_config(folder: Path, path: str) -> "PretrainedConfig":
    from transformers import AutoConfig

    _hush()
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # of many kinds: several libraries look into it
        raise UserError(
            f"model.path={path}: {CONFIG} is not of a network that transformers knows "
            f"({_first_line(error)})"
        ) from error
    if not hasattr(config, "vocab_size"):
        raise UserError(f"model.path={path}: a {config.model_type} reads no texts")
    return config


def _set_layers(config: "PretrainedConfig", layers: int | None, path: str) -> None:
    if layers is None:
        return
    if config.model_type not in ENCODERS:
        known = ", ".join(ENCODERS)
        raise UserError(
            f"model.layers={layers}: the layers of a {config.model_type} cannot be counted; "
            f"those of {known} can"
        )
    if layers > config.num_hidden_layers:
        raise UserError(
            f"model.layers={layers}: model.path={path} has {config.num_hidden_layers} layers"
        )
    config.num_hidden_layers = layers


def _check_tokens(config: "PretrainedConfig", encoder: FileEncoder, path: str) -> None:
    """Refuses a tokenizer with tokens that the network has no vector for, and such a padding."""
    tokens, vectors = encoder.vocabulary, config.vocab_size
    if tokens > vectors:
        raise UserError(
            f"model.path={path}: its tokenizer has {tokens:,} tokens, its network {vectors:,}"
        )
    if encoder.padding >= vectors:
        raise UserError(
            f"model.path={path}: token {encoder.padding:,} pads; its network has {vectors:,} tokens"
        )


def _check_length(config: "PretrainedConfig", spec: TextSpec, path: str) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return
    longest = positions - (1 + config.pad_token_id if config.model_type in OFFSET else 0)
    if spec.length > longest:
        raise UserError(
            f"model.path={path} takes at most {longest} tokens; the data set gives {spec}"
        )


def _from_config(config: "PretrainedConfig", path: str) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    try:
        network: nn.Module = AutoModelForSequenceClassification.from_config(
            config, attn_implementation="eager", trust_remote_code=False
        )
    except Exception as error:  # whatever a network's code makes of numbers that do not fit
        raise UserError(
            f"model.path={path}: no network can be built by its {CONFIG} ({_first_line(error)})"
        ) from error
    return network


def _load(folder: Path, config: "PretrainedConfig", path: str) -> nn.Module:
    """Returns the network with its weights; what the checkpoint lacks is drawn by torch."""
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    try:
        network, found = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            attn_implementation="eager",
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # of another task's classifier; of others it is told
            output_loading_info=True,
        )
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"model.path={path} cannot be read: {_first_line(error)}") from error
    names = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    lost = sorted(name for name in names if _is_of_the_body(name, network.base_model_prefix))
    if lost:
        raise UserError(f"model.path={path} has no weights, or others, for {lost[0]}")
    return network  # type: ignore[no-any-return]


def _is_of_the_body(name: str, prefix: str) -> bool:
    """Whether a tensor is of the pretrained network, its pooler apart, which many lack."""
    return name.startswith(f"{prefix}.") and ".pooler." not in name


def _hush() -> None:
    """Has transformers say nothing of how weights are loaded, which is checked here."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _first_line(error: Exception) -> str:
    """Returns what an error says, in a line: the first, and what that only announces."""
    first, *others = [line.strip() for line in str(error).strip().splitlines()] or [""]
    told = f"{first} {others[0]}" if first.endswith(":") and others else first
    return told or type(error).__name__
