"""Assignments that need no decision space, and what every assignment must look like."""

from __future__ import annotations

import numpy as np

from plan.assignment import Assignment
from plan.errors import InvalidValueError
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


def check_shapes(assignment: Assignment, layers: int) -> None:
    """Checks that every array of an assignment is (B, layers).

    Raises:
        InvalidValueError: another shape, or arrays that differ.
    """
    shapes = {name: array.shape for name, array in vars(assignment).items()}
    first = assignment.kept_inputs.shape
    wrong = [f"{name} {shape}" for name, shape in shapes.items() if shape != first or len(shape) != 2]
    if wrong or first[1] != layers:
        raise InvalidValueError(
            f"assignment arrays must all be (plans, {layers}); found kept_inputs {first}"
            + (f" and {', '.join(wrong)}" if wrong else "")
        )
