"""Assignments that need no decision space: the dense network at given bits."""

from __future__ import annotations

import numpy as np

from plan.assignment import Assignment
from plan.layer import Network


def dense(network: Network, bits: int, plans: int = 1) -> Assignment:
    """Returns every layer whole, stored dense, with weights and activations of so many bits; arrays (plans, L)."""
    shape = (plans, len(network.layers))
    inputs, outputs, weights = (
        np.broadcast_to(np.array(values, dtype=np.int64), shape)
        for values in zip(*((layer.C, layer.K, layer.weights) for layer in network.layers), strict=True)
    )
    widths = np.full(shape, bits, dtype=np.int64)
    return Assignment(
        kept_inputs=inputs,
        kept_outputs=outputs,
        weight_density=np.ones(shape),
        granularity=np.zeros(shape, dtype=np.int64),
        stored_bits=np.asarray(weights * bits, dtype=np.float64),
        index_bits=np.zeros(shape),
        weight_bits=widths,
        input_bits=widths,
        output_bits=widths,
    )
