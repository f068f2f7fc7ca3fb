"""What a test can see and leave behind: isolation.py, held to its word."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import isolation
import pytest
from conftest import environment
from isolation import REPOSITORY, changes, clean, files_of

A_TEST = """
from pathlib import Path

def test_here():
    Path("outputs").mkdir()

def test_in_the_checkout():
    Path(__file__).parents[1].joinpath({where!r}).write_text("left behind")
"""


@pytest.fixture(scope="module")
def seen_by_a_module() -> tuple[Path, str]:
    return Path.cwd(), os.environ["KDLSR_DATA"]


def test_a_test_begins_in_an_empty_folder_out_of_the_checkout() -> None:
    assert not list(Path.cwd().iterdir())
    assert not Path.cwd().is_relative_to(REPOSITORY)


def test_fixtures_of_a_module_are_isolated_too(seen_by_a_module: tuple[Path, str]) -> None:
    folder, data = seen_by_a_module
    assert not folder.is_relative_to(REPOSITORY)
    assert Path(data).parent == folder.parent


def test_no_setting_or_account_of_the_users_is_left(tmp_path: Path) -> None:
    dirty = {"WANDB_API_KEY": "x", "HYDRA_FULL_ERROR": "1", "HF_HOME": "/x", "TORCH_HOME": "/x"}
    dirty |= {"XDG_CONFIG_HOME": "/x", "MPLCONFIGDIR": "/x", "https_proxy": "http://x", "HOME": "/"}
    dirty |= {"KDLSR_DATA": "/x", "WANDB_MODE": "online", "NETRC": "/x", "PATH": "/bin"}
    left = clean(dirty, tmp_path)
    assert left.pop("PATH") == "/bin"
    assert not set(left.values()) & set(dirty.values())


def test_a_test_has_an_empty_home_of_its_own() -> None:
    assert not list(Path.home().iterdir())
    assert Path.home().parent == Path.cwd().parent


def test_what_a_test_sets_in_its_process_ends_with_it(request: pytest.FixtureRequest) -> None:
    restored = isolation._environment_put_back.__wrapped__()  # type: ignore[attr-defined]
    next(restored)
    os.environ["HYDRA_FULL_ERROR"] = "1"
    next(restored, None)
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_what_appears_vanishes_or_is_changed_is_named(tmp_path: Path) -> None:
    for name in ("outputs/run.json", "README.md", "gone", ".git/index"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    before = files_of(tmp_path)
    (tmp_path / "gone").unlink()
    for name in ("outputs/run.json", "README.md", ".git/index", "data"):  # an editor may save
        (tmp_path / name).write_text("changed since")
    told = ["appeared: data", "changed: outputs/run.json", "vanished: gone"]
    assert changes(before, files_of(tmp_path)) == told


@pytest.mark.parametrize(("where", "code"), [("tests/../outputs.txt", 1), ("/dev/null", 0)])
def test_a_suite_that_leaves_a_file_in_the_checkout_fails(
    tmp_path: Path, where: str, code: int
) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(isolation.__file__, tmp_path / "tests")
    (tmp_path / "tests" / "test_it.py").write_text(A_TEST.format(where=where))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "isolation", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(tmp_path / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert ("appeared: outputs.txt" in done.stdout) == bool(code)
    assert "2 passed" in done.stdout
