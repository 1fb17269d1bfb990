"""Times of dense and block-sparse products on this machine's core, and the constants that explain them best.

The kernels are what numpy offers: a dense product of weights and inputs, and for block-sparse weights, block of filters
by block, a gather of the inputs that are kept and the dense product of what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from hwmodels.simd import Rates, padding

FloatArray = NDArray[np.float64]
FILTERS, INPUTS = 256, 576
POSITIONS = (49, 196, 784)
BLOCKS = (4, 8, 16)
DENSITIES = (0.5, 0.25, 0.125)
VECTORS = (1, 2, 4, 8, 16)
COPIED_VALUES = 1 << 23
SMALLEST_TIME_NS = 1e-6


@dataclass(frozen=True)
class Timing:
    """One product: `filters` in a block (0 when dense), kept blocks, kept MACs, positions, and the best time in ns."""

    filters: int
    blocks: int
    macs: int
    positions: int
    time_ns: float


@dataclass(frozen=True)
class Calibration:
    """Fitted constants, and the mean relative error of the times that they give for the block-sparse products."""

    rates: Rates
    mean_error: float


def measure(repeats: int, seed: int) -> list[Timing]:
    """Returns the times of all products, each the best of so many repeats, in processor time of all threads."""
    rng = np.random.default_rng(seed)
    timings = []
    for positions in POSITIONS:
        inputs = rng.standard_normal((INPUTS, positions), dtype=np.float32)
        weights = rng.standard_normal((FILTERS, INPUTS), dtype=np.float32)
        best_ns = _best_ns(partial(np.matmul, weights, inputs), repeats)
        timings.append(Timing(0, 0, FILTERS * INPUTS * positions, positions, best_ns))
        for filters in BLOCKS:
            for density in DENSITIES:
                timings.append(_sparse(weights, inputs, filters, density, rng, repeats))
    return timings


def _sparse(
    weights: NDArray[np.float32],
    inputs: NDArray[np.float32],
    filters: int,
    density: float,
    rng: np.random.Generator,
    repeats: int,
) -> Timing:
    kept = [np.flatnonzero(rng.random(INPUTS) < density) for _ in range(FILTERS // filters)]
    parts = [np.ascontiguousarray(weights[i * filters : (i + 1) * filters, at]) for i, at in enumerate(kept)]
    out = np.empty((FILTERS, inputs.shape[1]), dtype=np.float32)

    def product() -> None:
        for i, (part, at) in enumerate(zip(parts, kept, strict=True)):
            np.matmul(part, inputs[at], out=out[i * filters : (i + 1) * filters])

    blocks = sum(at.size for at in kept)
    return Timing(filters, blocks, blocks * filters * inputs.shape[1], inputs.shape[1], _best_ns(product, repeats))


def _best_ns(work: Callable[[], object], repeats: int) -> float:
    work()
    best = np.inf
    for _ in range(repeats):
        start = time.process_time_ns()
        work()
        best = min(best, time.process_time_ns() - start)
    return max(float(best), 1.0)


def memory_bits_per_ns(repeats: int) -> float:
    """Returns the bits that a copy far larger than the caches reads and writes in a ns."""
    source = np.ones(COPIED_VALUES, dtype=np.float32)
    target = np.empty_like(source)
    return 2.0 * 32.0 * COPIED_VALUES / _best_ns(partial(np.copyto, target, source), repeats)


def fit(timings: list[Timing], dram_bits_per_ns: float) -> Calibration:
    """Returns the constants with the smallest squared relative error, for the vector width that leaves least."""
    dense = [timing.macs / timing.time_ns for timing in timings if timing.filters == 0]
    sparse = [timing for timing in timings if timing.filters]
    candidates = [_fit_width(sparse, vector, float(np.median(dense)), dram_bits_per_ns) for vector in VECTORS]
    return min(candidates, key=lambda candidate: candidate.mean_error)


def _fit_width(sparse: list[Timing], vector: int, dense_rate: float, dram_bits_per_ns: float) -> Calibration:
    """Returns the fit of time = lanes / rate + blocks x (block_ns + positions x gather_ns) + layer_ns."""
    times = np.array([timing.time_ns for timing in sparse])
    lanes = [timing.macs * float(padding(np.array(float(timing.filters)), float(vector))) for timing in sparse]
    blocks = [float(timing.blocks) for timing in sparse]
    gathered = [float(timing.blocks * timing.positions) for timing in sparse]
    terms = np.stack([lanes, blocks, gathered, np.ones(len(sparse))], axis=1)
    constants, _ = nnls(terms / times[:, None], np.ones(len(sparse)))
    error = float(np.abs(terms @ constants / times - 1.0).mean())
    mac_ns, block_ns, gather_ns, layer_ns = (float(value) for value in constants)
    rate = 1.0 / max(mac_ns, SMALLEST_TIME_NS)
    return Calibration(Rates(dense_rate, rate, vector, block_ns, gather_ns, layer_ns, dram_bits_per_ns), error)
