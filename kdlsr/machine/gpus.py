"""The machine's GPUs as processes share them: which are ours, and how much of their memory.

Imports torch only where a GPU is asked: who starts processes, and a process without a GPU, need not
have it.
"""

import os
import sys

VISIBLE = "CUDA_VISIBLE_DEVICES"
SAID = ("out of memory", "ALLOC_FAILED")  # by the driver; by cuBLAS and cuDNN


def visible_gpus() -> tuple[str, ...]:
    """Returns how CUDA_VISIBLE_DEVICES names the GPUs that this process may use."""
    named = os.environ.get(VISIBLE)
    if named == "":
        return ()
    import torch

    count = torch.cuda.device_count()  # asked of the driver; no GPU is touched
    if named is None:
        return tuple(map(str, range(count)))
    return tuple(name.strip() for name in named.split(","))[:count]


def free_memory() -> int:
    """Returns the bytes that nobody uses of this process's GPU; 0 without one.

    And 0 where it does not answer, as one does that has no room for this process: whoever
    computes will be told.
    """
    if os.environ.get(VISIBLE) == "":
        return 0
    import torch

    try:
        return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0
    except RuntimeError:
        return 0


def give_back_memory() -> int:
    """Gives a GPU's memory back that nothing uses any more.

    Returns:
        The most bytes that torch has held of it since this was last called; 0 without a GPU.

    Raises:
        RuntimeError: it cannot be given back.
    """
    if "torch" not in sys.modules:
        return 0
    import torch

    held = torch.cuda.max_memory_reserved()  # 0 where CUDA was not begun with
    if held:
        torch._C._cuda_clearCublasWorkspaces()  # one for each stream, and each run has its own
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return held


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that a GPU had no memory left."""
    if "torch" not in sys.modules:
        return False
    import torch

    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error) for words in SAID):
            return True
        error = error.__cause__ or error.__context__
    return False
