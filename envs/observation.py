"""What an agent sees in front of a layer: float32 (B, F) in [-1, 1], F the same for every network on one hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from envs.conditions import MIXES, Conditions, mixed_objective
from envs.hints import Hints, build_hints
from envs.problem import Problem
from envs.reward import HIGHEST_RATE, potential
from plan.assignment import FloatArray, IntArray
from plan.layer import Layer
from plan.space import ACTIVATION_BITS, DENSITIES, DENSITY, WEIGHT_BITS, Choices

Observations = NDArray[np.float32]
LAYER_FEATURES = (
    "log outputs",
    "log inputs",
    "kernel positions",
    "log pixels",
    "stride",
    "depthwise",
    "linear",
    "grouped",
    "position",
    "weights here",
    "macs here",
    "energy here",
    "latency here",
    "size here",
    "energy to come",
    "latency to come",
    "size to come",
    "chooses activation bits",
    "chooses output channels",
    "may choose input channels",
)
EPISODE_FEATURES = (
    "log exchange rate",
    "objective so far",
    "error so far",
    "inputs kept",
    "outputs kept",
    "inherited bits",
    "last density",
    "last weight bits",
    "last activation bits",
    "best gain against layer",
    "log best gain",
    "objective by energy",
    "objective by latency",
    "objective by size",
    "limit on energy",
    "limit on latency",
    "limit on size",
    "limit on error",
    "energy left",
    "latency left",
    "size left",
    "error left",
)
GAIN = EPISODE_FEATURES.index("best gain against layer")
VALUES = 3
SMALLEST_GAIN = 1e-3
"""Scores are shown relative to the best alternative's gain, or to this share of the layer where nothing gains."""


@dataclass(frozen=True)
class EpisodeState:
    """Where a batch of episodes stands in front of `layer`: arrays over B environments.

    choices: int16 (B, L, 4), -1 for layers to come; kept: (B, G) kept fraction of every channel group; totals: (B, 4)
    additive energy, latency, size and error; conditions: what the episodes are played for; rows: (B,) rows of the
    hints; mask: bool (B, M).
    """

    layer: int
    choices: Choices
    kept: FloatArray
    totals: FloatArray
    conditions: Conditions
    rows: IntArray
    mask: NDArray[np.bool_]

    @property
    def rates(self) -> FloatArray:
        """Exchange rates, (B,)."""
        return self.conditions.rates


@dataclass(frozen=True, eq=False)
class Observer:
    """Everything of the observation that does not change between episodes. Built by `build_observer`.

    An observation holds the layer's features, the episode's, and the hints: for every method the score of its best
    alternative at the episode's exchange rate (lower is better; -1 for the layer's best, 0 for what gains nothing, 1
    for illegal methods), then the three action values that choose it, method by method, then flags of legal methods.
    What is left of a limit counts the layers to come at their hints.
    """

    problem: Problem
    hints: Hints
    layer_features: NDArray[np.float32]
    layer_share: FloatArray
    reads: FloatArray

    @cached_property
    def n_methods(self) -> int:
        """Number of methods, M."""
        return len(self.problem.space.methods)

    @cached_property
    def score_columns(self) -> slice:
        """Where the M scores are."""
        first = len(LAYER_FEATURES) + len(EPISODE_FEATURES)
        return slice(first, first + self.n_methods)

    @cached_property
    def value_columns(self) -> slice:
        """Where the M x 3 best action values are."""
        first = self.score_columns.stop
        return slice(first, first + VALUES * self.n_methods)

    @cached_property
    def mask_columns(self) -> slice:
        """Where the M flags of legal methods are."""
        first = self.value_columns.stop
        return slice(first, first + self.n_methods)

    @cached_property
    def size(self) -> int:
        """Number of features, F."""
        return int(self.mask_columns.stop)

    def observe(self, state: EpisodeState) -> Observations:
        """Returns the features in front of a layer, float32 (B, F)."""
        plans = len(state.mask)
        out = np.empty((plans, self.size), dtype=np.float32)
        first, second = len(LAYER_FEATURES), len(LAYER_FEATURES) + len(EPISODE_FEATURES)
        out[:, :first] = self.layer_features[state.layer]
        inherited = self._inherited_bits(state)
        cells = self.hints.cells[state.rows, state.layer, inherited]
        score = cells[..., 0] * self.remaining(state)[:, None] + state.conditions.rates[:, None] * cells[..., 1]
        best = np.where(state.mask, score, np.inf).min(axis=1)
        share = self.layer_share[state.conditions.mixes, state.layer]
        gain = np.maximum(-best, SMALLEST_GAIN * share)
        self._episode_features(state, inherited, gain, out[:, first:second])
        out[:, first + GAIN] = gain / share
        out[:, self.score_columns] = np.where(state.mask, (score - best[:, None]) / gain[:, None] - 1.0, 1.0)
        out[:, self.value_columns] = cells[..., 2:].reshape(plans, -1)
        out[:, self.mask_columns] = state.mask
        return np.clip(out, -1.0, 1.0, out=out)

    def potential(self, state: EpisodeState, totals: FloatArray, layer: int) -> FloatArray:
        """Returns what episodes are to minimise, (B,), for totals (B, 4) in front of a layer (L at the end)."""
        return potential(
            self.problem,
            totals,
            state.conditions,
            error_scales=self.hints.error_scales[state.rows],
            gains=self.hints.gains[state.rows],
            to_come=self.hints.to_come[state.rows, layer],
        )

    def remaining(self, state: EpisodeState) -> FloatArray:
        """Returns which share of the layer earlier decisions on channels have left, (B,).

        Differences of cost are scaled by it: the additive table holds them for the whole layer.
        """
        layer = self.problem.network.layers[state.layer]
        left: FloatArray = state.kept @ self.reads[state.layer]
        return left if layer.depthwise else left * state.kept[:, layer.output_group]

    def _inherited_bits(self, state: EpisodeState) -> IntArray:
        reader = int(self.problem.space.deciders.reader[state.layer])
        if reader == state.layer:
            return np.zeros(len(state.conditions), dtype=np.int64)
        return state.choices[:, reader, ACTIVATION_BITS].astype(np.int64)

    def _episode_features(
        self, state: EpisodeState, inherited: IntArray, gain: FloatArray, out: NDArray[np.float32]
    ) -> None:
        """Fills (B, 22) features of the episode so far, but for the gain against the layer."""
        space, layer = self.problem.space, state.layer
        decides = space.deciders.reader[layer] == layer
        last = state.choices[:, layer - 1] if layer else space.start[None, 0]
        conditions, scale = state.conditions, self.hints.error_scales[state.rows]
        out[:, 0] = np.log(conditions.rates) / np.log(HIGHEST_RATE)
        out[:, 1] = mixed_objective(self.problem, state.totals[:, :3], conditions.mixes)
        out[:, 2] = _log_scaled(state.totals[:, 3] / scale)
        out[:, 3] = state.kept @ self.reads[layer]
        out[:, 4] = state.kept[:, self.problem.network.layers[layer].output_group]
        out[:, 5] = -1.0 if decides else np.asarray(space.activation_bits)[inherited] / 16
        out[:, 6] = DENSITIES[last[:, DENSITY]]
        out[:, 7] = np.asarray(space.weight_bits)[last[:, WEIGHT_BITS]] / 16
        out[:, 8] = np.asarray(space.activation_bits)[last[:, ACTIVATION_BITS]] / 16
        out[:, 10] = _log_scaled(gain)
        out[:, 11:14] = MIXES[conditions.mixes]
        out[:, 14:17] = np.minimum(conditions.limits[:, :3] / self.problem.baseline.costs()[0], 1.0)
        out[:, 17] = np.minimum(_log_scaled(conditions.limits[:, 3] / scale), 1.0)
        out[:, 18:22] = 1.0 - (state.totals + self.hints.to_come[state.rows, layer]) / conditions.limits


