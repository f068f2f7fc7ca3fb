"""Another Python process that finds the modules that this one finds."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO


def start_python(
    module: str,
    words: Sequence[str],
    output: IO[bytes] | int,
    *,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    passed: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Starts `python -m module words...`, which gets no signal of this process's terminal.

    Args:
        module: what it runs.
        words: its arguments.
        output: where all goes that it prints, as for `subprocess.Popen`.
        environment: variables, beside this process's.
        stdin: as for `subprocess.Popen`.
        passed: file descriptors that it inherits.
    """
    found = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-u", "-m", module, *words],
        env={**os.environ, "PYTHONPATH": found, **(environment or {})},
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        pass_fds=passed,
        start_new_session=True,
    )
