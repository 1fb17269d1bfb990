"""The plain alternative that other tools take: the loss measured with one layer changed, a few settings per layer.

Between the measured settings a loss follows a power of what is removed and an exponential of the bits; a plan's error
is the sum over its layers. Which units a method removes counts only through the family of its granularity.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from envs.accuracy.error_table import ErrorTable
from envs.accuracy.loss_scales import LossIncrease
from envs.accuracy.repaired_cells import FAMILIES, first_method, scheme_at
from plan.assignment import FloatArray
from plan.space import DENSITIES, Space

KEPT = (0.5, 0.25)
"""Kept fractions at which single weights are removed; of other families the second is measured alone."""
WIDTHS_APART = 2
SMALLEST_LOSS = 1e-9
EXPONENTS, SLOPES = (0.5, 6.0), (-2.5, 0.0)
"""Bounds on the power of the removed fraction, and on the change of a loss's logarithm per bit."""


def one_layer_table(space: Space, losses: LossIncrease, tick: Callable[[int, int], None]) -> ErrorTable:
    """Returns the table of losses that were measured one layer at a time, and interpolated.

    Args:
        space: layers, methods and widths.
        losses: measures one changed layer, or one rounded tensor.
        tick: told how many layers of how many are done.
    """
    weight = np.full((*space.legal.shape, len(space.weight_bits)), np.inf)
    activation = np.zeros((space.n_layers, len(space.activation_bits)))
    for layer in range(space.n_layers):
        if space.deciders.reader[layer] == layer:
            activation[layer] = _activations(space, layer, losses)
        weight[layer] = _weights(space, layer, losses)
        tick(layer + 1, space.n_layers)
    return ErrorTable(weight, activation)


def _activations(space: Space, layer: int, losses: LossIncrease) -> FloatArray:
    """Returns the losses of a layer's input tensor at all widths, (A,)."""
    widths = space.activation_bits
    return _over_widths(
        widths, space.activation_bits_legal[layer], lambda width: losses.activations(layer, widths[width])
    )


def _weights(space: Space, layer: int, losses: LossIncrease) -> FloatArray:
    """Returns one layer's losses, (M, 32, W), infinite where illegal."""
    legal, last = space.weight_bits_legal[layer], len(DENSITIES) - 1
    rounding = _over_widths(
        space.weight_bits, legal, lambda width: losses.weights(layer, scheme_at(space, 0, last, width))
    )
    laws = _laws(space, layer, losses)
    errors = np.full((len(space.methods), len(DENSITIES), len(legal)), np.inf)
    for index, method in enumerate(space.methods):
        offered = space.legal[layer, index]
        scale, exponent = laws.get(FAMILIES.get(method.granularity.kind, ""), laws.get("element", (0.0, 1.0)))
        pruning = scale * (1.0 - DENSITIES) ** exponent
        errors[index, offered] = (pruning[:, None] + rounding)[offered]
    return np.where(legal, errors, np.inf)


def _over_widths(bits: tuple[int, ...], legal: np.ndarray, measured: Callable[[int], float]) -> FloatArray:
    """Returns losses at all widths, (W,), from those at the narrowest legal one and two above it."""
    widths = np.flatnonzero(legal)
    low = int(widths[0])
    high = int(widths[min(WIDTHS_APART, len(widths) - 1)])
    first = np.log(max(measured(low), SMALLEST_LOSS))
    if high == low:
        return np.full(len(bits), np.exp(first))
    slope = (np.log(max(measured(high), SMALLEST_LOSS)) - first) / (bits[high] - bits[low])
    return np.asarray(np.exp(first + np.clip(slope, *SLOPES) * (np.asarray(bits) - bits[low])))


def _laws(space: Space, layer: int, losses: LossIncrease) -> dict[str, tuple[float, float]]:
    """Returns scale and exponent of the loss over the removed fraction, by family of granularities."""
    laws: dict[str, tuple[float, float]] = {}
    exponent = 2.0
    for family in dict.fromkeys(FAMILIES.values()):
        method = first_method(space, layer, family)
        if method is None:
            continue
        offered = np.flatnonzero(space.legal[layer, method])
        found = []
        for kept in KEPT if family == "element" else KEPT[1:]:
            density = int(offered[np.argmin(np.abs(DENSITIES[offered] - kept))])
            width = int(np.flatnonzero(space.weight_bits_legal[layer])[-1])
            loss = losses.weights(layer, scheme_at(space, method, density, width))
            found.append((1.0 - float(DENSITIES[density]), max(loss, SMALLEST_LOSS)))
        (removed, loss), (less, least) = found[-1], found[0]
        if removed > less:
            exponent = float(np.clip(np.log(loss / least) / np.log(removed / less), *EXPONENTS))
        laws[family] = loss / max(removed, 1.0 / len(DENSITIES)) ** exponent, exponent
    return laws
