"""The figures of a report as PNG: intervals, curves, and those that a table asks for."""

from kdlsr.reporting.figures.drawing import draw_figures

__all__ = ["draw_figures"]
