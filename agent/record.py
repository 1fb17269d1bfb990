"""A plan as plan.json holds it: what was chosen, what that costs, and how the accuracy was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.accuracy.statistics import paired_bootstrap
from hwmodels.accelerator import Accelerator, Cost
from plan.assignment import Assignment
from plan.budget import Budget
from plan.document import SCHEMA_NAME, VERSION, Document, scheme_to_json
from plan.layer import Layer, Network
from plan.patterns import INDEX_BITS
from plan.scheme import Granularity, NofM
from plan.space import Choices, Space
from plan.storage import applicable, index_bits

if TYPE_CHECKING:
    from agent.build import Assembly

QUANTISER = {
    "weights": "symmetric, one scale per output, least-squares range",
    "activations": "one scale and zero point per tensor, least-squares range",
}
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, eq=False)
class Measurement:
    """Which images of a split the network as given, the dense baseline and a plan answer right, bool (N,) each.

    assumed: how many did not run, the network as given being sure of them
    """

    as_given: NDArray[np.bool_]
    baseline: NDArray[np.bool_]
    plan: NDArray[np.bool_]
    assumed: int = 0

    @property
    def drop_points(self) -> float:
        """Accuracy of the network as given minus the plan's, in points."""
        return 100.0 * float(self.as_given.mean() - self.plan.mean())

    def to_json(self) -> Document:
        """Returns the figures of the split."""
        low, high = paired_bootstrap(self.as_given, self.plan, seed=BOOTSTRAP_SEED)
        return {
            "accuracy": percent(self.plan),
            "drop_points": self.drop_points,
            "interval": [low, high],
            "images": len(self.plan),
            **({"assumed": self.assumed} if self.assumed else {}),
        }


def percent(right: NDArray[np.bool_]) -> float:
    """Returns the share of right answers, in percent."""
    return 100.0 * float(right.mean())


@dataclass(frozen=True, eq=False)
class Found:
    """A plan with its figures: choice int16 (L, 4), the proxy's drop, and measurements (no test until the end)."""

    choice: Choices
    predicted_drop_points: float
    validation: Measurement
    test: Measurement | None


class OnHardware(Protocol):
    """What prices a plan: an assembly or a problem."""

    @property
    def network(self) -> Network:
        """Layers with their zero fractions."""

    @property
    def accelerator(self) -> Accelerator:
        """The hardware."""

    @property
    def space(self) -> Space:
        """What may be chosen."""


@dataclass(frozen=True)
class Order:
    """What was asked for: what to reduce, and what must be kept."""

    objective: str
    limits: Budget


def describe(assembly: Assembly, found: Found, order: Order, made_by: Mapping[str, Any]) -> Document:
    """Returns the whole document of a plan."""
    test = found.test
    accuracy = {
        "validation": percent(found.validation.baseline),
        "test": None if test is None else percent(test.baseline),
    }
    priced = price(assembly, found.choice)
    bits = {"weight_bits": assembly.space.baseline_bits, "activation_bits": assembly.space.baseline_bits}
    return {
        "schema": SCHEMA_NAME,
        "version": VERSION,
        "network": _network_json(assembly),
        "hardware": _hardware_json(assembly),
        "objective": order.objective,
        "limits": order.limits.to_json(),
        "data": _data_json(assembly),
        "baseline": {**bits, **priced["baseline"], "accuracy": accuracy},
        "totals": priced["totals"],
        "savings": priced["savings"],
        "accuracy": {
            "predicted_drop_points": found.predicted_drop_points,
            "validation": found.validation.to_json(),
            "test": None if test is None else test.to_json(),
        },
        "layers": priced["layers"],
        "repairs": _repairs_json(assembly),
        "made_by": dict(made_by),
    }


def price(hardware: OnHardware, choice: Choices) -> Document:
    """Returns what a plan's choices and prices alone decide: layers, totals, savings and the baseline's costs."""
    space, network = hardware.space, hardware.network
    assignment = space.resolve(np.stack((space.baseline, choice)))
    cost = hardware.accelerator.evaluate(network, assignment)
    baseline, totals = _costs(cost, 0), _costs(cost, 1)
    return {
        "baseline": baseline,
        "totals": totals,
        "savings": {name: 1 - totals[column] / baseline[column] for name, column in SAVED.items()},
        "layers": _layers_json(hardware, choice, assignment, cost),
    }


SAVED = {"energy": "energy_uj", "latency": "latency_ms", "size": "size_kb"}


def _costs(cost: Cost, plan: int) -> dict[str, float]:
    return {name: float(getattr(cost, name)[plan]) for name in SAVED.values()}


