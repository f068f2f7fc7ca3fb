"""The tokenizers of networks of texts: read from files, set as this suite uses them.

The `tokenizers` library does the work (the fast tokenizers of transformers); it is imported where
a tokenizer is read. A file may say that texts are padded, or cut at a length of its own: neither
is taken over, since batches pad their texts themselves.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kdlsr.config import UserError
from kdlsr.config.encoding import Encoder, Tokens
from kdlsr.models.pretrained import (
    CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCABULARY,
    check_extra,
    place_of,
    read_object,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHUNK = 8192  # texts that are encoded at once
PARALLEL = "TOKENIZERS_PARALLELISM"  # the library's own switch
PADDING_TOKENS = ("[PAD]", "<pad>")


class FileEncoder(Encoder):
    """A tokenizer of a file.

    Args:
        tokenizer: without padding and truncation.
        identity: SHA-256 of what it was made from.
        padding: the token that fills up a batch's shorter texts.
        types: whether the network is told which sentence of a pair each token is of.
    """

    def __init__(self, tokenizer: "Tokenizer", identity: str, padding: int, types: bool) -> None:
        self._tokenizer = tokenizer
        self._padding = padding
        self._types = types
        settings = [identity, padding, types, "longest_first"]
        self._identity = hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def padding(self) -> int:
        return self._padding

    @property
    def vocabulary(self) -> int:
        """Tokens are in [0, vocabulary)."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=0)

    def encode(self, texts: Sequence[tuple[str, ...]], length: int) -> Tokens:
        pairs = bool(texts) and len(texts[0]) == 2
        marks = self._tokenizer.num_special_tokens_to_add(pairs)
        if length <= marks:
            raise UserError(f"texts of {length} tokens have no room: {marks} of them are marks")
        self._tokenizer.enable_truncation(length, strategy="longest_first")
        ids: list[np.ndarray[Any, np.dtype[np.int32]]] = []
        types: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
        lengths: list[int] = []
        with _in_as_many_threads_as_torch():
            for start in range(0, len(texts), CHUNK):
                chunk = [text if pairs else text[0] for text in texts[start : start + CHUNK]]
                found = self._tokenizer.encode_batch_fast(chunk)
                lengths.extend(len(encoding) for encoding in found)
                ids.append(np.fromiter(chain(*(e.ids for e in found)), np.int32))
                if self._types:
                    types.append(np.fromiter(chain(*(e.type_ids for e in found)), np.uint8))
        return Tokens(
            ids=np.concatenate(ids) if ids else np.empty(0, np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
            types=np.concatenate(types) if types else None,
        )


@contextmanager
def _in_as_many_threads_as_torch() -> Iterator[None]:
    """Keeps the library, which would take every core, to one where torch has one thread.

    What a user has set in its own variable is respected.
    """
    if PARALLEL in os.environ:
        yield
        return
    os.environ[PARALLEL] = "true" if torch.get_num_threads() > 1 else "false"
    try:
        yield
    finally:
        del os.environ[PARALLEL]


def read_encoder(
    path: str, where: str, *, types: bool, padding: int | None = None, instead: int | None = 0
) -> FileEncoder:
    """Reads a tokenizer.

    Args:
        path: a tokenizer.json, a vocab.txt of BERT's, or a folder that has one of them; perhaps
            in an installed package (`place_of`).
        where: the config key that named it, for messages: `model.tokenizer`.
        types: whether the network is told which sentence of a pair each token is of.
        padding: the token that pads; None: the one that is called so.
        instead: the one that pads where none is called so; None: there has to be one.

    Raises:
        UserError: there is none, it cannot be read, or has no token to pad by.
    """
    check_extra()
    file = _tokenizer_file(place_of(path, where), f"{where}={path}")
    tokenizer, identity = _read_once(file, file.stat().st_mtime_ns, f"{where}={path}")
    if padding is None:
        known = (tokenizer.token_to_id(token) for token in PADDING_TOKENS)
        padding = next((token for token in known if token is not None), instead)
    if padding is None:
        called = " or ".join(PADDING_TOKENS)
        raise UserError(
            f"{where}={path}: no token pads: its {CONFIG} has neither pad_token_id nor "
            f"eos_token_id, its tokenizer no {called}; set pad_token_id to one that no text has"
        )
    return FileEncoder(tokenizer, identity, padding, types)


def _tokenizer_file(path: Path, named: str) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"{named}: no such file or folder")
    for name in (TOKENIZER, VOCABULARY):
        if (path / name).is_file():
            return path / name
    raise UserError(f"{named} has no {TOKENIZER}, nor a {VOCABULARY} of BERT's")


@functools.lru_cache(maxsize=8)
def _read_once(file: Path, _time: int, named: str) -> "tuple[Tokenizer, str]":
    from tokenizers import Tokenizer

    try:
        if file.suffix == ".txt":
            return _word_piece(file)
        content = {**read_object(file), "padding": None, "truncation": None}
        return Tokenizer.from_str(json.dumps(content)), _digest(content)
    except UserError:
        raise
    except Exception as error:  # the library raises no narrower kind
        raise UserError(f"{named}: {file.name} is no tokenizer ({error})") from error


def _word_piece(file: Path) -> "tuple[Tokenizer, str]":
    """Returns BERT's tokenizer for a vocabulary, a token a line, as BERT's code builds it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    # A token may be what Unicode ends lines with, and has a line of its own like any other.
    words = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    vocabulary = {word: token for token, word in enumerate(words)}
    marks = {mark: vocabulary.get(mark) for mark in ("[CLS]", "[SEP]", "[UNK]")}
    missing = [mark for mark, token in marks.items() if token is None]
    if missing:
        raise UserError(f"{file} has no {missing[0]}: no vocabulary of BERT's")
    lowercase = bool(_settings(file).get("do_lower_case", True))
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(mark, vocabulary[mark]) for mark in ("[CLS]", "[SEP]")],
    )
    return tokenizer, _digest({"vocabulary": words, "lowercase": lowercase})


def _settings(vocabulary: Path) -> Mapping[str, Any]:
    beside = vocabulary.with_name(TOKENIZER_CONFIG)
    return read_object(beside) if beside.is_file() else {}


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
