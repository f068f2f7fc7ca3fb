"""A test sees its own files only: an empty current folder, a home without settings, no accounts.

The checkout's `outputs/` and `data/`, the user's configs, caches, proxies, accounts and GPUs are
out of reach of a test, unless it names the checkout; and a run of the suite after which the
checkout has other files than before has failed. No fixture has to be asked for. A pytest plugin.
"""

import os
import shutil
import signal
import site
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from unittest import mock

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
# What a process needs to start, and no setting of any library that a result could depend on.
KEPT = ("PATH", "LANG", "LC_", "TZ", "TMPDIR", "USER", "LOGNAME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
KEPT += ("PYTHON", "PYTEST", "COVERAGE", "CUDA", "NVIDIA", "OMP_", "MKL_", "KDLSR_REQUIRE_")
# Programs write these wherever they run, and no test could tell.
CACHES = {".git", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".coverage"}
WRITTEN = ("outputs", "data")  # here a changed file tells too: elsewhere it may be an editor's
SHOWN = 20


def clean(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Returns the user's environment without settings and accounts, with another home."""
    kept = {name: value for name, value in environment.items() if name.startswith(KEPT)}
    kept["PYTHONUSERBASE"] = site.getuserbase()  # packages may lie in the real home
    return kept | {
        "HOME": str(home),  # until a test has its own
        "MPLCONFIGDIR": str(home / "matplotlib"),  # its list of fonts takes seconds to make
        "PYTHONPATH": str(REPOSITORY),  # every process of the tests finds this checkout's kdlsr
        "WANDB_MODE": "offline",
    }


def files_of(checkout: Path) -> dict[Path, tuple[int, int]]:
    """Returns all files but caches and virtual environments, with size and time where it counts."""
    found: dict[Path, tuple[int, int]] = {}
    for folder, folders, names in os.walk(checkout):
        folders[:] = [
            name
            for name in folders
            if name not in CACHES and not Path(folder, name, "pyvenv.cfg").exists()
        ]
        for path in (Path(folder, name) for name in {*folders, *names} - CACHES):
            name = path.relative_to(checkout)
            stat = path.lstat()
            told = name.parts[0] in WRITTEN and not path.is_dir()
            found[name] = (stat.st_size, stat.st_mtime_ns) if told else (0, 0)
    return found


def changes(
    before: Mapping[Path, tuple[int, int]], after: Mapping[Path, tuple[int, int]]
) -> list[str]:
    """Returns a line per file or folder that appeared, vanished or changed."""
    lines = [f"appeared: {name}" for name in after.keys() - before.keys()]
    lines += [f"vanished: {name}" for name in before.keys() - after.keys()]
    both = after.keys() & before.keys()
    return sorted([*lines, *(f"changed: {name}" for name in both if before[name] != after[name])])


class Untouched:
    """Fails a run of the suite that left its traces in the checkout."""

    def __init__(self) -> None:
        self.before = files_of(REPOSITORY)
        self.lines: list[str] = []

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.lines = changes(self.before, files_of(REPOSITORY))
        if self.lines and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.lines:
            terminalreporter.section("the checkout was changed while the tests ran", red=True)
            more = [f"and {len(self.lines) - SHOWN} more"] if len(self.lines) > SHOWN else []
            for line in (*self.lines[:SHOWN], *more):
                terminalreporter.line(line)


@pytest.hookimpl(trylast=True)  # after pytest has read what concerns its own output
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # a worker of xdist's inherits all this
    config.pluginmanager.register(Untouched(), "untouched checkout")
    home = Path(tempfile.mkdtemp(prefix="kdlsr-tests-home-"))
    before = mock.patch.dict(os.environ, clean(os.environ, home), clear=True)
    before.start()
    _heed_signals()
    config.add_cleanup(before.stop)
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))


def _heed_signals() -> None:
    """Has processes of the tests heed signals that whoever started the suite ignores.

    A shell's `&` ignores SIGINT for its children, nohup SIGHUP, and both are inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around a test and all its fixtures, those of its module and session too."""
    with (
        tempfile.TemporaryDirectory(prefix="kdlsr-test-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("here", "home"):
            Path(folder, name).mkdir()
        patch.chdir(Path(folder, "here"))
        patch.setenv("HOME", str(Path(folder, "home")))
        patch.setenv("KDLSR_DATA", str(Path(folder, "data")))
        if item.get_closest_marker("cuda") is None:
            patch.setenv("CUDA_VISIBLE_DEVICES", "")
            # This process may know its GPUs already.
            patch.setattr("torch.cuda.is_available", lambda: False)
            patch.setattr("torch.cuda.device_count", lambda: 0)
        return (yield)


@pytest.fixture(autouse=True)
def _environment_put_back() -> Iterator[None]:
    """What commands set in their process (HYDRA_FULL_ERROR...) ends with the test."""
    with mock.patch.dict(os.environ):
        yield
