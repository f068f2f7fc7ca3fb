"""State dicts in files made elsewhere: read, found and checked. Nothing in a file is executed.

Files are read with `weights_only=True` on the CPU. Which network the tensors are of, and how
they are matched with it, is for `weights`.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdlsr.config import UserError
from kdlsr.data.normalisation import Normalisation
from kdlsr.teachers.archives import OpenFile, opened

# Where a state dict stands in the files of this suite and of others, the likeliest first. An
# average of weights (EMA, SWA) is taken where it stands alone, else only where it is asked for.
PLAIN_KEYS = ("model", "state_dict", "model_state_dict", "model_state", "net", "network", "weights")
AVERAGED_KEYS = ("state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "swa_model")
KEYS = (*PLAIN_KEYS, *AVERAGED_KEYS)
AVERAGE_COUNTER = "n_averaged"  # torch's AveragedModel (SWA, EMA) has it beside its `module.`
DEPTH = 3  # how many keys a state dict stands under at most
LISTED = 6  # how many keys a message lists


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, as a file has them.

    Attributes:
        tensors: all of them.
        key: where in the file they stood, dotted; empty where the file is a state dict.
        others: keys of other state dicts in it that are as large.
        normalisation: of the pixels that the network learnt from, where a file of ours says it.
    """

    tensors: dict[str, Tensor]
    key: str = ""
    others: tuple[str, ...] = ()
    normalisation: Normalisation | None = None


def read_state_dict(path: Path, source: str, key: str | None = None) -> StateDict:
    """Reads the state dict in a file.

    Args:
        path: of the file.
        source: what named it, for messages: `teacher.path=...`.
        key: under which dotted key it stands; None: where such files have it.

    Raises:
        UserError: no such file; truncated or altered; holding more than weights; no state dict
            in it, or several and none where one is expected; tensors that are no plain numbers.
    """
    content = _read(path, source)
    found = dict(_state_dicts(content))
    chosen = _choose(found, content, source, key)
    tensors = {name: t for name, t in found[chosen].items() if name != AVERAGE_COUNTER}
    for name, tensor in tensors.items():
        _check_plain(tensor, f"{source}: {name}")
    others = (k for k, state in found.items() if k != chosen and 2 * len(state) >= len(tensors))
    return StateDict(tensors, chosen, tuple(others), _normalisation(content))


# ---------------------------------------------------------------- reading


def _read(path: Path, source: str) -> Any:
    try:
        with opened(path, source) as file:
            is_safetensors = path.suffix == ".safetensors"
            return _safetensors(file, source) if is_safetensors else _unpickled(file, source)
    except PermissionError as error:
        raise UserError(f"{source} may not be read: {error.strerror}") from error


def _unpickled(file: OpenFile, source: str) -> Any:
    try:
        _check_zip(file, source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols: the error below says more
            return torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(f"{source} {_refused_pickle(str(error))}") from error
    except Exception as error:  # a damaged file can raise any of them from inside the reader
        raise UserError(f"{source} is truncated, altered or no file of torch.save") from error


def _check_zip(file: OpenFile, source: str) -> None:
    """Verifies the checksums in a zip archive, which torch.load does not; rewinds it."""
    is_zip = file.read(4) == b"PK\x03\x04"  # or the format before torch 1.6: it has none
    file.seek(0)
    if not is_zip:
        return
    with zipfile.ZipFile(file) as archive:
        damaged = archive.testzip()
    file.seek(0)
    if damaged:
        raise UserError(f"{source} is altered: {damaged} in it disagrees with its checksum")


def _safetensors(file: OpenFile, source: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(file.read())
    except SafetensorError as error:
        raise UserError(f"{source} is truncated, altered or no .safetensors file") from error


def _refused_pickle(message: str) -> str:
    named = re.search(r"(?:GLOBAL|[Uu]nsupported class) ([\w.]*\w)", message)
    if not named:
        return "is truncated, altered or no file of torch.save"
    return (
        f"holds more than weights ({named.group(1)}) and is not unpickled, since that can run "
        "code; where you trust it, save its state dict alone"
    )


# ---------------------------------------------------------------- finding


def _state_dicts(content: Any, path: tuple[str, ...] = ()) -> list[tuple[str, dict[str, Tensor]]]:
    """Returns every mapping of names to tensors in a file's content, by its dotted key."""
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        return []  # an optimiser's state has numbers for names
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return [(".".join(path), dict(content))]
    if len(path) == DEPTH:
        return []
    return [found for k, v in content.items() for found in _state_dicts(v, (*path, k))]


def _choose(found: Mapping[str, Any], content: Any, source: str, key: str | None) -> str:
    """Returns which of a file's state dicts is meant."""
    listed = ", ".join([*found][:LISTED]) + (", ..." if len(found) > LISTED else "")
    if key is not None:
        if key not in found:
            reason = f"; it has {listed}" if any(found) else "; it has none under any key"
            raise UserError(f"{source} has no state dict under teacher.key={key}{reason}")
        return key
    if not found:
        raise UserError(f"{source} {_nothing_found(content)}")
    expected = [k for k in found if not k or k.split(".")[0] in KEYS]
    if expected:
        return min(expected, key=_unlikeliness)
    if len(found) == 1:
        return next(iter(found))
    raise UserError(f"{source} holds several state dicts ({listed}): choose by teacher.key")


def _unlikeliness(key: str) -> list[int]:
    return [KEYS.index(part) if part in KEYS else len(KEYS) for part in key.split(".")]


def _nothing_found(content: Any) -> str:
    while isinstance(content, Mapping):
        inner = next((k for k in KEYS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = content[inner]
    if not isinstance(content, Mapping):
        return f"holds no state dict but a {type(content).__name__}"
    odd = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if any("_packed_params" in name for name in odd):
        return "holds a quantised network; save its state dict before it is quantised"
    shown = ", ".join(odd[:3]) + (f", and {len(odd) - 3} more" if len(odd) > 3 else "")
    return (
        f"holds no state dict: expected one alone or under {', '.join(KEYS)} (or any other key: "
        f"teacher.key); found {shown or 'nothing'}"
    )


def _check_plain(tensor: Tensor, what: str) -> None:
    """Refuses what cannot be copied into a network, or would be copied into another number."""
    kinds = {
        "on the meta device, which holds no numbers": tensor.is_meta,
        "quantised": tensor.is_quantized,
        "complex": tensor.is_complex(),
        "nested": tensor.is_nested,
        "sparse": tensor.layout is not torch.strided,
    }
    kind = next((kind for kind, is_so in kinds.items() if is_so), None)
    if kind is not None:
        raise UserError(f"{what} is {kind}; save the network's state dict of plain dense numbers")
    if tensor.is_floating_point() and bool(tensor.to(torch.float32).isnan().any()):
        raise UserError(f"{what} holds NaN: no network answers with it")


def _normalisation(content: Any) -> Normalisation | None:
    """Returns what a checkpoint of this suite says of its inputs; None of any other file."""
    found = content.get("normalisation") if isinstance(content, Mapping) else None
    return Normalisation.from_state(found) if isinstance(found, Mapping) else None
