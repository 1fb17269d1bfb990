"""The monotone map from a plan's summed error to the accuracy points that it loses.

A power law a * error^b is fitted first, robustly and with a prior, so that eight measured plans are enough; what its
residuals agree on is then added, shrunk where few plans were measured, and the result is made monotone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plan.assignment import FloatArray
from plan.errors import InvalidValueError

DEFAULT_POINTS_PER_NAT = 70.0
"""Before anything is measured, 0.014 nats cost one point: median of 60 random plans of ResNet-20 on CIFAR-10."""
FLOOR_POINTS = 0.3
RELATIVE_SPREAD = 0.2
UNFITTED_SPREAD = 3.0
PRIOR_LOG_SCALE, PRIOR_EXPONENT = 2.0, 0.4
BANDWIDTH, PRIOR_PLANS, KNOTS = 0.5, 4.0, 24
SMALLEST_ERROR, MOST_POINTS = 1e-12, 100.0
BISECTIONS = 64
"""To the last bit of a logarithm."""


@dataclass(frozen=True)
class Calibration:
    """A monotone map, linear between knots in logarithms and a power law outside of them.

    Attributes:
        log_errors, log_points: (n,) knots, natural logarithms of nats and of points, both ascending.
        exponent: of the power law outside of the knots.
        spread: how many times the assumed noise sqrt(0.3^2 + (0.2 * points)^2) the residuals show.
        plans: measured plans that the map was fitted on.
        activation_share: what a nat of rounded activations counts for, in nats of changed weights; the errors that
            the map takes are summed so.
    """

    log_errors: tuple[float, ...] = (0.0,)
    log_points: tuple[float, ...] = (float(np.log(DEFAULT_POINTS_PER_NAT)),)
    exponent: float = 1.0
    spread: float = UNFITTED_SPREAD
    plans: int = 0
    activation_share: float = 1.0

    def points(self, error: ArrayLike) -> FloatArray:
        """Returns predicted drops in accuracy points for errors in nats, the same shape, at most 100."""
        log_error = np.log(np.maximum(np.asarray(error, dtype=np.float64), SMALLEST_ERROR))
        return np.minimum(np.exp(self._extended(log_error)), MOST_POINTS)

    def error_at(self, points: float) -> float:
        """Returns the largest error whose predicted drop is not above so many points, by bisection."""
        low, high = np.log(SMALLEST_ERROR), 50.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = float(np.exp(self._extended(np.array([middle]))[0])) > points
            low, high = (low, middle) if above else (middle, high)
        return float(np.exp(low))

    def summed(self, parts: FloatArray) -> FloatArray:
        """Returns the errors that the map takes, (n,), of errors (n, 2) of weights and of activations."""
        return np.asarray(parts @ (1.0, self.activation_share))

    def uncertainty(self, error: ArrayLike) -> FloatArray:
        """Returns one standard deviation of a single plan's drop about its prediction, in points."""
        return self.spread * _assumed_noise(self.points(error))

    def _extended(self, log_error: FloatArray) -> FloatArray:
        inside = np.interp(log_error, self.log_errors, self.log_points)
        outside = np.minimum(log_error - self.log_errors[0], 0.0) + np.maximum(log_error - self.log_errors[-1], 0.0)
        return np.asarray(inside + self.exponent * outside)

    @classmethod
    def fit(
        cls,
        errors: ArrayLike,
        drops: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        censored: ArrayLike | None = None,
    ) -> Calibration:
        """Returns the map fitted on measured plans; with none of them, the default.

        Args:
            errors: (n,) summed predicted errors, nats.
            drops: (n,) measured drops, points; may be negative.
            weights: (n,) relative precision of each measurement (images measured, for example); all 1 when None.
            censored: (n,) bool, True where measuring stopped early and the drop is only known to be at least this.

        Raises:
            InvalidValueError: arrays of different lengths or non-finite numbers.
        """
        if not np.size(drops) and not np.size(errors):
            return cls()
        plans = _Plans.of(errors, drops, weights, censored)
        log_scale, exponent = _power_law(plans)
        knots = _knots(plans)
        values = _corrected(plans, knots, log_scale, exponent)
        fitted = cls(tuple(knots.tolist()), tuple(np.log(values).tolist()), exponent, 1.0, len(plans.drops))
        residual = plans.residual(fitted.points(np.exp(plans.log_errors)))
        spread = np.sqrt((plans.precision @ residual**2 + PRIOR_PLANS) / (plans.precision.sum() + PRIOR_PLANS))
        return cls(fitted.log_errors, fitted.log_points, exponent, float(spread), fitted.plans)

    def misfit(self, errors: ArrayLike, drops: ArrayLike, *, censored: ArrayLike | None = None) -> float:
        """Returns how far measured plans lie off the map, robustly: the sum of sqrt(1 + (residual / noise)^2)."""
        plans = _Plans.of(errors, drops, None, censored)
        return float(np.sqrt(1.0 + plans.residual(self.points(np.exp(plans.log_errors))) ** 2).sum())

    def to_json(self) -> dict[str, object]:
        """Returns the map as plain numbers and lists."""
        return {
            "log_errors": list(self.log_errors),
            "log_points": list(self.log_points),
            "exponent": self.exponent,
            "spread": self.spread,
            "plans": self.plans,
            "activation_share": self.activation_share,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> Calibration:
        """Returns the map that `to_json` wrote.

        Raises:
            InvalidValueError: missing or odd fields.
        """
        try:
            log_errors = tuple(np.asarray(content["log_errors"], dtype=np.float64).tolist())
            log_points = tuple(np.asarray(content["log_points"], dtype=np.float64).tolist())
            exponent, spread = (float(np.float64(str(content[name]))) for name in ("exponent", "spread"))
            share = float(np.float64(str(content.get("activation_share", 1.0))))
            return cls(log_errors, log_points, exponent, spread, int(str(content["plans"])), share)
        except (KeyError, TypeError, ValueError) as problem:
            raise InvalidValueError(f"not a calibration ({problem}); fit it again") from problem


@dataclass(frozen=True)
class _Plans:
    """Measured plans, arrays (n,): log of the error, drop, precision with mean 1, and whether a bound only."""

    log_errors: FloatArray
    drops: FloatArray
    precision: FloatArray
    censored: NDArray[np.bool_]

    @classmethod
    def of(cls, errors: ArrayLike, drops: ArrayLike, weights: ArrayLike | None, censored: ArrayLike | None) -> _Plans:
        error, drop = np.asarray(errors, dtype=np.float64), np.asarray(drops, dtype=np.float64)
        weight = np.ones(len(drop)) if weights is None else np.asarray(weights, dtype=np.float64)
        bound = np.zeros(len(drop), dtype=np.bool_) if censored is None else np.asarray(censored, dtype=np.bool_)
        if not len(error) == len(drop) == len(weight) == len(bound):
            lengths = len(error), len(drop), len(weight), len(bound)
            raise InvalidValueError(f"errors, drops, weights and censored differ in length: {lengths}; give one each")
        if not (np.isfinite(error).all() and np.isfinite(drop).all() and (weight > 0).all()):
            raise InvalidValueError("errors and drops must be finite and weights positive; leave such plans out")
        return cls(np.log(np.maximum(error, SMALLEST_ERROR)), drop, weight / weight.mean(), bound)

    def residual(self, predicted: FloatArray) -> FloatArray:
        """Returns (measured - predicted) over the assumed noise; 0 for bounds that the prediction keeps."""
        difference = self.drops - predicted
        difference = np.where(self.censored, np.maximum(difference, 0.0), difference)
        return difference / self.noise

    @property
    def noise(self) -> FloatArray:
        """Assumed standard deviations, points."""
        return _assumed_noise(np.maximum(self.drops, 0.0))


def _assumed_noise(points: FloatArray) -> FloatArray:
    return np.hypot(FLOOR_POINTS, RELATIVE_SPREAD * points)


def _power_law(plans: _Plans) -> tuple[float, float]:
    """Returns the natural logarithm of a and the exponent b of the robust fit points = a * error^b."""
    from scipy.optimize import least_squares  # imported here: half a second that questions to a run need not wait

    prior = np.array([np.log(DEFAULT_POINTS_PER_NAT), 1.0])
    width = np.array([PRIOR_LOG_SCALE, PRIOR_EXPONENT])

    def residuals(parameters: FloatArray) -> FloatArray:
        predicted = np.exp(np.minimum(parameters[0] + parameters[1] * plans.log_errors, np.log(MOST_POINTS)))
        return np.concatenate((np.sqrt(plans.precision) * plans.residual(predicted), (parameters - prior) / width))

    first = _first_guess(plans, prior)
    fitted = least_squares(residuals, first, bounds=((-np.inf, 0.1), (np.inf, 4.0)), loss="soft_l1")
    return float(fitted.x[0]), float(fitted.x[1])


def _first_guess(plans: _Plans, prior: FloatArray) -> FloatArray:
    """Returns where the fit starts: the exponent of the prior, the scale that the median plan asks for."""
    usable = plans.drops > FLOOR_POINTS
    if not usable.any():
        return prior
    return np.array([float(np.median(np.log(plans.drops[usable]) - plans.log_errors[usable])), 1.0])


def _knots(plans: _Plans) -> FloatArray:
    low, high = float(plans.log_errors.min()), float(plans.log_errors.max())
    return np.linspace(low, high, KNOTS) if high - low > 1e-6 else np.array([low])


def _corrected(plans: _Plans, knots: FloatArray, log_scale: float, exponent: float) -> FloatArray:
    """Returns points at the knots: the power law plus the locally agreed residual, monotone and positive."""
    law = np.minimum(np.exp(log_scale + exponent * knots), MOST_POINTS)
    predicted = np.minimum(np.exp(log_scale + exponent * plans.log_errors), MOST_POINTS)
    nearness = np.exp(-0.5 * ((knots[:, None] - plans.log_errors) / BANDWIDTH) ** 2) * plans.precision
    agreed = nearness @ plans.residual(predicted) / (nearness.sum(axis=1) + PRIOR_PLANS)
    values = np.clip(law + agreed * _assumed_noise(law), 0.1 * law, MOST_POINTS)
    rising, falling = np.maximum.accumulate(values), np.minimum.accumulate(values[::-1])[::-1]
    return np.asarray((rising + falling) / 2)
