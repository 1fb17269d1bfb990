"""Published speed and efficiency of arrays that skip zeros, and what the models say about the same networks."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import numpy as np

from hwmodels.accelerator import Cost, FloatArray
from hwmodels.assignments import dense
from hwmodels.eyeriss import Eyeriss
from hwmodels.scnn import Scnn
from hwmodels.traffic import dram_bits
from hwmodels.validation.card import Row
from hwmodels.validation.published import measured_table
from plan.assignment import Assignment
from plan.layer import InputSegment, Layer, Network
from plan.scheme import GRANULARITIES

ELEMENT = list(GRANULARITIES).index("element")
INDEX_OVERHEAD = 1.5
"""Stored bits over the bits of the nonzero values: 12 for 8."""
SCALED_COLUMNS = 16
UNLIMITED_MB_PER_S = 1e8


@dataclass(frozen=True)
class Pruned:
    """A network with the fraction of weights that is left in every layer."""

    network: Network
    densities: tuple[float, ...]


def sparse_alexnet() -> Pruned:
    """Returns the five convolutions and three linear layers of AlexNet, pruned."""
    content = _read()["alexnet"]
    table = measured_table("alexnet").network
    linear = [
        _layer(entry["name"], entry["K"], entry["C"], 1, 1, 1, 1, entry["input_zero_fraction"])
        for entry in content["linear"]
    ]
    densities = (*content["convolution_densities"], *(entry["density"] for entry in content["linear"]))
    return Pruned(replace(table, layers=(*table.layers, *linear)), densities)


def sparse_mobilenet() -> Pruned:
    """Returns MobileNet of width 0.5 on 128 x 128 images, pruned."""
    content = _read()["mobilenet"]
    zeros, inputs, size = content["input_zero_fraction"], content["first_filters"], content["image_pixels"] // 2
    layers = [_layer("first", inputs, 3, 3, size, 2, 1, 0.0)]
    for at, (filters, stride) in enumerate(zip(content["filters"], content["strides"], strict=True)):
        size //= stride
        layers += [
            _layer(f"depthwise{at}", inputs, inputs, 3, size, stride, inputs, zeros),
            _layer(f"pointwise{at}", filters, inputs, 1, size, 1, 1, zeros),
        ]
        inputs = filters
    layers.append(_layer("last", content["classes"], inputs, 1, 1, 1, 1, zeros))
    pixels = content["image_pixels"]
    return Pruned(Network("mobilenet", (3, pixels, pixels), tuple(layers), (), ()), (content["density"],) * len(layers))


@dataclass(frozen=True)
class Compared:
    """One network, one image, joules view, DRAM limiting neither: dense on the scaled v1, pruned on v2."""

    name: str
    pruned: Pruned
    slow: Cost
    fast: Cost

    @property
    def published(self) -> dict[str, Any]:
        """The published figures of the network."""
        figures: dict[str, Any] = _read()[self.name]
        return figures


def compared(chip: Eyeriss, sparse: Eyeriss) -> list[Compared]:
    """Returns the two networks that Eyeriss v2 was published with, on v1 scaled to 192 elements and on v2."""
    scaled = _unlimited(chip)
    array = replace(scaled.parameters.array, columns=SCALED_COLUMNS)
    scaled, limitless = (
        scaled.with_parameters(replace(scaled.parameters, array=array, policy="search")),
        _unlimited(sparse),
    )
    found = []
    for name, pruned in (("alexnet", sparse_alexnet()), ("mobilenet", sparse_mobilenet())):
        whole = dense(pruned.network, chip.parameters.array.word_bits)
        slow = scaled.evaluate(pruned.network, whole, view="joules")
        fast = limitless.evaluate(pruned.network, _assignment(pruned, 8), view="joules")
        found.append(Compared(name, pruned, slow, fast))
    return found


def speedup_rows(networks: Sequence[Compared]) -> list[Row]:
    """Returns the speed-ups of pruned networks over dense ones on the scaled chip."""
    return [
        Row(
            f"sparse {one.name}",
            "speedup",
            one.published["speedup"],
            float(one.slow.latency_ms[0] / one.fast.latency_ms[0]),
            one.published.get("speed_reason", ""),
        )
        for one in networks
    ]


def efficiency_rows(networks: Sequence[Compared], sparse: Eyeriss) -> list[Row]:
    """Returns energy gains, inferences per s and J, operations per J of single layers, and DRAM traffic.

    Energy is that of the chip without DRAM, in the joules view.
    """
    rows = []
    for one in networks:
        gain = float(_chip_pj(one.slow).sum() / _chip_pj(one.fast).sum())
        name, reason = f"sparse {one.name}", one.published["energy_gain_reason"]
        rows.append(Row(name, "energy_gain", one.published["energy_gain"], gain, reason))
        if "inferences_per_s" in one.published:
            rows += _inference_rows(name, one)
        if "conv_dram_mb" in one.published:
            rows += _dram_rows(one, sparse)
    return [*rows, *_layer_rows(networks, sparse)]


def _inference_rows(name: str, one: Compared) -> list[Row]:
    """Returns inferences per s and J, and what the published figures say of the chip compared with: its power."""
    published, reason = one.published, one.published["speed_reason"]
    per_s, per_j = 1e3 / float(one.fast.latency_ms[0]), 1e12 / float(_chip_pj(one.fast).sum())
    slow_per_s, slow_pj = 1e3 / float(one.slow.latency_ms[0]), float(_chip_pj(one.slow).sum())
    fast_mw = 1e3 * published["inferences_per_s"] / published["inferences_per_j"]
    slow_mw = fast_mw * published["energy_gain"] / published["speedup"]
    gain = per_j / (slow_per_s / slow_mw * 1e3)
    return [
        Row(name, "inferences_per_s", published["inferences_per_s"], per_s, reason),
        Row(name, "inferences_per_j", published["inferences_per_j"], per_j, "static power was set from this figure"),
        Row(f"{one.name} on scaled v1", "power_mw", slow_mw, slow_pj * slow_per_s * 1e-9, published["power_reason"]),
        Row(f"{name}, v1 at that power", "energy_gain", published["energy_gain"], gain, "what speed leaves"),
    ]


def _dram_rows(one: Compared, sparse: Eyeriss) -> list[Row]:
    """Returns the DRAM traffic of the convolutions."""
    convolutions = [at for at, layer in enumerate(one.pruned.network.layers) if layer.op == "conv"]
    rows = []
    for kind, plan in (("dense", dense(one.pruned.network, 8)), ("sparse", _assignment(one.pruned, 8))):
        moved = dram_bits(sparse.traffic_bits(one.pruned.network, plan))[0, convolutions].sum() / 8e6
        published, reason = one.published["conv_dram_mb"][kind], one.published["dram_reason"]
        rows.append(Row(f"{kind} {one.name}, convolutions", "dram_mb", published, float(moved), reason))
    return rows


def _layer_rows(networks: Sequence[Compared], sparse: Eyeriss) -> list[Row]:
    """Returns operations per J of single layers, the multiply-accumulates of zeros included."""
    found, limitless = {one.name: one for one in networks}, _unlimited(sparse)
    rows = []
    for entry in _read()["efficiency"]:
        network = found[entry["network"]].pruned.network
        at = [layer.name for layer in network.layers].index(entry["layer"])
        whole = limitless.evaluate(network, dense(network, 8), view="joules")
        cost = found[entry["network"]].fast if entry["sparse"] else whole
        model = float(2.0 * network.layers[at].macs / _chip_pj(cost)[at] * 1e3)
        weights = "sparse" if entry["sparse"] else "dense"
        name = f"{entry['network']} {entry['layer']}, {weights} weights"
        rows.append(Row(name, "gops_per_w", entry["gops_per_w"], model, entry["reason"]))
    return rows


def _chip_pj(cost: Cost) -> FloatArray:
    """Returns the energy without DRAM, (L,), of the first plan."""
    return np.asarray((cost.energy_pj - cost.level_pj("dram"))[0])


def scnn_rows(scnn: Scnn) -> list[Row]:
    """Returns the speed-ups of AlexNet's convolutions, pruned and dense, over as many multipliers always at work."""
    content, network = _read()["scnn"], measured_table("alexnet").network
    parameters = scnn.parameters
    multipliers = parameters.rows * parameters.columns * parameters.weight_lanes * parameters.input_lanes
    whole = network.with_zero_fractions([0.0] * len(network.layers), [0.0] * len(network.layers))
    pruned = _assignment(Pruned(network, tuple(content["convolution_densities"])), 16)
    cycles = {
        "dense_speedup": scnn.evaluate(whole, dense(whole, 16)).latency_cycles,
        "speedup": scnn.evaluate(network, pruned).latency_cycles,
    }
    return [
        Row(
            f"alexnet on {scnn.name}",
            name,
            content[name],
            float(network.macs / multipliers / found.sum()),
            content["reason"],
        )
        for name, found in cycles.items()
    ]


