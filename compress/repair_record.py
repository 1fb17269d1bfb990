"""Which repairs every plan of a run goes through: by name for the command line, and as plan.json records them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from compress.options import DEFAULT_OPTIONS, MeasureOptions
from compress.repair import RepairOptions
from plan.errors import InvalidValueError

EQUALISATION, UPDATE, SEQUENTIAL, ROUNDING, STATISTICS = STEPS = (
    "cross-layer equalisation",
    "second-order weight update",
    "sequential refit",
    "rounding optimisation",
    "statistics re-estimation",
)
IN_EVERY_PLAN = ("rounds", "passes")
ABSENT = {"scales": 0, "exchanges": 0, "starts": 1, "signed": 0}
"""Parameters of the update that older plans do not record, and what stands for their not having been there."""
SEQUENTIAL_IMAGES, ROUNDING_STEPS = 512, 1000
REPAIRS: dict[str, MeasureOptions] = {
    "standard": DEFAULT_OPTIONS,
    "sequential": replace(DEFAULT_OPTIONS, sequential_images=SEQUENTIAL_IMAGES),
    "rounding": replace(DEFAULT_OPTIONS, sequential_images=SEQUENTIAL_IMAGES, rounding_steps=ROUNDING_STEPS),
}
"""What `--repair` may name. The sequential refit makes every measurement several times slower, the optimisation of
roundings takes a minute and more for every plan."""


def recorded(options: MeasureOptions, *, equalised: bool = False) -> list[tuple[str, dict[str, int]]]:
    """Returns the names and parameters of the repairs that run, in order.

    Args:
        options: what runs for every plan
        equalised: whether the network itself was equalised before anything was measured
    """
    steps: list[tuple[str, dict[str, int]]] = [(EQUALISATION, {})] if equalised else []
    if options.repair.update:
        steps.append((UPDATE, _of_update(options.repair)))
        if options.sequential_images:
            steps.append((SEQUENTIAL, {"images": options.sequential_images}))
            if options.rounding_steps:
                steps.append((ROUNDING, {"steps": options.rounding_steps}))
    if options.recalibrate:
        steps.append((STATISTICS, {"images": options.calibration_images, "spread": int(options.spread)}))
    return steps


def _of_update(repair: RepairOptions) -> dict[str, int]:
    return {name: int(getattr(repair, name)) for name in (*IN_EVERY_PLAN, *ABSENT)}


def equalises(repairs: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether a plan records that its network was equalised; older plans do not, and it was not."""
    return any(entry["name"] == EQUALISATION for entry in repairs)


def options_of(repairs: Sequence[Mapping[str, Any]]) -> MeasureOptions:
    """Returns the options whose repairs a plan records, the inverse of `recorded`; `equalises` tells of the network.

    Older plans do not record the parameters in `ABSENT`, nor "spread": what these stand for did not run.

    Raises:
        InvalidValueError: a repair that is not known, or parameters that are no whole numbers from 0.
    """
    found = {str(entry["name"]): _numbers(entry) for entry in repairs}
    unknown = sorted(set(found) - set(STEPS))
    if unknown:
        raise InvalidValueError(f"repairs names '{unknown[0]}' (allowed: {', '.join(STEPS)})")
    update, default = found.get(UPDATE), RepairOptions()
    recorded_update = {} if update is None else {**ABSENT, **update}
    numbers = {name: recorded_update.get(name, getattr(default, name)) for name in (*IN_EVERY_PLAN, *ABSENT)}
    signed = bool(numbers.pop("signed"))
    repair = replace(default, update=update is not None, signed=signed, **numbers)
    return replace(
        DEFAULT_OPTIONS,
        repair=repair,
        sequential_images=found.get(SEQUENTIAL, {}).get("images", 0),
        rounding_steps=found.get(ROUNDING, {}).get("steps", 0),
        recalibrate=STATISTICS in found,
        spread=bool(found[STATISTICS].get("spread", 0)) if STATISTICS in found else DEFAULT_OPTIONS.spread,
        calibration_images=found.get(STATISTICS, {}).get("images", DEFAULT_OPTIONS.calibration_images),
    )


def _numbers(entry: Mapping[str, Any]) -> dict[str, int]:
    parameters = entry["parameters"]
    for name, value in parameters.items():
        if type(value) is not int or value < 0:
            raise InvalidValueError(f"repairs: {entry['name']} has {name} {value!r} (allowed: whole numbers from 0)")
    return dict(parameters)
