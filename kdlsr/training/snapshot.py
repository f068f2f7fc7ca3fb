"""A copy of a state that training goes on changing, to the same bytes once it is saved."""

import copy
from collections.abc import Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor

State = TypeVar("State", bound=Mapping[str, object])


def snapshot(state: State) -> State:
    """Returns a copy on the CPU of a nested state, as `state_dict` gives it.

    Strides are kept, and what shares memory shares it in the copy: `torch.save` writes memory,
    once. From a GPU it is copied into pinned memory, and has arrived when this returns.
    """
    memory: dict[tuple[torch.device, int], Tensor] = {}
    copies: dict[int, object] = {id(tensor): _copied(tensor, memory) for tensor in _tensors(state)}
    return copy.deepcopy(state, copies)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _copied(tensor: Tensor, memory: dict[tuple[torch.device, int], Tensor]) -> Tensor:
    storage = tensor.untyped_storage()
    key = (tensor.device, storage.data_ptr())
    if key not in memory or not storage.nbytes():
        source = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
        pinned = tensor.device.type == "cuda"
        memory[key] = torch.empty(source.shape, dtype=torch.uint8, pin_memory=pinned).copy_(source)
    place = tensor.storage_offset(), tensor.size(), tensor.stride()
    found = torch.empty(0, dtype=tensor.dtype)
    return found.set_(memory[key].untyped_storage(), *place)
