"""Weights of networks from files made elsewhere. Nothing in a file is ever executed.

Files are read with `weights_only=True` on the CPU. How the networks in them were trained, and
where files are found, is not for this module; runs of this suite are found by `runs/`.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdlsr.config import UserError
from kdlsr.data.normalisation import Normalisation

# Where a state dict stands in the files of this suite and of others.
KEYS = ("model", "state_dict", "model_state_dict", "model_state", "net", "network", "weights")
# What wrappers (DataParallel, torch.compile, Lightning modules) put before each name.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
COUNTER = "num_batches_tracked"  # of batch normalisation; files older than torch 0.4.1 lack it
LEAVES = ("weight", "bias", "running_mean", "running_var")
SHOWN = 3  # how many of each kind of misfit a message lists


@dataclass(frozen=True)
class Match:
    """How a file's tensors were matched with a network's.

    Attributes:
        rule: `names`: every tensor by its name; `order`: the names are another code base's,
            and the tensors were matched in sequence because number, order and all shapes
            agree. The latter cannot tell apart neighbours of one shape in another order:
            report it together with the network's accuracy.
        tensors: how many were taken.
        key: where in the file the state dict stood, dotted; empty where the file is one.
        prefix: what was taken off the front of each name.
        counters: False where the file lacks batch normalisation's counters of batches.
        normalisation: of the pixels that the network learnt from, where a file of ours says it.
    """

    rule: Literal["names", "order"]
    tensors: int
    key: str = ""
    prefix: str = ""
    counters: bool = True
    normalisation: Normalisation | None = None

    def __str__(self) -> str:
        text = f"{self.tensors} tensors"
        if self.key:
            text += f" of '{self.key}'"
        if self.rule == "names":
            text += " matched by name"
        else:
            text += " matched by order and shape (the names differ: check the accuracy)"
        if self.prefix:
            text += f", less the prefix '{self.prefix}'"
        return text if self.counters else f"{text}; no {COUNTER} in the file"


def load_weights(model: nn.Module, path: Path, where: str = "teacher.path") -> Match:
    """Copies the weights in a file into `model`, all of them or, on an error, none.

    The file holds a state dict, or a dict with one under one of `KEYS`, written by torch.save
    or as .safetensors. Names are compared as they are, then without a wrapper's prefix, then
    order and shapes alone (not in .safetensors, which keeps no order).

    Args:
        model: the network, with the options it had when the file was written.
        path: the file.
        where: the config key that named it, for messages.

    Raises:
        UserError: no such file; truncated or altered; holding more than weights; or not this
            network's: the first misfits are listed.
    """
    source = f"{where}={path}"
    ordered = path.suffix != ".safetensors"
    content = _read(path, source)
    found, key = _state_dict(content, source)
    own = model.state_dict()
    found, prefix = _without_prefix(found, own)
    counters = any(name.endswith(COUNTER) for name in found) or not any(
        name.endswith(COUNTER) for name in own
    )
    rule: Literal["names", "order"] = "names"
    pairs = _by_name(own, found)
    if pairs is None and ordered:
        rule, pairs = "order", _by_order(own, found)
    if pairs is None:
        raise UserError(f"{source} does not fit the network: {_misfits(own, found, ordered)}")
    model.load_state_dict(own | pairs)
    return Match(rule, len(pairs), key, prefix, counters, _normalisation(content))


# ---------------------------------------------------------------- reading


def _read(path: Path, source: str) -> Any:
    if not path.exists():
        raise UserError(f"{source}: no such file")
    if not path.is_file():
        raise UserError(f"{source} is not a file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, source)
    try:
        _check_archive(path, source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols: the error below says more
            return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"{source} may not be read: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{source} {_refused_pickle(str(error))}") from error
    except Exception as error:  # a damaged file can raise any of them from inside the reader
        raise UserError(f"{source} is truncated, altered or no file of torch.save") from error


def _check_archive(path: Path, source: str) -> None:
    """Verifies the checksums in a zip archive, which torch.load does not."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return  # the format before torch 1.6: it has none
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise UserError(f"{source} is altered: {damaged} in it disagrees with its checksum")


def _read_safetensors(path: Path, source: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{source} is truncated, altered or no .safetensors file") from error


def _refused_pickle(message: str) -> str:
    named = re.search(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]*\w)", message)
    if not named:
        return "is truncated, altered or no file of torch.save"
    return (
        f"holds more than weights ({named.group(1)}) and is not unpickled, since that can run "
        "code; where you trust it, save its state dict alone"
    )


