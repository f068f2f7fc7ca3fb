"""HTML that is escaped by construction: a plain string is text, only `Markup` is markup."""

import html
import re
from typing import Self


class Markup(str):
    """HTML that may be put in a page as it is."""

    __slots__ = ()

    def __add__(self, other: str) -> "Self":
        """Appends markup, or text, which is escaped."""
        return type(self)(str(self) + escaped(other))


def escaped(content: str) -> Markup:
    """Returns text as markup; markup as it is."""
    return content if isinstance(content, Markup) else Markup(html.escape(content, quote=True))


def join(*parts: str, between: str = "") -> Markup:
    """Returns texts and markup one after the other."""
    return Markup(escaped(between).join(escaped(part) for part in parts))


def element(name: str, *content: str, **attributes: str | bool | None) -> Markup:
    """Returns an element.

    Args:
        name: of the element.
        content: text or markup, one after the other.
        attributes: `class_` is `class`, `data_label` is `data-label`; True is written as the
            name alone, None and False are left out.
    """
    return Markup(f"{_opening(name, attributes)}{join(*content)}</{name}>")


def void(name: str, **attributes: str | bool | None) -> Markup:
    """Returns an element that has no content and no end tag."""
    return Markup(_opening(name, attributes))


def _opening(name: str, attributes: dict[str, str | bool | None]) -> str:
    written = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(attribute)
        elif isinstance(value, str):
            written.append(f'{attribute}="{escaped(value)}"')
    return f"<{' '.join(written)}>"


def typeset(numbers: str) -> str:
    """Returns numbers in words with a true minus sign in front of what is negative."""
    return re.sub(r"-(?=\d)", "\N{MINUS SIGN}", numbers)
