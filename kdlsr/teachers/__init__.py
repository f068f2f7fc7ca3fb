"""Where soft targets come from: today a live network; later stored outputs and past selves.

A teacher knows its network and how its logits are rounded; how it was trained, found or
kept is the business of `runs/`.
"""

from kdlsr.teachers.live import LiveTeacher

__all__ = ["LiveTeacher"]
