"""Plans as vectors of numbers in [0, 1], for searchers that know nothing else: four per layer.

The first number picks a method among those that earlier layers leave legal, in bins of equal width; the others are
density, weight bits and activation bits as `Space.from_unit` reads them. Every vector is a legal plan.
"""

from __future__ import annotations

import numpy as np

from plan.assignment import FloatArray
from plan.space import ACTIVATION_BITS, DENSITY, METHOD, UNDECIDED, WEIGHT_BITS, Choices, Space


def decode(space: Space, genomes: FloatArray) -> Choices:
    """Returns the plans int16 (B, L, 4) of vectors (B, L * 4) in [0, 1]."""
    genes = np.asarray(genomes).reshape(len(genomes), space.n_layers, 4)
    choices = np.full(genes.shape, UNDECIDED, dtype=np.int16)
    for layer in range(space.n_layers):
        mask = space.method_mask(choices, layer)
        counts = mask.sum(axis=1)
        rank = np.minimum((genes[:, layer, 0] * counts).astype(np.int64), counts - 1)
        methods = np.argmax(mask.cumsum(axis=1) > rank[:, None], axis=1)
        choices[:, layer] = space.from_unit(layer, methods, genes[:, layer, 1:], choices)
    return choices


def encode(space: Space, choices: Choices) -> FloatArray:
    """Returns vectors (B, L * 4) that decode to legal plans int16 (B, L, 4): the middles of their bins."""
    genes = np.empty(choices.shape)
    for layer in range(space.n_layers):
        mask = space.method_mask(choices, layer)
        own = choices[:, layer]
        genes[:, layer, 0] = _middle(mask, own[:, METHOD])
        genes[:, layer, 1] = _middle(space.legal[layer, own[:, METHOD]], own[:, DENSITY])
        genes[:, layer, 2] = _middle(np.tile(space.weight_bits_legal[layer], (len(own), 1)), own[:, WEIGHT_BITS])
        legal = np.tile(space.activation_bits_legal[layer], (len(own), 1))
        genes[:, layer, 3] = _middle(legal, own[:, ACTIVATION_BITS])
    return genes.reshape(len(choices), 4 * space.n_layers)


def _middle(mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]], index: Choices) -> FloatArray:
    """Returns the middle of the bin of index (B,) among the legal entries of mask (B, n)."""
    rank = mask.cumsum(axis=1)[np.arange(len(mask)), index] - 0.5
    return np.asarray(rank / mask.sum(axis=1))
