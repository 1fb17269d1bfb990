"""How the activities of a layer overlap in time: from what each takes alone to the latency, its parts and its limits.

Computing and what feeds it side by side take as long as the longest of them. What comes before and after (filling and
draining the array, a constant per layer) adds to that. DRAM hides behind all of it and only adds what it takes longer;
what cannot hide (feature maps of the Eyeriss chip) comes last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hwmodels.accelerator import FloatArray

LIMITS = ("compute", "psum_bus", "input_bus", "weight_bus", "fill_drain", "dram", "overhead", "measured")
"""What can hold a layer up; "measured" where a table says how long it takes, not why."""


@dataclass(frozen=True)
class Timing:
    """Cycles per image of a layer's activities, float64 arrays that broadcast to (B, L).

    compute: of the datapath
    waiting: what computing waits for whatever runs beside it
    beside: name in `LIMITS` -> cycles of what runs beside computing
    around: name in `LIMITS` -> cycles of what runs before or after computing
    dram_hidden: DRAM traffic that overlaps with all of the above
    dram_apart: DRAM traffic that overlaps with nothing
    """

    compute: FloatArray
    waiting: FloatArray
    beside: Mapping[str, FloatArray]
    around: Mapping[str, FloatArray]
    dram_hidden: FloatArray | float = 0.0
    dram_apart: FloatArray | float = 0.0


def latency_parts(timing: Timing) -> dict[str, FloatArray]:
    """Returns the parts "compute", "load" and "stall", whose sum is the latency; (B, L)."""
    load, hidden = sum(timing.around.values(), np.zeros_like(timing.compute)), timing.dram_hidden
    late = np.maximum(hidden - (timing.compute + timing.waiting + load), 0.0)
    return {"compute": timing.compute, "load": load + timing.dram_apart, "stall": timing.waiting + late}


def limits(timing: Timing) -> dict[str, FloatArray]:
    """Returns the cycles that each of `LIMITS` holds the layer up, (B, L); their sum is the latency.

    Of activities side by side the longest gets all of their time: making another one faster would gain nothing.
    """
    together = {"compute": timing.compute, **timing.beside}
    longest = np.argmax(np.stack(np.broadcast_arrays(*together.values())), axis=0)
    busy = timing.compute + timing.waiting
    shares = {name: np.where(longest == at, busy, 0.0) for at, name in enumerate(together)}
    for name, cycles in timing.around.items():
        shares[name] = shares.get(name, 0.0) + cycles
    array = busy + sum(timing.around.values(), np.zeros_like(busy))
    behind = timing.dram_hidden > array
    held = {name: np.where(behind, 0.0, share) for name, share in shares.items()}
    held["dram"] = held.get("dram", 0.0) + np.where(behind, timing.dram_hidden, 0.0) + timing.dram_apart
    return held
