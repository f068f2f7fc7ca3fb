"""Overrides as values: a key and what it is set to, read once and written once.

Text becomes an `Override` where it comes in (a command line, a list in a YAML file) and text
again where it goes out (a command to be copied, a composition); no other module cuts one up.
"""

import copy
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

from kdlsr.config.compose import GROUPS, option
from kdlsr.config.errors import UserError
from kdlsr.config.hydra_door import Sign, quoted, read_override
from kdlsr.config.refusals import unknown_key

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_MEANS_SOMETHING = ("null", "true", "false", "nan", "inf", "yes", "no", "on", "off")
_UNQUOTED = re.compile(r"[A-Za-z0-9_/.*?%@+|:-]+|\$\{[^{}'\"]+\}")
_SPECIAL = re.compile(r"[\\()\[\]{}:=, \t]")


class SeveralValues(UserError):
    """An override that stands for several values, where one is expected."""

    def __init__(self, text: str) -> None:
        key, _, values = text.partition("=")
        listed = f"[{values}]" if "(" not in values else "[...]"
        whole = shlex.quote(f"{key}={listed}")
        super().__init__(f"{text} is several values; expected one, or a list of them: {whole}")
        self.text = text


@dataclass(frozen=True, eq=False)
class Override:
    """One key of a config, and the value that it is given.

    Two are equal where they are written alike: 1 is neither 1.0 nor true.

    Attributes:
        key: a group (`loss`, `hydra/launcher`) or a dotted path (`loss.alpha`).
        value: plain and typed; not to be changed.
        sign: Hydra's prefix: `+` adds a key, `++` adds or changes it, `~` takes it away.
    """

    key: str
    value: object = None
    sign: Sign = ""

    @classmethod
    def parse(cls, text: str) -> "Override":
        """Reads what a user wrote.

        Raises:
            SeveralValues: it is a sweep.
            UserError: it cannot be read.
        """
        sign, key, value, is_sweep = read_override(text)
        if is_sweep:
            raise SeveralValues(text)
        return cls(key, value, sign)

    @property
    def section(self) -> str:
        """The first part of the key: `loss` of `loss.alpha`, `hydra` of `hydra/launcher`."""
        return re.split(r"[./@]", self.key, maxsplit=1)[0]

    @property
    def leaf(self) -> str:
        """The last part of the key: `alpha` of `loss.alpha`."""
        return re.split(r"[./@]", self.key)[-1]

    @cached_property
    def text(self) -> str:
        """As Hydra's grammar reads it back, to the same value and type."""
        if self.sign == "~" and self.value is None:
            return f"~{self.key}"
        return f"{self.sign}{self.key}={write_value(self.value)}"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Override) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class Overrides(Sequence[Override]):
    """Overrides in the order in which they act.

    Of two of one key the last one counts, and the choice of a group stands before what is set
    within it. Immutable; equal where they are written alike.
    """

    def __init__(self, overrides: Iterable[Override] = ()) -> None:
        last = {(o.key, o.sign == "~"): o for o in overrides}
        self._overrides = tuple(sorted(last.values(), key=lambda o: "." in o.key))

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Overrides":
        """Reads what a user wrote; refuses as `Override.parse` does."""
        return cls(map(Override.parse, texts))

    @classmethod
    def from_plain(cls, value: object, where: str) -> "Overrides":
        """Reads a list of overrides that stands in a config or a table.

        Raises:
            UserError: it is no list of strings, or one of them cannot be read.
        """
        if isinstance(value, Overrides):
            return value
        if not isinstance(value, list | tuple):
            raise UserError(f"{where}={value!r} is not possible; expected a list of overrides")
        for index, text in enumerate(value):
            if not isinstance(text, str):
                raise UserError(f"{where}[{index}]={text!r} is not possible; expected a string")
        try:
            return cls.parse(value)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error

    @classmethod
    def of(cls, group: str, name: str, options: Mapping[str, object]) -> "Overrides":
        """Chooses an option of a group and sets what is within it: `loss=kd loss.tau=4.0`."""
        inside = (Override(f"{group}.{key}", value) for key, value in options.items())
        return cls([Override(group, name), *inside])

    def get(self, key: str, default: object = None) -> object:
        """Returns the value that a key is given here."""
        return next((o.value for o in self._overrides if o.key == key), default)

    def only(self, *names: str) -> "Overrides":
        """Returns those of the named keys and sections."""
        return Overrides(o for o in self._overrides if o.key in names or o.section in names)

    def without(self, *names: str) -> "Overrides":
        """Returns all but those of the named keys and sections."""
        named = set(self.only(*names))
        return Overrides(o for o in self._overrides if o not in named)

    def set(self, key: str, value: object) -> "Overrides":
        """Returns these and one more."""
        return Overrides([*self._overrides, Override(key, value)])

    def texts(self) -> list[str]:
        """Returns each as Hydra's grammar reads it back."""
        return [o.text for o in self._overrides]

    def apply_to(self, plain: Mapping[str, object], where: str = "") -> dict[str, object]:
        """Returns a composed config, changed as composing it with these overrides would.

        Args:
            plain: nested plain values.
            where: what a message says first.

        Raises:
            UserError: one names what is not there.
        """
        changed = copy.deepcopy(dict(plain))
        for override in self._overrides:
            _apply(changed, override, f"{where}: " if where else "")
        return changed

    def __add__(self, others: Iterable[Override]) -> "Overrides":
        return Overrides([*self._overrides, *others])

    @overload
    def __getitem__(self, index: int) -> Override: ...
    @overload
    def __getitem__(self, index: slice) -> "Overrides": ...
    def __getitem__(self, index: int | slice) -> "Override | Overrides":
        if isinstance(index, slice):
            return Overrides(self._overrides[index])
        return self._overrides[index]

    def __len__(self) -> int:
        return len(self._overrides)

    def __iter__(self) -> Iterator[Override]:
        return iter(self._overrides)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Overrides) and self._overrides == other._overrides

    def __hash__(self) -> int:
        return hash(self._overrides)

    def __str__(self) -> str:
        """As the words of a command, quoted for a shell."""
        return shlex.join(self.texts())

    def __repr__(self) -> str:
        return f"Overrides.parse({self.texts()!r})"


