"""Ids: readable words, then a hash of everything that is meant to move a run's numbers.

What belongs into an identity is decided in `plan`; here it becomes text, and two identities are
compared key by key.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ID_LENGTH = 80
HASH_LENGTH = 10
SEAL, SEAL_LENGTH = "seal", 16
ABSENT = "absent"

Identity = Mapping[str, Any]


def canonical(value: Any) -> str:
    """Returns the one JSON text of a nested plain value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(identity: Identity, length: int = HASH_LENGTH) -> str:
    """Returns the first hex digits of an identity's SHA-256."""
    return hashlib.sha256(canonical(identity).encode()).hexdigest()[:length]


def readable_id(words: Sequence[str], identity: Identity) -> str:
    """Returns `words` and the identity's digest as one id: `[a-z0-9._-]`, at most 80 characters."""
    text = re.sub(r"[^a-z0-9._-]+", "-", "-".join(words).lower())
    return f"{text[: ID_LENGTH - HASH_LENGTH - 1].rstrip('-.')}-{digest_of(identity)}"


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns plain values with a digest of all of them, `seal`."""
    return {**values, SEAL: digest_of(values, SEAL_LENGTH)}


def is_sealed(values: Mapping[str, Any]) -> bool:
    """Whether values are, to the last digit, those that were sealed."""
    return sealed(unsealed(values)) == values


def unsealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values without their seal."""
    return {key: value for key, value in values.items() if key != SEAL}


@dataclass(frozen=True)
class FieldDifference:
    """A field in which two identities differ; `absent` where one of them does not have it."""

    key: str
    first: Any
    second: Any


def compare(first: Identity, second: Identity) -> list[FieldDifference]:
    """Returns the fields in which two identities differ, by dotted key, in their order."""
    a, b = flatten(first), flatten(second)
    return [
        FieldDifference(key, a.get(key, ABSENT), b.get(key, ABSENT))
        for key in {**a, **b}
        if key not in a or key not in b or canonical(a[key]) != canonical(b[key])
    ]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested plain values by dotted key; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
