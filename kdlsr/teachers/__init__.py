"""Where soft targets come from: a live network, or its stored outputs.

A teacher knows its network and how its logits are rounded and kept; how it was trained or
found is the business of `runs/`. Nothing is imported here: the command that lists stored
outputs needs no torch.
"""
