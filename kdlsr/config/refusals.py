"""What Hydra and OmegaConf say in several lines, said in one, with what is near."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from kdlsr.config.fields import nearest


def one_line(
    text: str, cause: str, options: Callable[[str], Iterable[str]], known: Callable[[], object]
) -> str:
    """Returns an error's line.

    Args:
        text: what Hydra or OmegaConf say.
        cause: what they say was the cause; "" where there is none.
        options: the names of a group's options.
        known: the nested plain values, in which a key was looked for.
    """
    missing = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    if missing:
        group, name = missing.groups()
        return no_such_option(group, name, options(group))
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key, there = unknown[1], known()
        is_elsewhere = any(path.endswith(f".{key}") for path in _paths(there))
        if "." not in key and set(options(key)) and not is_elsewhere:
            return f"{key} is not chosen yet: begin with a plus, +{key}=..."
        return unknown_key(key, there)
    twice = re.search(r"Could not append to config[^']*'([^']+)'", text)
    if twice:
        return f"{twice[1]} is there already: drop the + before it"
    ambiguous = re.search(r"Ambiguous value for argument '([^']+)'", text)
    if ambiguous:
        return f"{ambiguous[1]} is several values; expected one"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines += [line.strip() for line in cause.splitlines()[:1]]
    return "; ".join(lines[:2])


def no_such_option(group: str, name: str, options: Iterable[str]) -> str:
    """Says that a group has no option of a name, and which are near."""
    return f"{group}={name}: no such option{nearest(name, options)}"


def unknown_key(key: str, known: object) -> str:
    """Says that a dotted key is not there, and which are near.

    Args:
        key: as it was given.
        known: nested plain values, in which it was looked for.
    """
    *parents, leaf = key.split(".")
    prefix = "".join(f"{parent}." for parent in parents)
    section = known
    for parent in parents:
        section = section.get(parent) if isinstance(section, Mapping) else None
    names = [f"{prefix}{name}" for name in section] if isinstance(section, Mapping) else []
    elsewhere = [path for path in _paths(known) if path.split(".")[-1] == leaf]
    near = f"; nearest: {', '.join(elsewhere[:3])}" if elsewhere else nearest(prefix + leaf, names)
    return f"unknown key {key}{near}"


def _paths(values: object, prefix: str = "") -> Iterator[str]:
    """Yields every dotted key, Hydra's own apart."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if prefix or key != "hydra":
            yield f"{prefix}{key}"
            yield from _paths(value, f"{prefix}{key}.")
