"""The commands that an installation brings, `kdlsr-train` and the like: `python -m kdlsr.train`.

Imports no module of kdlsr that is slow to load before Ctrl-C has something to end.
"""

from importlib import import_module

from kdlsr.machine.interruption import end_at_interruption


def train() -> None:
    """Is `python -m kdlsr.train`."""
    _run("kdlsr.train")


def reproduce() -> None:
    """Is `python -m kdlsr.reproduce`."""
    _run("kdlsr.reproduce")


def report() -> None:
    """Is `python -m kdlsr.report`."""
    _run("kdlsr.report")


def why() -> None:
    """Is `python -m kdlsr.why`."""
    _run("kdlsr.why")


def teachers() -> None:
    """Is `python -m kdlsr.teachers`."""
    _run("kdlsr.teachers.__main__")


def _run(module: str) -> None:
    end_at_interruption()
    import_module(module).main()
