"""Published speed-ups of arrays that skip zeros, and what the models say about the same networks."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import numpy as np

from hwmodels.assignments import dense
from hwmodels.eyeriss import Eyeriss
from hwmodels.scnn import Scnn
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


def speedup_rows(chip: Eyeriss, sparse: Eyeriss) -> list[Row]:
    """Returns the speed-ups of pruned networks over dense ones on the scaled chip; DRAM limits neither."""
    content = _read()
    scaled = _unlimited(chip)
    array = replace(scaled.parameters.array, columns=SCALED_COLUMNS)
    scaled = scaled.with_parameters(replace(scaled.parameters, array=array, policy="search"))
    rows = []
    for name, pruned in (("alexnet", sparse_alexnet()), ("mobilenet", sparse_mobilenet())):
        slow = scaled.evaluate(pruned.network, dense(pruned.network, chip.parameters.array.word_bits))
        fast = _unlimited(sparse).evaluate(pruned.network, _assignment(pruned, 8))
        ratio = float(slow.latency_ms[0] / fast.latency_ms[0])
        rows.append(Row(f"sparse {name} on {sparse.name}", "speedup", content[name]["speedup"], ratio))
    return rows


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
        Row(f"alexnet on {scnn.name}", name, content[name], float(network.macs / multipliers / found.sum()))
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
