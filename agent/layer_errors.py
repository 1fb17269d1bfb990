"""The predicted error of a plan, layer by layer."""

from __future__ import annotations

import numpy as np

from envs.problem import Problem
from plan.assignment import FloatArray
from plan.space import ACTIVATION_BITS, DENSITY, METHOD, WEIGHT_BITS, Choices


def layer_errors(problem: Problem, choice: Choices) -> FloatArray:
    """Returns the predicted error of every layer of a plan, nats (L,), its input tensor's included."""
    layers = np.arange(problem.space.n_layers)
    filled = problem.space.filled(choice[None])[0].astype(np.int64)
    own = problem.counted.weight[layers, filled[:, METHOD], filled[:, DENSITY], filled[:, WEIGHT_BITS]]
    return np.asarray(own + problem.counted.activation[layers, filled[problem.space.deciders.reader, ACTIVATION_BITS]])
