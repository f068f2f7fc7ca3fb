"""Which executor a config's launcher means, strictly read."""

import importlib.util
import shutil
from collections.abc import Mapping

from kdlsr.config import UserError, build
from kdlsr.config.compose import compose_config
from kdlsr.config.overrides import Overrides
from kdlsr.runs.executors.in_process import InProcess
from kdlsr.runs.executors.job import Executor
from kdlsr.runs.executors.on_ray import OnRay, RaySettings
from kdlsr.runs.executors.on_submitit import SlurmArray, SlurmSettings
from kdlsr.runs.executors.on_this_machine import LocalSettings, OnThisMachine

KINDS = ("basic", "local", "submitit_slurm", "ray")
# The package that a kind needs, and the extra of this project's that brings it.
NEEDS = {
    "ray": ("ray", "ray"),
    "submitit_slurm": ("submitit", "slurm"),
}
WHERE = "hydra.launcher"


def configure_executor(overrides: Overrides) -> Executor:
    """Returns what runs jobs: `hydra/launcher=...`, `+cluster=...`.

    Raises:
        UserError: it is none of ours, not installed, or a setting of it is not possible.
    """
    settings = compose_config(overrides.texts(), with_hydra=True)["hydra"]
    return choose_executor(settings["launcher"])


def choose_executor(launcher: Mapping[str, object]) -> Executor:
    """Reads the config of a launcher: `hydra/launcher=...` or `+cluster=...`.

    Raises:
        UserError: it is none of ours, not installed, or a setting of it is not possible.
    """
    settings = dict(launcher)
    kind = settings.pop("kind", None)
    if kind not in KINDS:
        raise UserError(f"hydra/launcher: none of kdlsr's; known: {', '.join(KINDS)}")
    if kind == "basic":
        if settings:
            raise UserError(f"unknown key {WHERE}.{next(iter(settings))}; basic has no settings")
        return InProcess()
    # A setting that is not possible is told whether or not what it is for is installed.
    if kind == "ray":
        executor: Executor = OnRay(build(RaySettings, settings, WHERE))
    elif kind == "local":
        return OnThisMachine(build(LocalSettings, settings, WHERE))
    else:
        executor = SlurmArray(build(SlurmSettings, settings, WHERE))
    _check_installed(str(kind))
    return executor


def _check_installed(kind: str) -> None:
    package, extra = NEEDS[kind]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"hydra/launcher={kind}: not installed; pip install 'kdlsr[{extra}]'")
    if kind == "submitit_slurm" and shutil.which("srun") is None:
        raise UserError(f"hydra/launcher={kind}: no srun here; +cluster=local needs no Slurm")
