"""The machine that a run finds itself on: its device and arithmetic, its cores, what is recorded.

Knows no network, no data and no run. `cores` needs no torch, so that planning and reading files
can ask it.
"""
