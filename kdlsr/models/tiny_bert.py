"""A BERT with drawn weights, as small as is wanted: for tests, and beside pretrained networks."""

from collections.abc import Mapping
from typing import Annotated, Any

from torch import nn

from kdlsr.config import AtLeast, Between, UserError
from kdlsr.config.inputs import TextSpec
from kdlsr.machine.device import BF16_MATRICES
from kdlsr.models.pretrained import check_extra
from kdlsr.models.registry import Recipe, register
from kdlsr.models.text_network import LIBRARIES, TextNetwork
from kdlsr.models.tokenizing import FileEncoder, read_encoder

LONGEST = 512  # tokens of a text
FROM_SCRATCH = Recipe("adamw", lr=5e-4, weight_decay=0.01)  # ours, at a batch of 32


def _tiny_encoder(tokenizer: str) -> FileEncoder:
    return read_encoder(tokenizer, "model.tokenizer", types=True)


def _tiny_identity(
    tokenizer: str,  # noqa: ARG001 (its encoder has an identity of its own)
    layers: int = 2,
    width: int = 64,
    heads: int = 2,
    dropout: float = 0.1,
) -> Mapping[str, Any]:
    return {"layers": layers, "width": width, "heads": heads, "dropout": dropout}


@register(
    "tiny_bert",
    recipe=FROM_SCRATCH,
    small=True,
    encoder=_tiny_encoder,
    identity=_tiny_identity,
    bf16_flags=BF16_MATRICES,
    libraries=LIBRARIES,
)
def tiny_bert(
    *,
    spec: TextSpec,
    num_classes: int,
    tokenizer: str,
    layers: Annotated[int, AtLeast(1)] = 2,
    width: Annotated[int, AtLeast(1)] = 64,
    heads: Annotated[int, AtLeast(1)] = 2,
    dropout: Annotated[float, Between(0, 1, open_high=True)] = 0.1,
) -> nn.Module:
    """Builds a BERT with drawn weights, as small as is wanted.

    Args:
        spec: of the texts.
        num_classes: K.
        tokenizer: a tokenizer.json, a vocab.txt of BERT's, or a folder that has one of them.
        layers: of the encoder.
        width: of a token's vector; a layer's inner one is 4 times as wide.
        heads: of the attention; width is a multiple of it.
        dropout: as BERT has it, in all its places.

    Raises:
        UserError: no tokenizer there, a width that heads do not divide, texts that are too long.
    """
    check_extra()
    if width % heads:
        raise UserError(f"model.width={width} is no multiple of model.heads={heads}")
    if spec.length > LONGEST:
        raise UserError(f"tiny_bert takes at most {LONGEST} tokens; the data set gives {spec}")
    from transformers import BertConfig, BertForSequenceClassification

    encoder = _tiny_encoder(tokenizer)
    config = BertConfig(
        vocab_size=encoder.vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=LONGEST,
        pad_token_id=encoder.padding,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=num_classes,
        attn_implementation="eager",
    )
    return TextNetwork(BertForSequenceClassification(config), encoder=True)