def _unlimited(model: Eyeriss) -> Eyeriss:
    return model.with_parameters(replace(model.parameters, link_mb_per_s=UNLIMITED_MB_PER_S))


def _assignment(pruned: Pruned, bits: int) -> Assignment:
    whole, densities = dense(pruned.network, bits), np.array([pruned.densities])
    return replace(
        whole,
        weight_density=densities,
        granularity=np.full(densities.shape, ELEMENT),
        stored_bits=whole.stored_bits * np.minimum(1.0, densities * INDEX_OVERHEAD),
    )


def _layer(name: str, K: int, C: int, R: int, P: int, stride: int, groups: int, zeros: float) -> Layer:
    return Layer(
        name=name,
        op="conv" if P > 1 else "linear",
        K=K,
        C=C,
        R=R,
        S=R,
        P=P,
        Q=P,
        H=P * stride,
        W=P * stride,
        stride=stride,
        groups=groups,
        input_tensor=f"{name} input",
        output_tensor=None,
        inputs=(InputSegment(0, C),),
        output_group=0,
        input_zero_fraction=zeros,
        output_zero_fraction=zeros,
    )


def _read() -> dict[str, Any]:
    return tomllib.loads((files("hwmodels.validation") / "sparse.toml").read_text(encoding="utf-8"))
