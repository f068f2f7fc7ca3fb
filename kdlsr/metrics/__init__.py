"""What a network's logits say about it: accuracy, calibration, agreement with a teacher.

In here may come: pure functions of logits and labels that return plain Python numbers, named. What
may not: networks, data, losses to be minimised, anything that keeps state. Imports torch
alone.
"""

from kdlsr.metrics.classification import Metrics, classification_metrics, plain_metrics
from kdlsr.metrics.confidence import Confidence, Reliability, confidence_figures, reliability
from kdlsr.metrics.similarity import (
    Correlation,
    agreement,
    confidence_correlation,
    mean_kl,
    pearson,
    spearman,
)
from kdlsr.metrics.temperature import Temperature, fit_temperature

__all__ = [
    "Confidence",
    "Correlation",
    "Metrics",
    "Reliability",
    "Temperature",
    "agreement",
    "classification_metrics",
    "confidence_correlation",
    "confidence_figures",
    "fit_temperature",
    "mean_kl",
    "pearson",
    "plain_metrics",
    "reliability",
    "spearman",
]
