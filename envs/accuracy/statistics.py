"""How sure a measured drop is: the paired bootstrap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plan.assignment import FloatArray
from plan.errors import InvalidValueError, MismatchError

RESAMPLES = 10_000


def drop_points(dense: NDArray[np.bool_], plan: NDArray[np.bool_]) -> float:
    """Returns the accuracy lost, in points, for correctness on the same images, bool (N,) each."""
    return 100.0 * (int(dense.sum()) - int(plan.sum())) / len(dense)


def resampled_drops(
    dense: NDArray[np.bool_], plan: NDArray[np.bool_], *, seed: int, resamples: int = RESAMPLES
) -> FloatArray:
    """Returns drops in points of images drawn with replacement, pairs kept, (resamples,).

    Only the numbers of images lost and won matter, and resampling draws these from a multinomial distribution.

    Raises:
        MismatchError: different numbers of images.
        InvalidValueError: no images.
    """
    if len(dense) != len(plan):
        raise MismatchError(f"{len(dense)} and {len(plan)} images cannot be paired; measure both on the same images")
    if not len(dense):
        raise InvalidValueError("no images were measured; give at least one")
    lost, won = int((dense & ~plan).sum()), int((~dense & plan).sum())
    shares = np.array([lost, won, len(dense) - lost - won]) / len(dense)
    counts = np.random.default_rng(seed).multinomial(len(dense), shares, size=resamples)
    return np.asarray(100.0 * (counts[:, 0] - counts[:, 1]) / len(dense))


def paired_bootstrap(
    dense: NDArray[np.bool_], plan: NDArray[np.bool_], *, seed: int, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Returns the 95 % interval of the drop in points, low and high, for correctness on the same images, bool (N,)."""
    drops = resampled_drops(dense, plan, seed=seed, resamples=resamples)
    low, high = np.quantile(drops, (0.025, 0.975))
    return float(low), float(high)
