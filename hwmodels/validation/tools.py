"""Agreement with other analytical tools on the energy of the same layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwmodels.accelerator import Cost, FloatArray
from hwmodels.assignments import dense
from hwmodels.eyeriss import Eyeriss
from hwmodels.geometry import layer_shapes
from hwmodels.systolic import Systolic
from hwmodels.validation.card import Row
from plan.layer import InputSegment, Layer, Network

TOOLS = ("nn_dataflow", "zigzag_energy")
COMPARED_LEVELS = ("dram", "glb", "noc", "rf", "mac")
REASONS = {
    "nn_dataflow": {
        "dram": "its 261 scratchpad words an element are one pool that holds sums and inputs too, so tensors are read "
        "less often; ours keep 12, 224 and 24, and all sums of a strip in the 100 kB buffer",
        "glb": "its pooled scratchpads let all traffic bypass the buffer",
        "noc": "it counts a word once for the array, we count every element that gets it and every sum handed on",
        "rf": "scratchpad accesses beyond four a MAC",
        "mac": "another count of MACs",
    },
    "zigzag_energy": {
        "dram": "its loop order, of six factors at most, reads weights and inputs again more often",
        "glb": "it streams inputs and sums from the buffer that ours keep in scratchpads and hand on between elements",
        "noc": "it charges no network",
        "rf": "it refills scratchpads more often",
        "mac": "another count of MACs",
    },
}


@dataclass(frozen=True)
class Comparison:
    """One layer: ours over theirs, and why.

    levels: what each level adds to the ratio, (ours - theirs) / their total; they sum to ratio - 1
    moved, their_moved: DRAM words per word that must move at least, ours and theirs
    weight_reads, input_reads: how often ours reads every weight and input from DRAM
    """

    layer: str
    ratio: float
    levels: dict[str, float]
    moved: float
    their_moved: float
    weight_reads: float
    input_reads: float

    @property
    def largest_level(self) -> str:
        """The level that differs most."""
        return max(self.levels, key=lambda level: abs(self.levels[level]))


@dataclass(frozen=True)
class Agreement:
    """Energy of ours over another tool's, layer by layer."""

    tool: str
    objective: str
    compared: tuple[Comparison, ...]
    rank_correlation: float

    @property
    def layers(self) -> int:
        """How many layers were compared."""
        return len(self.compared)

    @property
    def ratios(self) -> list[float]:
        """Ours over theirs."""
        return [layer.ratio for layer in self.compared]

    @property
    def median_ratio(self) -> float:
        """Median of ours over theirs."""
        return float(np.median(self.ratios))

    def furthest(self, count: int) -> list[Comparison]:
        """Returns the layers whose ratio is furthest from one, the furthest first."""
        return sorted(self.compared, key=lambda layer: -abs(math.log(layer.ratio)))[:count]

    def reasons(self, layers: Sequence[Comparison]) -> dict[str, str]:
        """Returns for every level that differs most in one of the layers why it does."""
        return {layer.largest_level: REASONS[self.tool][layer.largest_level] for layer in layers}


def agreement(
    chip: Eyeriss,
    tool: str,
    shapes: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    objective: str = "energy",
) -> Agreement:
    """Returns how our dense, one-image energy under free mapping search compares with a tool's.

    Args:
        chip: the chip's preset; its array is kept, its policy is not.
        tool: one of `TOOLS`.
        shapes: layers with keys net, name, C, M, H, W, R, S, E, F, stride, groups.
        results: the tool's layers with keys net, name, energy_total, dram, glb, rf, mac and, where it has one, noc (MAC
            units).
        objective: what our mappings minimise.
    """
    theirs = {(entry["net"], entry["name"]): entry for entry in results}
    shared = [shape for shape in shapes if (shape["net"], shape["name"]) in theirs]
    parameters = replace(chip.parameters, policy="search", objective=objective, images=1)
    network = Network("reference", (3, 224, 224), tuple(layer_of(shape, i) for i, shape in enumerate(shared)), (), ())
    cost = chip.with_parameters(parameters).evaluate(network, dense(network, 16), view="normalised")
    energies = [theirs[shape["net"], shape["name"]] for shape in shared]
    compared = tuple(
        _comparison(shape, _units(cost, at, parameters.unit_pj), energies[at], parameters.units.dram)
        for at, shape in enumerate(shared)
    )
    ours, other = cost.energy_pj[0], np.array([float(entry["energy_total"]) for entry in energies])
    return Agreement(tool, objective, compared, _rank_correlation(ours, other))


def _units(cost: Cost, at: int, unit_pj: float) -> dict[tuple[str, str], float]:
    """Returns the energy of one layer per level and operand in MAC units."""
    return {place: float(part[0, at]) / unit_pj for place, part in cost.energy_parts_pj.items()}


def _comparison(
    shape: Mapping[str, Any], ours: Mapping[tuple[str, str], float], theirs: Mapping[str, Any], dram_units: float
) -> Comparison:
    total, layer = float(theirs["energy_total"]), layer_of(shape, 0)
    network = Network("one", (layer.C, layer.H, layer.W), (layer,), (), ())
    inputs = layer.C * float(layer_shapes(network, (0,)).pixels.item())
    least = dram_units * (layer.weights + inputs + layer.K * layer.P * layer.Q)
    levels = {level: sum(part for (at, _), part in ours.items() if at == level) for level in COMPARED_LEVELS}
    return Comparison(
        layer=f"{shape['net']} {shape['name']}",
        ratio=sum(ours.values()) / total,
        levels={level: (value - float(theirs.get(level, 0.0))) / total for level, value in levels.items()},
        moved=levels["dram"] / least,
        their_moved=float(theirs["dram"]) / least,
        weight_reads=ours["dram", "weights"] / (dram_units * layer.weights),
        input_reads=ours["dram", "inputs"] / (dram_units * inputs),
    )


def simulated_rows(
    systolic: Systolic, shapes: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]
) -> list[Row]:
    """Returns cycles of the array per layer against a cycle simulator that counts from zero; stalls left out of both.

    Args:
        systolic: an array of the simulated size.
        shapes: layers as for `agreement`.
        results: the simulator's layers with keys net, name, error, total_cycles, stall_cycles; of one group each.
    """
    known = {(shape["net"], shape["name"]): shape for shape in shapes}
    rows = []
    for found in results:
        if not found["error"]:
            layer = layer_of(known[found["net"], found["name"]], 0)
            network = Network("reference", (layer.C, layer.H, layer.W), (layer,), (), ())
            parts = systolic.evaluate(network, dense(network, 8)).latency_parts_cycles
            cycles = float(parts["compute"].item() + parts["load"].item()) / layer.groups
            rows.append(Row(layer.name, "cycles", found["total_cycles"] - found["stall_cycles"] + 1, cycles))
    return rows


def _rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Returns Spearman's correlation; ties share their mean rank."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    return np.array([((values < value).sum() + (values <= value).sum() - 1) / 2 for value in values])


def layer_of(shape: Mapping[str, Any], position: int) -> Layer:
    """Returns a layer of the reference list at a position of a network."""
    return Layer(
        name=f"{shape['net']}.{shape['name']}",
        op="conv",
        K=shape["M"],
        C=shape["C"],
        R=shape["R"],
        S=shape["S"],
        P=shape["E"],
        Q=shape["F"],
        H=shape["H"],
        W=shape["W"],
        stride=shape["stride"],
        groups=shape["groups"],
        input_tensor=f"tensor{position}",
        output_tensor=None,
        inputs=(InputSegment(position, shape["C"]),),
        output_group=position,
    )
