"""The one reader of YAML that people write: tables, profiles, `conf/` and a user's own options.

Stricter than YAML: one document of UTF-8, no key twice, and no file that grows out of proportion.
Numbers are read as OmegaConf reads them, which composes most of these files (1e-3 is a number).
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import ClassVar

import yaml

from kdlsr.config.errors import UserError

MAX_BYTES = 4 * 1024**2
MAX_VALUES = 100_000  # once what an alias repeats is written out
MAX_DEPTH = 100
_MERGE = "tag:yaml.org,2002:merge"
_FLOAT = "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "bool", "null", "map", "seq")}
_IS_FLOAT = re.compile(
    r"(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(?:[eE][-+]?[0-9]+)|\.[0-9_]+(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader, with OmegaConf's numbers and without dates."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {
        first: [(tag, form) for tag, form in resolvers if tag not in (_TIMESTAMP, _FLOAT)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(_FLOAT, _IS_FLOAT, list("-+0123456789."))


def read_yaml(path: Path) -> dict[str, object]:
    """Returns the mapping that a file holds; an empty file is an empty one.

    Raises:
        UserError: the file cannot be had or read, or breaks one of the rules; one line that
            names it, and the line in it where there is one.
    """
    values = read_any_yaml(path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping")
    return values


def read_any_yaml(path: Path) -> object:
    """Returns the value that a file holds: a mapping, a list, ...; None for an empty file.

    Raises:
        UserError: as for `read_yaml`.
    """
    return parse_yaml(_text_of(path), str(path))


def parse_yaml(text: str, where: str) -> object:
    """Returns the value that some YAML stands for; `where` is named in what is refused.

    Raises:
        UserError: it cannot be read, or breaks one of the rules.
    """
    try:
        _check_depth(text, where)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Checker(where).check(node)
        value: object = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(f"{where}{_reason_of(error, text)}") from error
    except ValueError as error:  # of a number or a character that Python does not have
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
    return value


def _text_of(path: Path) -> str:
    try:
        if not path.is_file():  # a pipe would never end
            raise UserError(f"{path.name}: no such file in {path.parent}")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: more than {MAX_BYTES // 1024**2} MiB, too large for a config")
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def _check_depth(text: str, where: str) -> None:
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UserError(f"{where}: nested more than {MAX_DEPTH} deep, too deep for a config")


class _Checker:
    """Looks through a document before anything is made of it."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.sizes: dict[int, int] = {}  # of what has been seen, aliases written out

    def check(self, node: yaml.Node) -> int:
        """Returns how many values a node stands for; 0 stands for one that is being looked at."""
        if id(node) in self.sizes:
            size = self.sizes[id(node)]
            if not size:
                raise UserError(f"{self.where}, line {_line(node)}: it contains itself")
            return size
        self.sizes[id(node)] = 0
        size = 1
        if node.tag not in (*_PLAIN, _FLOAT, _MERGE):
            raise UserError(f"{self.where}, line {_line(node)}: {node.tag} is no plain value")
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            size += sum(self.check(key) + self.check(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            size += sum(map(self.check, node.value))
        if size > MAX_VALUES:
            raise UserError(f"{self.where}: aliases repeat more than {MAX_VALUES:,} values")
        self.sizes[id(node)] = size
        return size

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: dict[Hashable, int] = {}
        for key, _ in node.value:
            line = _line(key)
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"{self.where}, line {line}: a key must be a word")
            if key.tag == _MERGE:
                continue
            if key.value in seen:
                first = seen[key.value]
                raise UserError(
                    f"{self.where}, line {line}: {key.value} is there twice (first in line {first})"
                )
            seen[key.value] = line


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _reason_of(error: yaml.YAMLError, text: str) -> str:
    mark, lines = getattr(error, "problem_mark", None), text.splitlines()
    place = "" if mark is None else f", line {mark.line + 1}"
    if "expected a single document" in str(error):
        return f"{place}: more than one document (a line of ---)"
    has_tab = mark is not None and mark.line < len(lines) and "\t" in lines[mark.line]
    reason = getattr(error, "problem", None) or str(error)
    hint = "; indent with spaces, not with a tab" if has_tab else ""
    return f"{place}: {' '.join(reason.split())}{hint}"
