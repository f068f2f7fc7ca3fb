"""Where commands print to: any encoding, closed, full or gone; what ends them early; mistakes."""

import errno
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, environment

from kdlsr.config import entry
from kdlsr.config.entry import Terminated, run_entry_point
from kdlsr.machine import interruption
from kdlsr.machine.screen import open_screen

COMMANDS = {
    "train": ["kdlsr.train", "--help"],
    "cfg": ["kdlsr.train", "--cfg", "job", 'tracker.notes="é ± ü"', "tracker=wandb"],
    "info": ["kdlsr.train", "--info"],
    "plan": ["kdlsr.reproduce", "mode=plan", "measure=false", "table=quickstart"],
    "list": ["kdlsr.reproduce", "mode=list", "table=yuan2020/figure3"],
    "reproduce": ["kdlsr.reproduce", "--help"],
    "report": ["kdlsr.report", "--help"],
    "why": ["kdlsr.why", "--help"],
    "teachers": ["kdlsr.teachers", "--help"],
    "hydra": ["kdlsr.train", "--hydra-help"],
    "version": ["kdlsr.train", "--version"],
}


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment() | variables | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.parametrize("name", ["train", "cfg", "info", "plan", "why", "hydra"])
def test_a_closed_pipe_ends_nothing_and_is_no_traceback(name: str, tmp_path: Path) -> None:
    module, *words = COMMANDS[name]
    typed = " ".join(f"'{word}'" for word in words)
    done = shell(
        f"$PYTHON -m {module} {typed} | head -1; exit ${{PIPESTATUS[0]}}",
        tmp_path,
        PYTHONUNBUFFERED="1",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_no_screen_at_all_ends_nothing(tmp_path: Path) -> None:
    for redirected in (">/dev/full", ">&-", ">&- 2>&-", "2>/dev/full >/dev/full"):
        done = shell(f"$PYTHON -m kdlsr.train --cfg job {redirected}", tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), redirected
    for redirected in ("2>/dev/full", "2>&-"):  # a mistake is still one
        assert shell(f"$PYTHON -m kdlsr.train --foo {redirected}", tmp_path).returncode == 2


@pytest.mark.parametrize("name", ["cfg", "list", "plan"])
def test_a_terminal_that_lacks_characters_shows_others(name: str, tmp_path: Path) -> None:
    module, *words = COMMANDS[name]
    variables = environment() | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("ascii")


def test_runs_and_sweeps_and_tables_end_on_an_ascii_terminal(tmp_path: Path) -> None:
    """A deviation is written with a ±; every command that prints one, in one shell."""
    small = " ".join([*TINY, "dataset.subset=64", "schedule.epochs=1"])
    done = shell(
        f"""set -e
        $PYTHON -m kdlsr.train {small}
        $PYTHON -m kdlsr.train -m {small} seed=0,1 loss=ce,lsr
        $PYTHON -m kdlsr.report 'runs=*'
        $PYTHON -m kdlsr.why digits-resnet8-lsr-s0 {small} loss=ce
        $PYTHON -m kdlsr.teachers
        $PYTHON -m kdlsr.train 'tracker.notes=\\"é' && exit 3 || exit $?""",
        tmp_path,
        PYTHONIOENCODING="ascii",
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("kdlsr: cannot read")
    assert "?" in done.stdout


def test_what_a_terminal_would_obey_is_shown_and_not_obeyed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = open_screen(soft_wrap=True)
    evil = "a\x1b[2J\x1b]0;title\x05b\x9bc\u202ed"
    screen.print(evil, markup=False, style="red")
    shown = capsys.readouterr().out
    assert shown == "a?[2J?]0;title?b?c?d\n"

    def refused() -> int:
        raise entry.UserError(f"no {evil}\nsuch thing")

    assert run_entry_point(refused) == 2
    assert capsys.readouterr().err == "kdlsr: no a?[2J?]0;title?b?c?d such thing\n"


def test_a_screen_keeps_its_own_colours() -> None:
    screen = open_screen(force_terminal=True, color_system="standard")
    screen.file = io.StringIO()
    screen.print("red\x1b[0m", style="red", markup=False)
    assert screen.file.getvalue() == "\x1b[31mred?[0m\x1b[0m\n"


INTERRUPTED_AT = """
import os, runpy, sys
at, *words = sys.argv[1:]
sys.argv = ["kdlsr.train", *words]
def hook(event, what):
    if event == "import" and what[0] == at:
        os.kill(os.getpid(), 2)
sys.addaudithook(hook)
runpy.run_module("kdlsr.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "module",
    ["omegaconf", "hydra.core.config_store", "numpy._core._multiarray_umath", "torch._C", "rich"],
)
def test_an_interruption_while_modules_are_imported_is_one_line(
    module: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT, module, *TINY],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("kdlsr: interrupted")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("kind", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interruption_that_an_import_turned_into_an_error_is_still_one(
    kind: type[BaseException], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """numpy's says "cannot load module more than once per process"."""

    def body() -> int:
        try:
            interruption.interrupt(kind)
        except BaseException as error:
            raise ImportError("cannot load module more than once per process") from error

    assert run_entry_point(body) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def _raising(error: BaseException) -> Callable[[], int]:
    def body() -> int:
        raise error

    return body


@pytest.mark.parametrize(
    "number",
    [
        *(errno.EIO, errno.ESTALE, errno.ENOENT, errno.ENOSPC, errno.EDQUOT, errno.EROFS),
        *(errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EFBIG, errno.EMFILE),
        *(errno.ENAMETOOLONG, errno.EISDIR, errno.ELOOP, errno.EREMOTEIO, errno.EHOSTDOWN),
        *(errno.EINVAL, errno.ENOLCK, errno.EXDEV, errno.EBUSY, errno.ENOTEMPTY, errno.EUCLEAN),
    ],
)
def test_whatever_a_storage_answers_is_one_line(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(number, os.strerror(number), "/mnt/runs/x")
    assert run_entry_point(_raising(error)) == 2
    assert capsys.readouterr().err == f"kdlsr: /mnt/runs/x: {os.strerror(number)}\n"


def test_an_error_that_no_storage_answers_is_a_bug_of_ours() -> None:
    for error in (OSError(errno.EBADF, "Bad file descriptor"), OSError("no number"), KeyError("x")):
        with pytest.raises(type(error)):
            run_entry_point(_raising(error))


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        ("train", ["views=cifar"], "unknown key views; nearest: dataset.views"),
        ("train", ["lr=0.1"], "unknown key lr; nearest: schedule.lr"),
        ("train", ["--cfg", "job", "teacher=null"], "teacher=null: no such option"),
        ("train", ["--cfg", "job", "dataset.root=/a b=c"], "'dataset.root=\"/a b=c\"'"),
        ("train", ["-m", "seed=range(0,100000000)"], "more than 10,000 values to sweep over"),
        ("train", ["-m", *(f"{s}=range(0,1000)" for s in ("seed", "data_seed"))], "1,000,000 jobs"),
        ("reproduce", ["schedule.lr=0.1,0.01"], "'schedule.lr=[0.1,0.01]'"),
        ("reproduce", ["table=quickstart", "seeds=100000000"], "seeds=100000000 is not possible"),
        ("reproduce", ["table=quickstart", "seeds=0,1"], "a list of them: 'seeds=[0,1]'"),
        ("report", ["runs=a,b"], "a list of them: 'runs=[a,b]'"),
        ("why", ["--fo", "x"], "unrecognized arguments: --fo; --help says what there is"),
        ("why", [], "the following arguments are required: run"),
        ("teachers.__main__", ["--fo"], "unrecognized arguments: --fo"),
    ],
)
def test_every_commands_mistakes_are_one_line_that_says_what_to_do(
    module: str,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"kdlsr.{module}").main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
