"""How much a nat of rounded activations counts beside a nat of changed weights, learned from measured plans.

A loss that rounding noise adds on every image differently costs fewer answers than one that changed weights add on all
of them alike. The share is fitted with the map from errors to points: on ResNet-20 it comes to 0.4 to 0.5 whichever 64
of 92 measured plans are taken.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from envs.accuracy.calibration import Calibration
from plan.assignment import FloatArray

SHARES = np.exp(np.linspace(np.log(0.2), np.log(3.0), 28))
PRIOR_LOG_SPREAD = 0.7


def fit_balanced(
    errors: FloatArray, drops: FloatArray, *, censored: ArrayLike | None = None, shares: FloatArray = SHARES
) -> Calibration:
    """Returns the map fitted on measured plans together with the share at which activations' errors count.

    Args:
        errors: (n, 2), summed errors of weights and of activations, nats.
        drops: (n,) measured drops, points.
        censored: (n,) bool, True where the drop is only known to be at least this.
        shares: (m,), from which the share is taken.

    Raises:
        InvalidValueError: arrays of different lengths or non-finite numbers.
    """
    maps = [
        replace(Calibration.fit(errors @ (1.0, share), drops, censored=censored), activation_share=float(share))
        for share in shares
    ]
    priors = 0.5 * (np.log(shares) / PRIOR_LOG_SPREAD) ** 2
    misfits = [
        found.misfit(found.summed(errors), drops, censored=censored) + prior
        for found, prior in zip(maps, priors, strict=True)
    ]
    return maps[int(np.argmin(misfits))]
