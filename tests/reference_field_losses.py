"""Ten methods of the field in float64 NumPy, written from their formulas and nothing else.

As `reference_losses`: one sample at a time, probabilities first and logarithms after. No line
here may come from, or import, the code under test. Each function returns the loss alone.
"""

import numpy as np
from reference_losses import Array, Labels, cross_entropy, kl, one_hot, softmax


def ce(z: Array, y: Labels) -> float:
    K = z.shape[1]
    return mean(cross_entropy(one_hot(int(c), K), softmax(zn)) for zn, c in zip(z, y, strict=True))


def mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]


def without(x: Array, c: int) -> Array:
    return np.array([x[k] for k in range(len(x)) if k != c])


def smoothed(z: Array, y: Labels, alpha: float) -> float:
    K = z.shape[1]
    return mean(
        cross_entropy((1 - alpha) * one_hot(int(c), K) + alpha / K, softmax(zn))
        for zn, c in zip(z, y, strict=True)
    )


def maxsup(z: Array, y: Labels, zt: Array, weight: float) -> float:
    return ce(z, y) + weight * mean(zn.max() - zn.mean() for zn in z)


def kd(z: Array, y: Labels, zt: Array, hard: float, soft: float, tau: float) -> float:
    divergence = mean(
        kl(softmax(tn / tau), softmax(zn / tau)) for zn, tn in zip(z, zt, strict=True)
    )
    return hard * ce(z, y) + soft * tau**2 * divergence


def zscore_kd(z: Array, y: Labels, zt: Array, hard: float, soft: float, tau: float) -> float:
    def std(x: Array) -> Array:
        return (x - x.mean()) / (x.std(ddof=1) + 1e-7)

    standard = [np.stack([std(x) for x in logits]) for logits in (z, zt)]
    return hard * ce(z, y) + kd(standard[0], y, standard[1], 0.0, soft, tau)


def nkd(z: Array, y: Labels, zt: Array, weight: float, tau: float) -> float:
    def of_sample(zn: Array, c: int, tn: Array) -> float:
        right = -softmax(tn)[c] * np.log(softmax(zn)[c])
        s, r = softmax(without(tn, c) / tau), softmax(without(zn, c) / tau)
        return float(right + weight * tau**2 * cross_entropy(s, r))

    samples = zip(z, y, zt, strict=True)
    return ce(z, y) + mean(of_sample(zn, int(c), tn) for zn, c, tn in samples)


def dkd(
    z: Array, y: Labels, zt: Array, target: float, non_target: float, tau: float, warmth: float
) -> float:
    def of_sample(zn: Array, c: int, tn: Array) -> float:
        p, pt = softmax(zn / tau)[c], softmax(tn / tau)[c]
        binary = kl(np.array([pt, 1 - pt]), np.array([p, 1 - p]))
        s, r = softmax(without(tn, c) / tau), softmax(without(zn, c) / tau)
        return tau**2 * (target * binary + non_target * kl(s, r))

    samples = zip(z, y, zt, strict=True)
    return ce(z, y) + warmth * mean(of_sample(zn, int(c), tn) for zn, c, tn in samples)


def dist(z: Array, y: Labels, zt: Array, weight: float, tau: float) -> float:
    p = np.stack([softmax(zn / tau) for zn in z])
    pt = np.stack([softmax(tn / tau) for tn in zt])

    def rho(a: Array, b: Array) -> float:
        a, b = a - a.mean(), b - b.mean()
        return float((a * b).sum() / (np.sqrt((a**2).sum()) * np.sqrt((b**2).sum()) + 1e-8))

    over_classes = mean(rho(a, b) for a, b in zip(p, pt, strict=True))
    over_batch = mean(rho(a, b) for a, b in zip(p.T, pt.T, strict=True))
    return ce(z, y) + weight * (1 - over_classes + 1 - over_batch)


def wttm(z: Array, y: Labels, zt: Array, weight: float, gamma: float) -> float:
    def of_sample(zn: Array, tn: Array) -> float:
        powers = softmax(tn) ** gamma
        return float(powers.sum() * kl(powers / powers.sum(), softmax(zn)))

    return ce(z, y) + weight * mean(of_sample(zn, tn) for zn, tn in zip(z, zt, strict=True))
