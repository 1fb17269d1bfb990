"""What an accelerator answers and what it is asked: the cost of layers, split so that every total is a sum of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from plan.assignment import Assignment, IntArray
from plan.capabilities import Capabilities
from plan.errors import InvalidValueError
from plan.layer import Network

FloatArray = NDArray[np.float64]

LEVELS = ("dram", "glb", "noc", "rf", "mac", "static")
OPERANDS = ("weights", "inputs", "outputs", "none")
LATENCY_PARTS = ("compute", "load", "stall")
VIEWS = ("normalised", "joules")
Layers = Sequence[int] | IntArray
"""Positions in a network's list of layers; one may stand there more than once."""


@dataclass(frozen=True)
class Cost:
    """Cost of L layers under B plans; every array is float64 (B, L) and not negative.

    energy_parts_pj: (level, operand) -> (B, L), pJ for one image; their sum is the energy
    latency_parts_cycles: "compute", "load", "stall" -> (B, L), core cycles for one image; their sum is the latency
    size_bits: stored weights, values and index
    clock_mhz: core clock, turns cycles into time
    """

    energy_parts_pj: dict[tuple[str, str], FloatArray]
    latency_parts_cycles: dict[str, FloatArray]
    size_bits: FloatArray
    clock_mhz: float

    @property
    def energy_pj(self) -> FloatArray:
        """Energy per plan and layer, (B, L), pJ."""
        return _total(self.energy_parts_pj.values(), self.size_bits)

    @property
    def latency_cycles(self) -> FloatArray:
        """Latency per plan and layer, (B, L), core cycles."""
        return _total(self.latency_parts_cycles.values(), self.size_bits)

    @property
    def energy_uj(self) -> FloatArray:
        """Energy of all layers together, (B,), uJ."""
        return self._uj(self.energy_pj.sum(axis=1))

    @property
    def latency_ms(self) -> FloatArray:
        """Latency of all layers one after the other, (B,), ms."""
        return self._ms(self.latency_cycles.sum(axis=1))

    @property
    def size_kb(self) -> FloatArray:
        """Stored size of all layers, (B,), kB of 1,000 bytes."""
        return self._kb(self.size_bits.sum(axis=1))

    def totals(self, added: Callable[[FloatArray], FloatArray]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Returns energy (uJ), latency (ms) and size (kB) of plans, whose layers the function given adds up."""
        return self._uj(added(self.energy_pj)), self._ms(added(self.latency_cycles)), self._kb(added(self.size_bits))

    def _uj(self, picojoules: FloatArray) -> FloatArray:
        return np.asarray(picojoules * 1e-6)

    def _ms(self, cycles: FloatArray) -> FloatArray:
        return np.asarray(cycles / (self.clock_mhz * 1e3))

    def _kb(self, bits: FloatArray) -> FloatArray:
        return np.asarray(bits / 8e3)

    def level_pj(self, level: str) -> FloatArray:
        """Returns the energy of one memory level over its operands, (B, L), pJ."""
        return _total((part for (at, _), part in self.energy_parts_pj.items() if at == level), self.size_bits)

    def operand_pj(self, operand: str) -> FloatArray:
        """Returns the energy of one operand over the levels, (B, L), pJ."""
        return _total((part for (_, of), part in self.energy_parts_pj.items() if of == operand), self.size_bits)


@dataclass(frozen=True)
class Nameplate:
    """What every accelerator says of itself; see `Accelerator`."""

    name: str
    capabilities: Capabilities
    energy_view: str
    fingerprint: str


class Named:
    """An accelerator's nameplate, read as attributes of its own."""

    def __init__(self, nameplate: Nameplate) -> None:
        self.nameplate = nameplate

    @property
    def name(self) -> str:
        """Name of the preset or of the file's `name` field."""
        return self.nameplate.name

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that a cost depends on."""
        return self.nameplate.fingerprint

    @property
    def energy_view(self) -> str:
        """The view that prices by default."""
        return self.nameplate.energy_view

    @property
    def capabilities(self) -> Capabilities:
        """Granularities, bits and storage formats that the hardware can execute."""
        return self.nameplate.capabilities


class Accelerator(Protocol):
    """A priced hardware: stateless to its caller, the same arguments always give the same cost."""

    @property
    def name(self) -> str:
        """Name of the preset or of the file's `name` field."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that a cost depends on; sources and descriptions do not enter."""

    @property
    def energy_view(self) -> str:
        """The view that prices by default: "normalised" or "joules"."""

    @property
    def capabilities(self) -> Capabilities:
        """Granularities, bits and storage formats that the hardware can execute."""

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Layers | None = None, view: str | None = None
    ) -> Cost:
        """Returns the cost of the given layers (all of them in order when None).

        Args:
            network: shapes and zero fractions.
            assignment: arrays (B, len(layers)); column j belongs to layer layers[j].
            layers: positions in network.layers, each as often as there are columns for it.
            view: "normalised" or "joules"; the hardware's own view when None.

        Raises:
            InvalidValueError: unknown view, arrays of a wrong shape, or a layer that no mapping fits.
        """


def check_view(view: str) -> str:
    """Returns the view.

    Raises:
        InvalidValueError: none of `VIEWS`.
    """
    if view not in VIEWS:
        raise InvalidValueError(f"energy view '{view}' is unknown (allowed: {', '.join(VIEWS)})")
    return view


def _total(parts: Iterable[FloatArray], like: FloatArray) -> FloatArray:
    total = np.zeros_like(like)
    for part in parts:
        total += part
    return total