NO_OVERRIDES = Overrides()


def _apply(plain: dict[str, object], override: Override, where: str) -> None:
    key, value = override.key, copy.deepcopy(override.value)
    if override.sign == "~":
        raise UserError(f"{where}{override}: nothing can be taken away here")
    if key == "seed":  # the others follow it
        plain |= {"seed": value, "init_seed": value, "data_seed": value}
    elif key in GROUPS:
        plain[key] = option(key, str(value))
    else:
        *parents, leaf = key.split(".")
        section: object = plain
        for parent in parents:
            section = section.get(parent) if isinstance(section, dict) else None
        if not isinstance(section, dict) or leaf not in section:
            raise UserError(f"{where}{unknown_key(key, plain)}")
        section[leaf] = value


def write_value(value: object) -> str:
    """Writes a plain value as Hydra's grammar reads it back, to the same type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return value if _reads_as_itself(value) else quoted(value)
    if isinstance(value, Mapping):
        pairs = (f"{_written_key(str(k))}:{write_value(v)}" for k, v in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(write_value, value)) + "]"
    raise TypeError(f"{value!r} is no plain value")


def _written_key(key: str) -> str:
    return _SPECIAL.sub(lambda special: "\\" + special[0], key)


def _reads_as_itself(text: str) -> bool:
    if text.lower() in _MEANS_SOMETHING:
        return False
    if _WORD.fullmatch(text):
        return True
    if not _UNQUOTED.fullmatch(text):
        return False
    try:
        return read_override(f"key={text}").value == text
    except UserError:
        return False


_HAS_FILTER = re.compile(r"""\[?[^\[\]{}"']*=[^\[\]{}"']*\]?""")


def quote_filters(text: str, keys: Sequence[str]) -> str:
    """Quotes `runs=[loss.name=kd]` as Hydra wants it, whose grammar has no `=` in a value.

    Args:
        text: an override as it was typed.
        keys: those whose values are filters.
    """
    key, _, value = text.partition("=")
    if key not in keys or not _HAS_FILTER.fullmatch(value):
        return text
    return str(Override(key, [item.strip() for item in value.strip("[]").split(",")]))
