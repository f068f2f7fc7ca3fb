"""The losses once more, in float64 NumPy, written from the equations and nothing else.

One sample at a time, probabilities first and logarithms after, as the papers print them. No
line here may come from, or import, the code under test. Equation numbers are of Yuan et al.,
CVPR 2020. Each function returns (hard, soft, total): cross-entropy, divergence summed over
classes, and the loss, each the mean over the batch.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Reference = tuple[float, float, float]


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max())
    return e / e.sum()


def one_hot(c: int, num_classes: int) -> Array:
    return np.array([1.0 if k == c else 0.0 for k in range(num_classes)])


def cross_entropy(q: Array, p: Array) -> float:
    return -sum(q[k] * np.log(p[k]) for k in range(len(p)) if q[k] > 0)


def kl(q: Array, p: Array) -> float:
    return sum(q[k] * (np.log(q[k]) - np.log(p[k])) for k in range(len(p)) if q[k] > 0)


def kl_div_loss_mean(targets: list[Array], log_inputs: list[Array]) -> float:
    """torch 1.2's `nn.KLDivLoss()`: t (log t - log p), mean over all elements of the batch."""
    t, lp = np.stack(targets), np.stack(log_inputs)
    return float(np.mean(t * (np.log(t) - lp)))


def over_batch(f: Callable[[Array, int, Array], float], z: Array, y: Labels, zt: Array) -> float:
    return float(np.mean([f(z[n], int(y[n]), zt[n]) for n in range(len(z))]))


def hard_term(z: Array, y: Labels) -> float:
    return over_batch(lambda zn, c, _: cross_entropy(one_hot(c, len(zn)), softmax(zn)), z, y, z)


def ce(z: Array, y: Labels, zt: Array) -> Reference:
    hard = hard_term(z, y)
    return hard, 0.0, hard


def lsr_as_written(z: Array, y: Labels, zt: Array, alpha: float) -> Reference:
    """Eqs. 1 and 2, left-hand side: H(q', p)."""
    K = z.shape[1]
    u = np.full(K, 1 / K)

    def smoothed(zn: Array, c: int, _: Array) -> float:
        return cross_entropy((1 - alpha) * one_hot(c, K) + alpha * u, softmax(zn))

    soft = over_batch(lambda zn, c, _: kl(u, softmax(zn)), z, y, zt)
    return hard_term(z, y), soft, over_batch(smoothed, z, y, zt)


def lsr_as_released(z: Array, y: Labels, zt: Array, alpha: float) -> Reference:
    """The released LSR: 1 - alpha on the right class, alpha / (K - 1) on each other."""
    K = z.shape[1]

    def others(c: int) -> Array:
        return (1 - one_hot(c, K)) / (K - 1)

    def smoothed(zn: Array, c: int, _: Array) -> float:
        q = np.array([1 - alpha if k == c else alpha / (K - 1) for k in range(K)])
        return cross_entropy(q, softmax(zn))

    soft = over_batch(lambda zn, c, _: kl(others(c), softmax(zn)), z, y, zt)
    return hard_term(z, y), soft, over_batch(smoothed, z, y, zt)


def kd_as_written(z: Array, y: Labels, zt: Array, alpha: float, tau: float) -> Reference:
    """Eq. 4 (and Eq. 7, with another teacher)."""
    soft = over_batch(lambda zn, _, tn: kl(softmax(tn / tau), softmax(zn / tau)), z, y, zt)
    hard = hard_term(z, y)
    return hard, soft, (1 - alpha) * hard + alpha * soft


def kd_standard(z: Array, y: Labels, zt: Array, alpha: float, tau: float) -> Reference:
    """Hinton et al. 2015: as Eq. 4, the soft term times tau squared."""
    hard, soft, _ = kd_as_written(z, y, zt, alpha, tau)
    return hard, soft, (1 - alpha) * hard + alpha * tau**2 * soft


def kd_as_released(
    z: Array, y: Labels, zt: Array, alpha: float, tau: float, multiplier: float
) -> Reference:
    """`loss_kd_self`: KLDivLoss()(...) * (T * T * alpha * multiplier) + CE * (1 - alpha)."""
    hard, soft, _ = kd_as_written(z, y, zt, alpha, tau)
    targets = [softmax(tn / tau) for tn in zt]
    kl_mean = kl_div_loss_mean(targets, [np.log(softmax(zn / tau)) for zn in z])
    return hard, soft, kl_mean * (tau * tau * alpha * multiplier) + hard * (1 - alpha)


def virtual_teacher(c: int, num_classes: int, a: float) -> Array:
    """Eq. 8."""
    return np.array([a if k == c else (1 - a) / (num_classes - 1) for k in range(num_classes)])


def reg_as_written(z: Array, y: Labels, zt: Array, alpha: float, tau: float, a: float) -> Reference:
    """Eq. 9, p^d softened as p^(1/tau), renormalised: what softmax(log p / tau) is."""

    def divergence(zn: Array, c: int, _: Array) -> float:
        powers = virtual_teacher(c, len(zn), a) ** (1 / tau)
        return kl(powers / powers.sum(), softmax(zn / tau))

    hard, soft = hard_term(z, y), over_batch(divergence, z, y, zt)
    return hard, soft, (1 - alpha) * hard + alpha * soft


def reg_as_released(
    z: Array, y: Labels, zt: Array, alpha: float, tau: float, a: float, multiplier: float
) -> Reference:
    """`loss_kd_regularization`: KLDivLoss()(log_softmax(z), softmax(p^d / T)) * multiplier."""
    targets = [softmax(virtual_teacher(int(c), z.shape[1], a) / tau) for c in y]
    log_inputs = [np.log(softmax(zn)) for zn in z]
    hard, kl_mean = hard_term(z, y), kl_div_loss_mean(targets, log_inputs)
    soft = float(np.mean([kl(t, np.exp(lp)) for t, lp in zip(targets, log_inputs, strict=True)]))
    return hard, soft, (1 - alpha) * hard + alpha * (kl_mean * multiplier)


def lsr_os(z: Array, y: Labels, zt: Array, alpha: float, tau: float) -> Reference:
    """LSR-OS of Wang et al. 2021 as reconstructed from its abstract."""
    u = np.full(z.shape[1], 1 / z.shape[1])
    soft = over_batch(lambda zn, _, __: kl(u, softmax(zn / tau)), z, y, zt)
    hard = hard_term(z, y)
    return hard, soft, (1 - alpha) * hard + alpha * tau**2 * soft


def lsr_os_tc(z: Array, y: Labels, zt: Array, alpha: float, tau: float, share: float) -> Reference:
    """LSR-OS-TC of Wang et al. 2021 as reconstructed from its abstract."""

    def divergence(zn: Array, c: int, _: Array) -> float:
        return kl(virtual_teacher(c, len(zn), share), softmax(zn / tau))

    hard, soft = hard_term(z, y), over_batch(divergence, z, y, zt)
    return hard, soft, (1 - alpha) * hard + alpha * tau**2 * soft