def build_observer(problem: Problem, mixes: Sequence[int] = ()) -> Observer:
    """Returns the observer of a problem; builds its additive table and hints, seconds on a large network.

    Args:
        problem: what is observed.
        mixes: rows of `envs.conditions.MIXES` that episodes may have besides the problem's own.
    """
    layers = problem.network.layers
    start = problem.accelerator.evaluate(problem.network, problem.space.resolve(problem.space.start[None]))
    own = np.stack((start.energy_pj[0], start.latency_cycles[0], start.size_bits[0]), axis=1)
    shares = own / np.maximum(own.sum(axis=0), 1e-300)
    shapes = np.array([_shape_features(layer) for layer in layers])
    features = np.column_stack((shapes, _share_features(problem, shares), _decision_features(problem)))
    reads = np.zeros((len(layers), len(problem.network.groups)))
    for index, layer in enumerate(layers):
        for segment in layer.inputs:
            reads[index, segment.group] += segment.channels * segment.repeat
    reads /= np.maximum(reads.sum(axis=1, keepdims=True), 1.0)
    share = np.maximum(MIXES @ shares.T, 1e-9)
    return Observer(problem, build_hints(problem, mixes), features.astype(np.float32), share, reads)


def _shape_features(layer: Layer) -> list[float]:
    """Returns the first eight layer features."""
    return [
        np.log2(layer.K) / 12,
        np.log2(layer.C) / 12,
        layer.R * layer.S / 49,
        np.log2(layer.P * layer.Q) / 16,
        layer.stride / 4,
        float(layer.depthwise),
        float(layer.op == "linear"),
        float(layer.groups > 1),
    ]


def _share_features(problem: Problem, shares: FloatArray) -> FloatArray:
    """Returns position, shares of weights, MACs and costs here, and of costs to come, (L, 9)."""
    layers = problem.network.layers
    position = np.arange(len(layers)) / len(layers)
    weights = np.array([layer.weights for layer in layers]) / sum(layer.weights for layer in layers)
    macs = np.array([layer.macs for layer in layers]) / problem.network.macs
    here = np.sqrt(np.column_stack((weights, macs, shares)))
    to_come = np.cumsum(shares[::-1], axis=0)[::-1]
    return np.column_stack((position, here, to_come))


def _decision_features(problem: Problem) -> FloatArray:
    """Returns what a layer decides for others, (L, 3)."""
    deciders, n_layers = problem.space.deciders, problem.space.n_layers
    decides = deciders.reader == np.arange(n_layers), deciders.producer_group >= 0, deciders.consumer_group >= 0
    return np.column_stack(decides).astype(np.float64)


def _log_scaled(values: FloatArray) -> FloatArray:
    """Returns log10 of values in 10^-6 ... 1 mapped onto -1 ... 1 (larger ones above)."""
    return np.log10(np.maximum(values, 1e-6)) / 3 + 1
