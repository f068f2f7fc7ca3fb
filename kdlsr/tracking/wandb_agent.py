"""What W&B's environment says of a run: nothing, where we say it; which run an agent waits for.

`wandb agent` and W&B Launch name, in the environment of the command that they start, the one W&B
run that they wait for. A command of ours may make several: its teacher's first. So what names a
run is taken out of the environment before wandb reads it, and given to the run that was asked for.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Whatever stands there would become a setting of every run of this process.
_OF_ONE_RUN = (
    "WANDB_RUN_ID",
    "WANDB_RUN_NAME",
    "WANDB_NAME",
    "WANDB_RUN_GROUP",
    "WANDB_JOB_TYPE",
    "WANDB_RUN_JOB_TYPE",
    "WANDB_RESUME",
    "WANDB_RESUMED",
    "WANDB_RESUME_FROM",
    "WANDB_FORK_FROM",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
    "WANDB_LAUNCH",
    "WANDB_LAUNCH_CONFIG_PATH",
    "WANDB_CONFIG_PATHS",
    "WANDB_DIR",
    "WANDB_ROOT_DIR",
)


@dataclass(frozen=True)
class Agent:
    """The W&B run that an agent waits for.

    Attributes:
        run_id: as W&B has it.
        sweep_id: of its sweep; None under Launch.
        project, entity: in which it is; None: as the config says.
    """

    run_id: str
    sweep_id: str | None
    project: str | None
    entity: str | None

    def settings(self) -> dict[str, Any]:
        """Returns wandb's settings that make a run this one."""
        return {} if self.sweep_id is None else {"sweep_id": self.sweep_id}


def agent_of(environment: Mapping[str, str]) -> Agent | None:
    """Returns the run that an agent waits for, of the environment that it made; None: no agent."""
    run_id, sweep_id = environment.get("WANDB_RUN_ID"), environment.get("WANDB_SWEEP_ID")
    if not run_id or not (sweep_id or environment.get("WANDB_LAUNCH")):
        return None
    project, entity = environment.get("WANDB_PROJECT"), environment.get("WANDB_ENTITY")
    return Agent(run_id, sweep_id or None, project or None, entity or None)


_agent: Agent | None = None


def claim_environment() -> Agent | None:
    """Takes what names a run out of this process's environment; returns its agent's, if any."""
    global _agent
    _agent = agent_of(os.environ) or _agent
    for name in _OF_ONE_RUN:
        os.environ.pop(name, None)
    return _agent
