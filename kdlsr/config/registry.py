"""Options looked up by name: a config names things, it never carries code to run."""

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from kdlsr.config.errors import UserError
from kdlsr.config.refusals import no_such_option

T = TypeVar("T")


class Registry(Generic[T]):
    """The options of one config group.

    A name is registered by a decorator in a module of `package`, which is found without
    being listed anywhere, or in another distribution's module that is named by an entry
    point of the group `kdlsr.losses`, `kdlsr.models`, `kdlsr.datasets`, ...: loading it
    either registers the name or returns the option itself.

    Args:
        group: the config group, in the singular.
        package: where this project's own options are.
        entry_points: the entry point group; `package` unless set.
    """

    def __init__(self, group: str, package: str, entry_points: str | None = None) -> None:
        self.group = group
        self.package = package
        self.entry_points = entry_points or package
        self._options: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that registers what it decorates under `name`."""

        def decorate(option: T) -> T:
            if name in self._options:
                raise ValueError(f"{self.group}={name} is registered twice")
            self._options[name] = option
            return option

        return decorate

    def get(self, name: str) -> T:
        """Returns the option called `name`.

        Raises:
            UserError: there is none; the message names the nearest.
        """
        self._discover()
        if name not in self._options:
            raise UserError(no_such_option(self.group, name, self._options))
        return self._options[name]

    def names(self) -> list[str]:
        """Returns the names of all options, sorted."""
        self._discover()
        return sorted(self._options)

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for entry in entry_points(group=self.entry_points):
            self._options.setdefault(entry.name, entry.load())
