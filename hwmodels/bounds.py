"""What holds a layer up, and how close it comes to the machine's ceilings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from hwmodels.accelerator import Accelerator, FloatArray
from plan.assignment import Assignment
from plan.layer import Network


@dataclass(frozen=True)
class Roofline:
    """How much work a layer does per byte, and the ceilings of the machine.

    macs: (B, L), what the datapath spends a slot on, counted in MACs at its full width: zeros that only gate are in,
        zeros that are skipped are not
    dram_bytes: (B, L), moved for one image
    array_area_mm2: of the datapath's elements, None where it is not known
    """

    macs: FloatArray
    dram_bytes: FloatArray
    peak_macs_per_cycle: float
    dram_bytes_per_cycle: float
    array_area_mm2: float | None = None


@dataclass(frozen=True)
class Bounds:
    """What holds L layers up under B plans: cycles for one image per limit, (B, L), which sum to the latency.

    roofline: None where the hardware is known by measured times only
    """

    cycles: dict[str, FloatArray]
    roofline: Roofline | None


@runtime_checkable
class Explained(Accelerator, Protocol):
    """An accelerator whose model knows what bounds a layer; every model that ships does."""

    def bounds(self, network: Network, assignment: Assignment) -> Bounds:
        """Returns what holds every layer of the network up.

        Raises:
            InvalidValueError: arrays of a wrong shape, or a layer that no mapping fits.
        """


def bounds_of(accelerator: Accelerator, network: Network, assignment: Assignment) -> Bounds:
    """Returns the bounds that the model knows, else the parts of the latency without ceilings."""
    if isinstance(accelerator, Explained):
        return accelerator.bounds(network, assignment)
    return Bounds(accelerator.evaluate(network, assignment).latency_parts_cycles, None)
