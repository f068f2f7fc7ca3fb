"""What `compile=true` needs of a machine, asked before anything is trained."""

import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from kdlsr.config.errors import UserError


def check_compiler(device_type: str) -> None:
    """Refuses `compile=true` where torch.compile will find no compiler, in a line.

    Args:
        device_type: `cpu` or `cuda`.

    Raises:
        UserError: what is missing, and how it is had.
    """
    if device_type == "cuda" and importlib.util.find_spec("triton") is None:
        raise UserError("compile=true on a GPU needs triton (pip install triton), or compile=false")
    variable, usual = _compiler_of(device_type)
    named = os.environ.get(variable)
    if not any(map(shutil.which, [named] if named else usual)):
        wanted = f"{variable}={named} is no program" if named else f"no {' or '.join(usual)} here"
        raise UserError(
            f"compile=true needs a C++ compiler: {wanted}; install one (apt-get install g++), "
            f"name it in {variable}, or leave compile=false"
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise UserError(
            f"compile=true needs Python's headers, and {headers} has none; install them "
            "(apt-get install python3-dev), or leave compile=false"
        )


def _compiler_of(device_type: str) -> tuple[str, list[str]]:
    """Returns the variable that names torch's (on a GPU: triton's) compiler, and its defaults."""
    if device_type == "cuda":
        return "CC", ["gcc", "clang", "cc"]
    return "CXX", ["clang++" if sys.platform == "darwin" else "g++"]
