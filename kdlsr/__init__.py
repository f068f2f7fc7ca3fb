"""kdlsr reproduces, and then questions, the experiments on distillation as label smoothing."""

__version__ = "0.1.0"