def _state_dict(content: Any, source: str) -> tuple[dict[str, Tensor], str]:
    """Finds the state dict in a file's content, and the dotted key it stands under."""
    path: list[str] = []
    while isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): value for name, value in content.items()}, ".".join(path)
        inner = next((k for k in KEYS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        path.append(inner)
        content = content[inner]
    if not isinstance(content, Mapping):
        raise UserError(f"{source} holds no state dict but a {type(content).__name__}")
    odd = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    raise UserError(
        f"{source} holds no state dict: expected one alone or under {', '.join(KEYS)}; "
        f"found {_first(odd) or 'nothing'}"
    )


def _normalisation(content: Any) -> Normalisation | None:
    """Returns what a checkpoint of this suite says of its inputs; None of any other file."""
    found = content.get("normalisation") if isinstance(content, Mapping) else None
    return Normalisation.from_state(found) if isinstance(found, Mapping) else None


def _without_prefix(
    found: dict[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    removed = ""
    while not any(name in own for name in found):
        prefix = next((p for p in PREFIXES if all(n.startswith(p) for n in found)), None)
        if prefix is None:
            break
        found = {name.removeprefix(prefix): value for name, value in found.items()}
        removed += prefix
    return found, removed


# ---------------------------------------------------------------- matching


def _by_name(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the file's tensors under the network's names, or None if they do not fit."""
    missing, unexpected, reshaped = _compare(own, found)
    return None if missing or unexpected or reshaped else dict(found)


def _compare(
    own: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> tuple[list[str], list[str], list[str]]:
    """Returns the names that only one side has, and those with two shapes."""
    missing = [name for name in own if name not in found and not name.endswith(COUNTER)]
    unexpected = [name for name in found if name not in own]
    reshaped = [name for name in own if name in found and own[name].shape != found[name].shape]
    return missing, unexpected, reshaped


def _by_order(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Returns the file's tensors, in sequence, under the network's names, or None."""
    own_names, found_names = _in_sequence(own), _in_sequence(found)
    if len(own_names) != len(found_names) or _conflicts(own, found):
        return None
    pairs = {a: found[b] for a, b in zip(own_names, found_names, strict=True)}
    own_counters, counters = _in_sequence(own, counters=True), _in_sequence(found, counters=True)
    if counters and len(counters) != len(own_counters):
        return None
    return pairs | {a: found[b] for a, b in zip(own_counters, counters, strict=False)}


def _in_sequence(entries: Mapping[str, Tensor], counters: bool = False) -> list[str]:
    return [name for name in entries if name.endswith(COUNTER) == counters]


def _conflicts(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Returns the pairs (network's, file's) in sequence that cannot be the same tensor."""
    pairs = zip(_in_sequence(own), _in_sequence(found), strict=False)
    return [(a, b) for a, b in pairs if not _may_be_same(a, b, own, found)]


def _may_be_same(a: str, b: str, own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    """Whether the network's `a` can be the file's `b`.

    Beyond equal shapes: a name that both sides have stands for one thing, and so do torch's
    own names of a layer's parts (a batch normalisation's four have one shape).
    """
    if own[a].shape != found[b].shape or (b in own and b != a):
        return False
    leaves = {a.rpartition(".")[2], b.rpartition(".")[2]}
    return len(leaves) == 1 or not leaves <= set(LEAVES)


# ---------------------------------------------------------------- saying what does not fit


def _misfits(own: Mapping[str, Tensor], found: Mapping[str, Tensor], ordered: bool) -> str:
    missing, unexpected, reshaped = _compare(own, found)
    shared = len(found) - len(unexpected)
    if ordered and 2 * shared < min(len(own), len(found)):
        return _misfit_in_order(own, found)
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({_first(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({_first(unexpected)})")
    if reshaped:
        shown = [
            f"{name} {_shape(found[name])} in the file, {_shape(own[name])} in the network"
            for name in reshaped
        ]
        parts.append(f"{len(reshaped)} of another shape ({_first(shown, '; ')})")
    return ", ".join(parts)


def _misfit_in_order(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    own_names, found_names = _in_sequence(own), _in_sequence(found)
    parts = []
    if len(own_names) != len(found_names):
        parts.append(f"{len(found_names)} tensors in the file, {len(own_names)} in the network")
    conflicts = [
        f"{b} {_shape(found[b])} in the file meets {a} {_shape(own[a])} in the network"
        for a, b in _conflicts(own, found)
    ]
    if conflicts:
        parts.append(_first(conflicts, "; "))
    return "most names differ, and in order: " + (
        "; ".join(parts) or f"the numbers of {COUNTER} differ"
    )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _first(items: Sequence[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return separator.join(items[:SHOWN]) + more
