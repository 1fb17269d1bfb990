"""What predicts a plan's error: the default, parts of it alone, and the plain alternatives that it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agent.build import Assembly, ProfileStatistics, Progress
from compress.measure import Measurer
from compress.one_layer import OneLayerLoss
from envs.accuracy.error_table import ErrorTable
from envs.accuracy.one_layer_table import one_layer_table
from envs.accuracy.saliency import LayerStatistics
from envs.accuracy.sensitivity import build_error_table

Builder = Callable[[Assembly, Measurer, Progress], ErrorTable]


def _second_order(assembly: Assembly, measurer: Measurer, progress: Progress) -> ErrorTable:
    """Returns second-order errors, their scale fixed by real repairs and by losses measured with one layer changed."""
    return build_error_table(
        assembly.space,
        ProfileStatistics(assembly.profile, assembly.space),
        measurer.layer_error,
        loss_increase=OneLayerLoss(measurer, assembly.unrepaired),
        progress=progress,
    )


def _one_layer(assembly: Assembly, measurer: Measurer, progress: Progress) -> ErrorTable:
    """Returns losses measured with one layer changed, interpolated between a few densities and widths."""
    losses = OneLayerLoss(measurer, assembly.unrepaired)
    return one_layer_table(assembly.space, losses, lambda done, total: progress("losses", done, total))


def _closed_forms(assembly: Assembly, measurer: Measurer, progress: Progress) -> ErrorTable:
    """Returns second-order errors as they are before measured losses correct them."""
    statistics = ProfileStatistics(assembly.profile, assembly.space)
    return build_error_table(assembly.space, statistics, measurer.layer_error, progress=progress)


def _output_error(assembly: Assembly, measurer: Measurer, progress: Progress) -> ErrorTable:
    """Returns the sum of the layers' squared output errors relative to their outputs, after repair."""
    return build_error_table(assembly.space, _Relative(assembly, keep_moments=True), None, progress=progress)


def _weight_error(assembly: Assembly, measurer: Measurer, progress: Progress) -> ErrorTable:
    """Returns the sum of the layers' squared weight errors relative to their weights."""
    return build_error_table(assembly.space, _Relative(assembly, keep_moments=False), None, progress=progress)


PROXIES: Mapping[str, Builder] = {
    "second-order": _second_order,
    "uncorrected": _closed_forms,
    "one-layer": _one_layer,
    "relative-error": _output_error,
    "weight-error": _weight_error,
}
"""What `--proxy` may name; the first is the default."""


class _Relative(Sequence[LayerStatistics]):
    """Statistics that make the closed forms give relative errors: every output counts alike.

    Args:
        assembly: network, profile and space.
        keep_moments: errors count in the metric of the inputs; without it every weight counts alike.
    """

    def __init__(self, assembly: Assembly, *, keep_moments: bool) -> None:
        self._known = ProfileStatistics(assembly.profile, assembly.space)
        self._assembly = assembly
        self._keep_moments = keep_moments

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, index: Any) -> Any:
        """Returns one layer's statistics, or those of a slice."""
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        known: LayerStatistics = self._known[index]
        moments = known.moment
        if not self._keep_moments:
            moments = tuple(
                np.tile(np.eye(block.shape[-1], dtype=np.float32), (len(block), 1, 1)) for block in known.moment
            )
        share = np.full(len(known.fisher), 2.0 / max(_energy(known.weight, moments), 1e-30))
        errors = self._rounding_errors(index) * (known.activation_error > 0)
        return replace(known, moment=moments, fisher=share, activation_error=errors)

    def _rounding_errors(self, index: int) -> np.ndarray:
        """Returns the squared error of rounding the layer's input, step^2 / 12, relative to its mean square, (A,)."""
        assembly = self._assembly
        tensor, layer = assembly.network.layers[index].input_tensor, assembly.profile.layers[index]
        squares = np.concatenate([np.diagonal(block, axis1=1, axis2=2).ravel() for block in layer.moment_blocks])
        steps = np.array([assembly.profile.range_of(tensor, bits).scale for bits in assembly.space.activation_bits])
        return np.asarray(steps**2 / 12.0 / max(float(squares.mean()), 1e-30))


def _energy(weight: np.ndarray, moments: tuple[np.ndarray, ...]) -> float:
    """Returns sum_k w_k H w_k^T over all rows, for weights (K, D) and blocks (groups, d, d) that cover D."""
    total, start = 0.0, 0
    for block in moments:
        part = weight[:, start : start + block.shape[-1]].reshape(len(block), -1, block.shape[-1]).astype(np.float64)
        total += float(np.einsum("gkd,gde,gke->", part, block.astype(np.float64), part, optimize=True))
        start += block.shape[-1]
    return total
