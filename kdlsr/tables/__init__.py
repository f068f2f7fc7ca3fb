"""Tables as data: from a file of `experiments/` to cells, forms, controls, runs and layers.

This room knows runs/ and below; it prints nothing, computes no statistics and renders nothing.
"""
