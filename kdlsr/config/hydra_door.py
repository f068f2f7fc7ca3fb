"""The one door into Hydra: its grammar of overrides, and composing; its public API only.

Text goes in, plain values come out. No other module of kdlsr imports hydra, and nothing of a run
depends on Hydra once its config is composed.
"""

import functools
import shlex
from typing import Literal, NamedTuple, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ValueType
from hydra.errors import HydraException

from kdlsr.config.errors import UserError

Sign = Literal["", "+", "++", "~"]


class ReadOverride(NamedTuple):
    """An override as Hydra's grammar reads it; `is_sweep` where it stands for several values."""

    sign: Sign
    key: str
    value: object
    is_sweep: bool


@functools.lru_cache(maxsize=4096)  # a plan reads the same ones again and again
def read_override(text: str) -> ReadOverride:
    """Reads one override, such as `loss.alpha=0.1`, `+cluster=ray` or `~tracker`.

    Its value must not be changed: it is read once and shared. That of a sweep is its text.

    Raises:
        UserError: it cannot be read.
    """
    try:
        (parsed,) = OverridesParser.create().parse_overrides([text])
    except HydraException as error:
        first, *rest = str(error).splitlines()
        reason = rest[0] if rest and first.startswith("Error parsing") else first
        raise UserError(f"cannot read {text}: {reason}{_how_to_quote(text)}") from error
    signed = parsed.get_key_element()
    key = signed.lstrip("+~")
    if parsed.value_type not in (None, ValueType.ELEMENT):
        value: object = text.partition("=")[2]
        is_sweep = True
    else:
        value, is_sweep = parsed.value(), False
    return ReadOverride(cast(Sign, signed[: len(signed) - len(key)]), key, value, is_sweep)


def _how_to_quote(text: str) -> str:
    """Says how a value that the grammar does not take as it is can be given all the same."""
    key, is_assigned, value = text.partition("=")
    if not key or not is_assigned or not value or value[0] in "'\"[{$":
        return ""
    quoted = shlex.quote(f'{key}="{value}"')
    return "" if '"' in value else f"; a string can be quoted: {quoted}"
