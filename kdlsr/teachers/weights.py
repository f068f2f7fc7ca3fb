"""Tensors of a file matched with a network's, all of them or none.

Matching by order and shape, and by name alike, sees names and shapes only. What a network computes
with its tensors is its code's, and these are known to differ between code bases without any
tensor telling: on which side a parameter-free shortcut pads (an option of ours: ResNet-8 and -20),
eps of batch normalisation (an option: GoogLeNet), the stride on a bottleneck's 1x1 or 3x3, the
order of batch normalisation and activation, ReLU or ReLU6, average or maximum pooling, asymmetric
padding (TensorFlow's), the order in which branches are concatenated and channels shuffled,
(C, H, W) flattened or (H, W, C), RGB or BGR, the classes' order. The teacher's accuracy, which is
told before a student is trained, is what shows them.

How the networks were trained, and where files are found, is not for this module; how they are
read is for `weight_files`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from kdlsr.config import UserError
from kdlsr.data.normalisation import Normalisation
from kdlsr.teachers.weight_files import read_state_dict

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
        others: keys of other state dicts in the file, which were not taken.
        prefix: what was taken off the front of each name.
        counters: False where the file lacks batch normalisation's counters of batches.
        normalisation: of the pixels that the network learnt from, where a file of ours says it.
    """

    rule: Literal["names", "order"]
    tensors: int
    key: str = ""
    others: tuple[str, ...] = ()
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
        if self.others:
            text += f"; not taken: {', '.join(self.others)} (teacher.key chooses)"
        return text if self.counters else f"{text}; no {COUNTER} in the file"


def load_weights(
    model: nn.Module,
    path: Path,
    where: str = "teacher.path",
    *,
    key: str | None = None,
    prefix: str | None = None,
) -> Match:
    """Copies the weights in a file into `model`, all of them or, on an error, none.

    The file holds a state dict, or one below some keys, written by torch.save or as
    .safetensors. Names are compared as they are, then without a wrapper's prefix, then order
    and shapes alone (not in .safetensors, which keeps no order).

    Args:
        model: the network, with the options it had when the file was written.
        path: the file.
        where: the config key that named it, for messages.
        key: the dotted key of the state dict in it; None: where such files have one.
        prefix: take only the tensors whose names begin so; None: all.

    Raises:
        UserError: no such file; truncated or altered; holding more than weights; or not this
            network's: the first misfits are listed.
    """
    source = f"{where}={path}"
    ordered = path.suffix != ".safetensors"
    state = read_state_dict(path, source, key)
    own, found = model.state_dict(), state.tensors
    if prefix is not None:
        found = _with_prefix(found, prefix, source)
    found, removed = _without_prefix(found, own)
    counters = any(name.endswith(COUNTER) for name in found) or not any(
        name.endswith(COUNTER) for name in own
    )
    rule: Literal["names", "order"] = "names"
    pairs = _by_name(own, found)
    if pairs is None and ordered:
        rule, pairs = "order", _by_order(own, found)
    if pairs is None:
        under = f" (its '{state.key}')" if state.others else ""
        advice = _advice(own, found) if prefix is None else ""
        misfits = _misfits(own, found, ordered)
        raise UserError(f"{source}{under} does not fit the network: {misfits}{advice}")
    _check_floats(own, pairs, source)
    model.load_state_dict(own | pairs)
    taken = (prefix or "") + removed
    return Match(rule, len(pairs), state.key, state.others, taken, counters, state.normalisation)


# ---------------------------------------------------------------- names


def _with_prefix(found: dict[str, Tensor], prefix: str, source: str) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with `prefix`, without it."""
    kept = {n.removeprefix(prefix): t for n, t in found.items() if n.startswith(prefix)}
    if not kept:
        starts = sorted({n.partition(".")[0] + "." for n in found if "." in n})
        raise UserError(
            f"{source}: no name begins with teacher.prefix={prefix}; they begin with "
            f"{_first(starts) or _first(sorted(found))}"
        )
    return kept


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


def _check_floats(own: Mapping[str, Tensor], pairs: Mapping[str, Tensor], source: str) -> None:
    """Refuses whole numbers where weights are floats: they lack the scale that belongs to them."""
    for name, tensor in pairs.items():
        if own[name].is_floating_point() and not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UserError(f"{source}: {name} is {kind}, quantised maybe; expected floats")


# ---------------------------------------------------------------- saying what does not fit


def _advice(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Names the prefixes below which a file holds the whole network, beside other things."""
    needed = [name for name in own if not name.endswith(COUNTER)]
    starts = {n.removesuffix(needed[0]) for n in found if n.endswith(f".{needed[0]}")}
    whole = sorted(start for start in starts if all(start + name in found for name in needed))
    chosen = " or ".join(f"teacher.prefix={start}" for start in whole)
    return f"; the network is in it: add {chosen}" if whole else ""


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
