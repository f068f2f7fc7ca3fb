"""The fit loop and what it stands on: optimiser, precision, checkpoints, resumption.

It asks `teachers/` for the logits of a batch of views and a loss for terms, and knows
neither which teacher nor which loss they are. Nothing about run folders enters here.
"""
