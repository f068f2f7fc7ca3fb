"""How close a student's outputs are to its teacher's, on the same samples."""

import torch
from torch import Tensor
from torch.nn import functional as F

from kdlsr.metrics.chunks import row_chunks


def agreement(a: Tensor, b: Tensor) -> float:
    """Returns the percent of samples for which two networks name the same class.

    Of classes with equal logits the first is named.

    Args:
        a: (N, K), one network's logits.
        b: (N, K), the other's.

    Raises:
        ValueError: the shapes differ, or there is no sample.
    """
    _check_shapes(a, b)
    return float(100 * (a.argmax(dim=1) == b.argmax(dim=1)).double().mean())


def mean_kl(teacher_logits: Tensor, student_logits: Tensor) -> float:
    """Returns the mean over samples of D_KL(teacher || student) at temperature 1, in nats.

    Args:
        teacher_logits: (N, K), finite and of any size.
        student_logits: (N, K), likewise.

    Raises:
        ValueError: the shapes differ, or there is no sample.
    """
    _check_shapes(teacher_logits, student_logits)
    chunks = row_chunks(teacher_logits, student_logits)
    return float(torch.cat([_kl_per_sample(t, s) for t, s in chunks]).mean())


def _kl_per_sample(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    log_t = F.log_softmax(teacher_logits.double(), dim=1)
    log_p = F.log_softmax(student_logits.double(), dim=1)
    return (log_t.exp() * (log_t - log_p)).sum(dim=1)


def _check_shapes(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or a.shape != b.shape or not len(a):
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"expected two tensors (N, K) with N >= 1, not {shapes}")
