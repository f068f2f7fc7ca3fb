"""Weights & Biases: one W&B run per run, the runs of a cell in one group.

`wandb` is imported when a run opens its tracker. Every call into it has a time limit, and
none can end or change a run: trouble is one warning line, and training goes on.
"""

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, ClassVar, Literal, Self

from kdlsr.config import Above
from kdlsr.tracking.deadline import NoAnswer, within
from kdlsr.tracking.tracker import TrackedRun, Tracker, flatten, trackers
from kdlsr.tracking.wandb_agent import Agent, claim_environment

logger = logging.getLogger("kdlsr")

COMPLETE = 0
FAILED = 1
INTERRUPTED = 255  # what wandb itself reports after Ctrl-C

# W&B limits its own waiting to `timeout`; it gets this much longer to say so itself.
GRACE_SECONDS = 20.0
# Someone who interrupts a run is not kept waiting for an upload.
INTERRUPTED_SECONDS = 5.0

# A run reports what kdlsr computed: no machine statistics, console, code or git state
# (environment.json has those), and nothing on the console. No links: a log stands once.
_QUIET = {
    "console": "off",
    "disable_git": True,
    "disable_code": True,
    "label_disable": True,
    "sagemaker_disable": True,  # it would choose another id
    "save_code": False,
    "silent": True,
    "symlink": False,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


@trackers.register("wandb")
@dataclass(frozen=True, kw_only=True)
class WandbOptions:
    """`tracker=wandb`.

    Attributes:
        project: the W&B project.
        entity: the W&B user or team; null: the account's default.
        mode: `online`, `offline` (needs no account; `wandb sync` uploads later), `disabled`;
            null: as the environment says (WANDB_MODE), else online.
        tags: labels, each of 1 to 64 characters.
        notes: a description.
        timeout: seconds after which W&B is given up, at each call.
    """

    package: ClassVar[str] = "wandb"
    project: str = "kdlsr"
    entity: str | None = None
    mode: Literal["online", "offline", "disabled"] | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    timeout: Annotated[float, Above(0)] = 60.0

    def __post_init__(self) -> None:
        if not 1 <= len(self.project) <= 128 or set(self.project) & set("/\\#?%:"):
            raise ValueError(
                f"project={self.project!r} is not possible; expected 1 to 128 characters"
                r" without / \ # ? % :"
            )
        for tag in self.tags:
            if not 1 <= len(tag) <= 64:
                raise ValueError(f"tag {tag!r} is not possible; expected 1 to 64 characters")

    @property
    def awaits_a_run(self) -> bool:
        """Whether an agent of W&B's started this command."""
        return claim_environment() is not None

    def open(self, run: TrackedRun, folder: Path) -> AbstractContextManager[Tracker]:
        return WandbTracker(self, run, folder)


class WandbTracker:
    """One run's W&B run: opened and closed by `with`, going on where an earlier one stopped.

    The W&B run's exit code is 0 only after `complete()`; 1 after `failed()` or an
    `Exception`; else 255: interrupted, or left before it was complete.
    """

    def __init__(self, options: WandbOptions, run: TrackedRun, folder: Path) -> None:
        self.options = options
        self.run = run
        self.folder = folder
        self._exit_code = INTERRUPTED
        self._wandb_run: Any = None
        self._warned = False

    def __enter__(self) -> Self:
        limit = self.options.timeout + GRACE_SECONDS
        hint = "; tracker.mode=offline needs neither account nor network"
        self._attempt("start", self._start, limit, hint)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and self._exit_code == INTERRUPTED:
            self.failed(f"{type(error).__name__}: {error}")
        interrupted = self._exit_code == INTERRUPTED
        if interrupted:
            self._summarise({"status": "interrupted"}, INTERRUPTED_SECONDS)
        limit = INTERRUPTED_SECONDS if interrupted else self.options.timeout + GRACE_SECONDS
        hint = f"; wandb sync uploads later what is in {self.folder / 'wandb'}"
        self._tell("finish", lambda run: run.finish(exit_code=self._exit_code), limit, hint)
        self._wandb_run = None

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Logs one row, its step the epoch, its keys joined with "/"."""
        row = flatten(record, "/")
        # commit: the row is written now, not when the next one comes.
        self._tell("log an epoch", lambda run: run.log(row, step=record["epoch"], commit=True))

    def complete(self, result: Mapping[str, Any]) -> None:
        """Puts all of the result into the summary, the protocols as "last/test/top1"."""
        self._exit_code = COMPLETE
        rest = {key: value for key, value in result.items() if key not in _NOT_SUMMARISED}
        summary = flatten(result.get("protocols") or {}, "/") | flatten(rest, "/")
        self._summarise(summary | {"status": "complete"})

    def failed(self, message: str) -> None:
        """Marks the W&B run failed, with the message in the summary as "error"."""
        self._exit_code = FAILED
        self._summarise({"status": "failed", "error": message})

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Logs a W&B table."""

        def log(run: Any) -> None:
            import wandb

            names = list(rows[0]) if rows else []
            data = [[row[column] for column in names] for row in rows]
            run.log({name: wandb.Table(columns=names, data=data, allow_mixed_types=True)})

        self._tell("take a table", log)

    def _start(self) -> None:
        # Where this comes after its time (a slow import), tracking begins late.
        self._wandb_run = start_wandb_run(self.options, self.run, self.folder)

    def _summarise(self, summary: Mapping[str, Any], limit: float | None = None) -> None:
        self._tell("take the summary", lambda run: run.summary.update(summary), limit)

    def _tell(
        self,
        what: str,
        action: Callable[[Any], object],
        limit: float | None = None,
        hint: str = "",
    ) -> None:
        run = self._wandb_run
        if run is not None:
            self._attempt(what, lambda: action(run), limit or self.options.timeout, hint)

    def _attempt(self, what: str, action: Callable[[], object], limit: float, hint: str) -> None:
        """Calls into W&B; if that fails, says so once; if it hangs, gives W&B up."""
        try:
            within(limit, action)
        except Exception as error:
            if isinstance(error, NoAnswer) or wandb_service_died():
                self._wandb_run = None
                with suppress(Exception):
                    within(INTERRUPTED_SECONDS, abandon_wandb_service)
            self._warn(what, error, hint)

    def _warn(self, what: str, error: Exception, hint: str) -> None:
        if self._warned:
            return
        self._warned = True
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        logger.warning(
            "W&B could not %s for %s (%s); the run itself is not affected%s",
            *(what, self.run.run_id, reason, hint),
        )


# What the W&B run has as its own id and group, and what stands in the summary by itself.
_NOT_SUMMARISED = ("schema", "run_id", "cell_id", "protocols")


def start_wandb_run(options: WandbOptions, run: TrackedRun, folder: Path) -> Any:
    """Returns a new W&B run, or the continuation of that which has this run's id.

    The run that an agent waits for has the agent's id, and ours as its name.
    It never asks for a login: without an account, `wandb.init` raises.
    """
    # Else wandb resolves its server's name even offline, to report its own errors.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    agent = claim_environment()
    if not run.is_asked_for:
        agent = None
    import wandb

    # Silenced for the process, for it is the process's settings that decide about a prompt.
    wandb.setup(settings=wandb.Settings(silent=True))
    folder.mkdir(parents=True, exist_ok=True)
    started = wandb.init(
        project=(agent and agent.project) or options.project,
        entity=(agent and agent.entity) or options.entity,
        mode=options.mode,
        tags=options.tags,
        notes=options.notes,
        id=agent.run_id if agent else run.run_id,
        name=run.run_id,
        group=run.cell_id,
        job_type=run.job_type,
        config=wandb_config(run),
        dir=str(folder),
        reinit="create_new",  # else a second job would log into the first one's run
        resume="allow",
        settings=_settings(wandb.Settings, options.timeout, agent),
    )
    started.summary.update(_opening_summary(run, bool(started.resumed)))
    return started


def wandb_config(run: TrackedRun) -> dict[str, Any]:
    """Returns the run's config with dotted keys, and its teacher as "teacher.run"."""
    config = flatten(run.config, ".")
    return config | ({"teacher.run": run.teacher} if run.teacher else {})


def _opening_summary(run: TrackedRun, resumed: bool) -> dict[str, Any]:
    summary = {"status": "running"}
    if run.teacher:
        summary["teacher/run"] = run.teacher
    if resumed:
        summary["error"] = ""  # of an earlier attempt
    return summary


def _settings(settings_class: Any, timeout: float, agent: Agent | None) -> Any:
    """Returns wandb's settings, without those that the installed version does not have yet."""
    wanted = _QUIET | {
        "init_timeout": timeout,
        "finish_timeout": timeout,
        "finish_timeout_raises": True,
        **(agent.settings() if agent else {}),
    }
    known = settings_class.model_fields
    return settings_class(**{key: value for key, value in wanted.items() if key in known})


def wandb_service_died() -> bool:
    """Says whether wandb's background process was started and is no more."""
    process = _wandb_service_process()
    return process is not None and process.poll() is not None


def abandon_wandb_service() -> None:
    """Ends wandb's background process, which no longer answers, and wandb's link to it.

    wandb waits for it without limit when Python exits, and never starts another by itself.
    What it has logged stays on disk.
    """
    import wandb

    process = _wandb_service_process()
    if process is not None:
        process.kill()
    wandb.teardown()


def _wandb_service_process() -> Any:
    """Returns wandb's background process (a `Popen`) or None; wandb has no public way."""
    setup = sys.modules.get("wandb.sdk.wandb_setup")
    value: Any = getattr(setup, "_singleton", None)
    for name in ("_connection", "_proc", "_process"):
        value = getattr(value, name, None)
    return value
