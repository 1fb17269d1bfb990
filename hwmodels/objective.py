"""The same hardware with mappings chosen by another objective."""

from __future__ import annotations

from dataclasses import replace

from hwmodels.accelerator import Accelerator
from hwmodels.eyeriss import Eyeriss
from plan.errors import InvalidValueError


def with_objective(accelerator: Accelerator, objective: str | None) -> Accelerator:
    """Returns the accelerator with mappings chosen by one of `hwmodels.mapping.OBJECTIVES`, itself when None.

    Raises:
        InvalidValueError: the hardware has one fixed mapping.
    """
    if objective is None:
        return accelerator
    if not isinstance(accelerator, Eyeriss):
        raise InvalidValueError(
            f"--map-objective {objective}: '{accelerator.name}' has no mappings to choose from; leave the flag out"
        )
    return accelerator.with_parameters(replace(accelerator.parameters, objective=objective))
