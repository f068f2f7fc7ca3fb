"""Texts as an encoder's tokens, made once in a process and kept on disk for later ones.

A file's name is made from all that decides its tokens, and it is checked (by the CRC-32 that
its format has) when it is read, so a stale or damaged cache is never used. It may be deleted.
"""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kdlsr.config.encoding import Encoder, Tokens
from kdlsr.data.dataset import cache_dir
from kdlsr.files import disk_refusals, write_whole

if TYPE_CHECKING:
    from kdlsr.data.texts import Texts

FORMAT = 1  # raised when what is written changes


# Two data sets of a few splits, each read by a student and a teacher.
HELD = 12
_held: dict[Path, Tokens] = {}


def tokenised(texts: "Texts", encoder: Encoder, length: int) -> Tokens:
    """Returns the tokens of `texts`, at most `length` of each, from the cache where they are.

    Raises:
        UserError: the cache cannot be written.
        ValueError: the encoder gives more tokens than it may, or none.
    """
    path = _path(texts, encoder, length)
    if path not in _held:
        while len(_held) >= HELD:
            _held.pop(next(iter(_held)))
        _held[path] = _read(path, len(texts.parts)) or _made(path, texts, encoder, length)
    return _held[path]


def _path(texts: "Texts", encoder: Encoder, length: int) -> Path:
    parts = [FORMAT, texts.digest, encoder.identity, length]
    return cache_dir() / "tokens" / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.npz"


def _made(path: Path, texts: "Texts", encoder: Encoder, length: int) -> Tokens:
    tokens = encoder.encode(texts.parts, length)
    lengths, count = tokens.lengths, len(texts.parts)
    if len(lengths) != count or not 1 <= lengths.min() <= lengths.max() <= length:
        raise ValueError(
            f"{len(lengths)} texts of {lengths.min()} to {lengths.max()} tokens are not "
            f"{count} of 1 to {length}"
        )
    _write(path, tokens)
    return tokens


def _write(path: Path, tokens: Tokens) -> None:
    arrays = {"ids": tokens.ids, "offsets": tokens.offsets}
    if tokens.types is not None:
        arrays["types"] = tokens.types
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    with disk_refusals(path):
        write_whole(path, content.getvalue())


def _read(path: Path, count: int) -> Tokens | None:
    """Returns the tokens in a file, or None where it is missing, truncated or altered."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            tokens = Tokens(arrays["ids"], arrays["offsets"], arrays.get("types"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # made anew
    return tokens if len(tokens.lengths) == count else None
