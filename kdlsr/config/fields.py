"""Strict construction of typed objects from plain config values.

A field's constraint stands in its type, once: `Annotated[float, Between(0, 1)]`. Unknown
keys, wrong types and values out of range are refused with a `UserError` that names the
key by its full dotted path, what was expected and, for a misspelt key, the nearest one.

Not pydantic, which is there with wandb: its import takes 0.09 s, more than all of this room's, and
its messages would have to be made one line with the nearest key all the same.
"""

import dataclasses
import difflib
import inspect
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from kdlsr.config.errors import UserError

T = TypeVar("T")
MISSING = "???"  # in a config file: to be set by whoever uses it
_NAME = r"(?!\.)[\w.+-]+(?: [\w.+-]+)*"
_FOLDER = re.compile(f"{_NAME}(?:/{_NAME})*")
KNOWN = 30  # how many names a message lists at most
LARGEST = 1e100  # number in a config: its square is one too


@runtime_checkable
class FromPlain(Protocol):
    """A type that reads itself from what stands in a config."""

    @classmethod
    def from_plain(cls, value: Any, where: str) -> Any:
        """Returns what `value`, found at the dotted path `where`, means; refuses it otherwise."""


class Constraint(Protocol):
    """What a value must satisfy beyond its type; `str()` of it completes "expected ..."."""

    def allows(self, value: Any) -> bool: ...


@dataclass(frozen=True)
class Between:
    """A number in [low, high], or without an end where `open_low` / `open_high` is set."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def allows(self, value: Any) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return bool(above and below)

    def __str__(self) -> str:
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"a number in {left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True)
class Above:
    """A number greater than `low`."""

    low: float

    def allows(self, value: Any) -> bool:
        return bool(value > self.low)

    def __str__(self) -> str:
        return f"a number above {self.low:g}"


@dataclass(frozen=True)
class AtLeast:
    """A number no less than `low`."""

    low: float

    def allows(self, value: Any) -> bool:
        return bool(value >= self.low)

    def __str__(self) -> str:
        return f"a number of at least {self.low:g}"


@dataclass(frozen=True)
class FolderName:
    """The name of a report's folder below `reports/`, and nowhere else, on any file system."""

    def allows(self, value: Any) -> bool:
        return isinstance(value, str) and bool(_FOLDER.fullmatch(value))

    def __str__(self) -> str:
        return "a folder's name below reports/, of letters, digits and ._-+, and not begun with a ."


@dataclass(frozen=True)
class OneOf:
    """One of the given values (for choices that a `Literal` cannot carry)."""

    choices: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        return value in self.choices

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.choices))


