"""How well predicted drops agree with measured ones, on plans that no fit has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from plan.assignment import FloatArray
from plan.errors import InvalidValueError

RESAMPLES = 1_000
FEWEST_PLANS = 3


@dataclass(frozen=True)
class Fidelity:
    """Rank correlations with bootstrap 95 % intervals, mean absolute error in points, and the number of plans."""

    spearman: float
    spearman_interval: tuple[float, float]
    kendall: float
    kendall_interval: tuple[float, float]
    mean_absolute_error_points: float
    plans: int

    def to_json(self) -> dict[str, object]:
        """Returns the figures as plain numbers and lists."""
        content = asdict(self)
        for name in ("spearman_interval", "kendall_interval"):
            content[name] = list(content[name])
        return content


def fidelity(predicted: ArrayLike, measured: ArrayLike, *, seed: int) -> Fidelity:
    """Returns how well predictions (n,) agree with measurements (n,), both drops in points.

    Raises:
        InvalidValueError: fewer than three plans, or different numbers of them.
    """
    first, second = np.asarray(predicted, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    if len(first) != len(second) or len(first) < FEWEST_PLANS:
        raise InvalidValueError(
            f"{len(first)} predictions and {len(second)} measurements; give as many of both, at least {FEWEST_PLANS}"
        )
    draws = np.random.default_rng(seed).integers(0, len(first), (RESAMPLES, len(first)))
    return Fidelity(
        spearman=spearman(first, second),
        spearman_interval=_interval(spearman, first[draws], second[draws]),
        kendall=kendall(first, second),
        kendall_interval=_interval(kendall, first[draws], second[draws]),
        mean_absolute_error_points=float(np.abs(first - second).mean()),
        plans=len(first),
    )


def spearman(first: FloatArray, second: FloatArray) -> float:
    """Returns Spearman's rank correlation, 0 where one side is constant."""
    from scipy.stats import rankdata  # imported here: half a second that questions to a run need not wait

    one, other = rankdata(first), rankdata(second)
    spread = one.std() * other.std()
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread > 0 else 0.0


def kendall(first: FloatArray, second: FloatArray) -> float:
    """Returns Kendall's tau-b, 0 where one side is constant."""
    one, other = (np.sign(values[:, None] - values) for values in (first, second))
    pairs = np.sqrt(np.square(one).sum() * np.square(other).sum())
    return float((one * other).sum() / pairs) if pairs > 0 else 0.0


def _interval(
    correlation: Callable[[FloatArray, FloatArray], float], first: FloatArray, second: FloatArray
) -> tuple[float, float]:
    values = [correlation(one, other) for one, other in zip(first, second, strict=True)]
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
