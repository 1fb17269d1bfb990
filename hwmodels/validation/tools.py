"""Agreement with other analytical tools on the energy of the same layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwmodels.accelerator import FloatArray
from hwmodels.assignments import dense
from hwmodels.eyeriss import Eyeriss
from hwmodels.systolic import Systolic
from hwmodels.validation.card import Row
from plan.layer import InputSegment, Layer, Network

TOOLS = ("nn_dataflow", "zigzag_energy")


@dataclass(frozen=True)
class Agreement:
    """Energy of ours over another tool's, layer by layer."""

    tool: str
    objective: str
    names: tuple[str, ...]
    ratios: tuple[float, ...]
    rank_correlation: float

    @property
    def layers(self) -> int:
        """How many layers were compared."""
        return len(self.ratios)

    @property
    def median_ratio(self) -> float:
        """Median of ours over theirs."""
        return float(np.median(self.ratios))

    def furthest(self, count: int) -> list[tuple[str, float]]:
        """Returns the layers whose ratio is furthest from one, the furthest first."""
        pairs = zip(self.names, self.ratios, strict=True)
        return sorted(pairs, key=lambda pair: -abs(math.log(pair[1])))[:count]


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
        tool: name for messages.
        shapes: layers with keys net, name, C, M, H, W, R, S, E, F, stride, groups.
        results: the tool's layers with keys net, name, energy_total (MAC units).
        objective: what our mappings minimise.
    """
    theirs = {(entry["net"], entry["name"]): float(entry["energy_total"]) for entry in results}
    shared = [shape for shape in shapes if (shape["net"], shape["name"]) in theirs]
    parameters = replace(chip.parameters, policy="search", objective=objective, images=1)
    network = Network("reference", (3, 224, 224), tuple(layer_of(shape, i) for i, shape in enumerate(shared)), (), ())
    cost = chip.with_parameters(parameters).evaluate(network, dense(network, 16), view="normalised")
    ours = cost.energy_pj[0] / parameters.unit_pj
    other = np.array([theirs[shape["net"], shape["name"]] for shape in shared])
    return Agreement(
        tool=tool,
        objective=objective,
        names=tuple(f"{shape['net']} {shape['name']}" for shape in shared),
        ratios=tuple(float(ratio) for ratio in ours / other),
        rank_correlation=_rank_correlation(ours, other),
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