def nearest(word: str, choices: Iterable[str]) -> str:
    """Returns "; nearest: ..." for the choices closest to `word`, or their list if few."""
    known = sorted(choices)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        letters = sorted(word)  # the same ones in another order are the likeliest slip
        close.sort(key=lambda choice: sorted(choice) != letters)
        return "; nearest: " + ", ".join(close)
    if len(known) > KNOWN:
        return f"; none of the {len(known)} known ones is near"
    return "; known: " + ", ".join(known) if known else ""


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Builds dataclass `cls` from plain config values found at the dotted path `where`.

    Raises:
        UserError: a key that `cls` has no field for, a missing value, a wrong type, or a
            value outside its constraint. A `ValueError` of `cls.__post_init__` (an
            impossible combination) becomes a `UserError` too.
    """
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    hints = get_type_hints(cls, include_extras=True)
    required = [
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    return _construct(cls, values, where, {name: hints[name] for name in fields}, required)


def build_call(
    function: Callable[..., T], values: Mapping[str, Any], where: str, **given: Any
) -> T:
    """Calls `function` with config `values` checked against its signature, and with `given`.

    Arguments in `given` come from the program and may not be set in the config.

    Raises:
        UserError: as for `build`.
    """
    parameters = inspect.signature(function).parameters
    hints = get_type_hints(function, include_extras=True)
    allowed = {name: hints.get(name, Any) for name in parameters if name not in given}
    required = [name for name in allowed if parameters[name].default is inspect.Parameter.empty]

    def call(**checked: Any) -> T:
        return function(**given, **checked)

    return _construct(call, values, where, allowed, required)


def _construct(
    target: Callable[..., T],
    values: Mapping[str, Any],
    where: str,
    hints: Mapping[str, Any],
    required: Sequence[str],
) -> T:
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in hints:
            raise UserError(f"unknown key {prefix}{key}{nearest(str(key), hints)}")
    for key in hints:
        if values.get(key) == MISSING or (key in required and key not in values):
            raise UserError(f"{prefix}{key} is missing; expected {describe(hints[key])}")
    checked = {key: convert(value, hints[key], prefix + key) for key, value in values.items()}
    try:
        return target(**checked)
    except ValueError as error:
        raise UserError(f"{where}: {error}" if where else str(error)) from error


def convert(value: Any, hint: Any, where: str) -> Any:
    """Returns `value` as the annotated type `hint` wants it.

    An integer is accepted where a float is wanted, a list where a tuple is; nothing else
    is converted: "0.1" is no number and 1 is no truth value.

    Raises:
        UserError: the value is not of that type, or outside the constraint.
    """
    matched, result = _match(value, hint, where)
    if not matched:
        raise UserError(f"{where}={_shown(value)} is not possible; expected {describe(hint)}")
    return result


def _shown(value: Any) -> str:
    is_number = isinstance(value, int | float) and LARGEST < abs(value) < math.inf
    return f"1e{math.log10(abs(value)):.0f} (beyond {LARGEST:g})" if is_number else repr(value)


def _match(value: Any, hint: Any, where: str) -> tuple[bool, Any]:
    origin = get_origin(hint)
    if hint is Any:
        return True, value
    if origin is Annotated:
        inner, *constraints = get_args(hint)
        matched, result = _match(value, inner, where)
        passed = matched and (result is None or all(c.allows(result) for c in constraints))
        return passed, result
    if origin in (Union, types.UnionType):
        if value is None and types.NoneType in get_args(hint):
            return True, None
        for option in get_args(hint):
            matched, result = _match(value, option, where)
            if matched:
                return True, result
        return False, None
    if isinstance(hint, FromPlain):
        return True, hint.from_plain(value, where)
    return _match_kind(value, hint, where)


def _match_kind(value: Any, hint: Any, where: str) -> tuple[bool, Any]:
    origin = get_origin(hint)
    if origin is Literal:
        # The choice itself: 1.0 means 1, and is the same run.
        same = [choice for choice in get_args(hint) if choice == value]
        return bool(same) and not isinstance(value, bool), same[0] if same else None
    if origin is tuple:
        element = get_args(hint)[0]
        if not isinstance(value, list | tuple):
            return False, None
        return True, tuple(convert(v, element, f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (dict, Mapping):
        element = get_args(hint)[1]
        if not isinstance(value, Mapping):
            return False, None
        return True, {key: convert(v, element, f"{where}.{key}") for key, v in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            return False, None
        return True, build(hint, value, where)
    return _match_plain(value, hint)


def _match_plain(value: Any, hint: Any) -> tuple[bool, Any]:
    if hint in (None, types.NoneType):
        return value is None, None
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not abs(value) <= LARGEST:
            return False, None
        return True, float(value) + 0.0  # -0.0 is 0.0
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool), value
    return isinstance(value, hint), value


def describe(hint: Any) -> str:
    """Says in words what `hint` accepts: "a number in [0, 1]"."""
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *constraints = get_args(hint)
        words = " and ".join(str(c) for c in constraints)
        if _optional_int(inner):
            words = words.replace("a number", "an integer")
        return words + (" or null" if types.NoneType in get_args(inner) else "")
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option) for option in get_args(hint))
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if origin is tuple:
        return f"a list, each {describe(get_args(hint)[0])}"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(hint):
        return "a mapping"
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    names |= {types.NoneType: "null"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def _optional_int(hint: Any) -> bool:
    return hint is int or (int in get_args(hint) and float not in get_args(hint))
