"""The typed schema of every config group, and the tools that read it strictly.

The lowest room: it imports nothing else of kdlsr and neither torch nor anything else that
is slow to load, so that a mistake in a config costs a user well under a second.
"""

from kdlsr.config.errors import LostRun, RunFailed, UserError
from kdlsr.config.fields import (
    Above,
    AtLeast,
    Between,
    FolderName,
    OneOf,
    build,
    build_call,
    nearest,
)
from kdlsr.config.registry import Registry

__all__ = [
    "Above",
    "AtLeast",
    "Between",
    "FolderName",
    "LostRun",
    "OneOf",
    "Registry",
    "RunFailed",
    "UserError",
    "build",
    "build_call",
    "nearest",
]