def _network_json(assembly: Assembly) -> Document:
    network = assembly.network
    return {
        "name": network.name,
        "source": assembly.sources.net,
        "weights": assembly.sources.weights,
        "fingerprint": network.fingerprint,
        "weights_sha256": assembly.subject.weights_sha256,
        "input_shape": list(network.input_shape),
        "edges": [list(edge) for edge in network.edges],
        "groups": [
            {
                "name": group.name,
                "channels": group.channels,
                "producers": list(group.producers),
                "consumers": list(group.consumers),
                "frozen": group.frozen,
            }
            for group in network.groups
        ],
    }


def _hardware_json(assembly: Assembly) -> Document:
    accelerator = assembly.accelerator
    return {
        "name": accelerator.name,
        "source": assembly.sources.hw,
        "fingerprint": accelerator.fingerprint,
        "energy_view": accelerator.energy_view,
    }


def _data_json(assembly: Assembly) -> Document:
    dataset = assembly.subject.dataset
    return {
        "name": dataset.name,
        "source": assembly.sources.data,
        "split_sha256": dataset.splits.sha256,
        "images": assembly.subject.image_counts,
        "labels": dataset.labelled,
    }


def _layers_json(assembly: OnHardware, choice: Choices, assignment: Assignment, cost: Cost) -> list[Document]:
    """Returns one entry per layer; the plan is row 1 of the assignment and the cost."""
    to_ms = 1.0 / (cost.clock_mhz * 1e3)
    energy, cycles = cost.energy_pj[1], cost.latency_cycles[1]
    schemes = assembly.space.schemes(choice)
    entries = []
    for index, (layer, scheme) in enumerate(zip(assembly.network.layers, schemes, strict=True)):
        weights = _kept_weights(layer, assignment, index)
        entries.append(
            {
                "name": layer.name,
                "op": layer.op,
                "shape": layer.shape(),
                **scheme_to_json(scheme),
                "achieved_density": weights * float(assignment.weight_density[1, index]) / layer.weights,
                "quantiser": QUANTISER,
                "storage": _storage_json(assembly, scheme.method.granularity, assignment, index),
                "input_zero_fraction": layer.input_zero_fraction,
                "output_zero_fraction": layer.output_zero_fraction,
                "energy_uj": float(energy[index]) * 1e-6,
                "latency_ms": float(cycles[index]) * to_ms,
                "size_kb": float(cost.size_bits[1, index]) / 8e3,
            }
        )
    return entries


def _kept_weights(layer: Layer, assignment: Assignment, index: int) -> float:
    """Returns the weights of the tensor that is left, zeros included."""
    outputs, inputs = int(assignment.kept_outputs[1, index]), int(assignment.kept_inputs[1, index])
    groups = outputs if layer.depthwise else layer.groups
    return outputs * inputs / groups * layer.R * layer.S


def _storage_json(assembly: OnHardware, granularity: Granularity, assignment: Assignment, index: int) -> Document:
    """Returns the format that gives the stored bits, which formats of the hardware are tried in order."""
    total, extra = float(assignment.stored_bits[1, index]), float(assignment.index_bits[1, index])
    return {"format": _format(assembly, granularity, assignment, index), "bits": total, "index_bits": extra}


def _format(assembly: OnHardware, granularity: Granularity, assignment: Assignment, index: int) -> str:
    layer, at = assembly.network.layers[index], np.s_[1:2, index]
    n = np.array([_kept_weights(layer, assignment, index)])
    kept, extra = n * assignment.weight_density[at], assignment.index_bits[at]
    bits, outputs = assignment.weight_bits[at].astype(np.float64), assignment.kept_outputs[at].astype(np.float64)
    m = np.array([float(granularity.m if isinstance(granularity, NofM) else 0)])
    if extra[0] == 0 and np.isclose(assignment.stored_bits[at], n * bits):
        return "dense"
    formats = [name for name in assembly.space.capabilities.storage_formats if applicable(name, granularity.kind)]
    for name in formats:
        units = extra / INDEX_BITS if name == "pattern" else extra if name == "block" else n
        if np.isclose(index_bits(name, n=n, kept=kept, bits=bits, units=units, outputs=outputs, m=m), extra):
            return name
    return "dense"


def _repairs_json(assembly: Assembly) -> list[Document]:
    """Returns what every measured plan goes through, in order."""
    from compress.repair_record import recorded  # with torch, which reading a plan does without

    calibration = assembly.profile.calibration_sha256
    return [
        {"name": name, "parameters": parameters, "calibration_sha256": calibration, "seed": 0}
        for name, parameters in recorded(assembly.options, equalised=assembly.subject.equalised)
    ]


def network_of(document: Document, network: Network) -> Network:
    """Returns the network with the zero fractions that a plan states, which its costs rest on."""
    entries = document["layers"]
    return network.with_zero_fractions(
        [entry["input_zero_fraction"] for entry in entries], [entry["output_zero_fraction"] for entry in entries]
    )
