"""What makes a view of an image, a registered class per step: what it draws and what it does.

A step is one file here (or one module elsewhere, named by an entry point of the group
`kdlsr.view_steps`); recipes are lists of steps in `conf/views/`. NumPy, and torch's tensors as
they come; neither a device nor a generator is chosen here.
"""

from kdlsr.data.view_steps.base import PixelStep, SpatialStep, ViewStep, view_steps

__all__ = ["PixelStep", "SpatialStep", "ViewStep", "view_steps"]
