"""The paces of networks on this machine, measured once and remembered below an output folder."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch

from kdlsr.files import disk_refusals, parse_json, write_json
from kdlsr.machine.cores import available_cores, default_threads
from kdlsr.machine.environment import device_name
from kdlsr.runs.identity import canonical
from kdlsr.runs.measuring import Pace, measure
from kdlsr.runs.plan import Run

FILE = "paces.json"
SECONDS = 50.0  # for all networks of a plan, but for what the last one takes beyond it

Paces: TypeAlias = Mapping[str, Pace]
Measure: TypeAlias = Callable[[Run, int, float], Pace | None]


def pace_key(run: Run, cores: int | None) -> str:
    """Returns all that a pace depends on: machine, network, inputs, batch; JSON.

    Args:
        run: whose network it is.
        cores: that a job may use; None: all.
    """
    config, spec = run.config, run.facts.spec
    return canonical(
        {
            "device": [run.device.type, device_name(run.device), available_cores()],
            "torch": [torch.__version__, torch.backends.cpu.get_cpu_capability()],
            "precision": run.precision,
            "threads": _threads(run, cores),
            "model": dataclasses.asdict(config.model),
            "optimizer": run.optimisation.optimizer,
            "batch": config.schedule.batch_size,
            "inputs": [spec.kind, *dataclasses.astuple(spec), run.facts.num_classes],
            "views": config.dataset.views,
            "how": [config.compile, run.captures, config.deterministic],
        }
    )


def known_paces(
    runs: Iterable[Run],
    root: Path,
    cores: int | None,
    tell: Callable[[str], None],
    measure: Measure = measure,
) -> Paces:
    """Returns the paces of runs by their keys; measures what was not measured here before.

    Those whose inputs cannot be made are not among them, nor those that time was too short for:
    they come next time.

    Args:
        runs: in a plan.
        root: the output folder.
        cores: that a job may use; None: all.
        tell: takes a line before anything is measured.
        measure: given a run, its threads and how long that may take.

    Raises:
        UserError: a network cannot be built, or the disk refuses.
    """
    wanted = {pace_key(run, cores): run for run in runs}
    known = {key: pace for key, pace in _read(root / FILE).items() if key in wanted}
    missing = {key: run for key, run in wanted.items() if key not in known}
    if missing:
        count = f"{len(missing)} network" + ("s" if len(missing) > 1 else "")
        tell(f"measuring {count}, for a minute at the most (measure=false does without)")
    until = time.monotonic() + SECONDS
    for number, (key, run) in enumerate(missing.items()):
        left = until - time.monotonic()
        if left <= 0:
            tell(f"{len(missing) - number} of them are left to be measured: plan again")
            break
        pace = measure(run, _threads(run, cores), left / (len(missing) - number))
        if pace is not None:
            known[key] = pace
            _remember(root / FILE, key, pace)
    return known


def _threads(run: Run, cores: int | None) -> int:
    return run.config.threads or default_threads(run.model.small, cores)


def _read(path: Path) -> dict[str, Pace]:
    try:
        found = parse_json(path.read_bytes())
        return {key: Pace(**values) for key, values in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # none yet, or damaged: measured anew


def _remember(path: Path, key: str, pace: Pace) -> None:
    plain = {key: dataclasses.asdict(pace) for key, pace in {**_read(path), key: pace}.items()}
    with disk_refusals(path):
        write_json(path, plain)
