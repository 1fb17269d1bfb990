"""Published effects of bit-widths, and what the models say: MAC energy, and the gains of bit-serial inputs."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np

from hwmodels.accelerator import Cost
from hwmodels.assignments import dense
from hwmodels.eyeriss import Eyeriss
from hwmodels.precision import mac_energy_pj
from hwmodels.systolic import Systolic
from hwmodels.validation.card import Row
from hwmodels.validation.published import measured_table
from plan.layer import Network


def mac_rows(priced: Eyeriss, composable: Systolic) -> list[Row]:
    """Returns the energy of a MAC: the formula that `priced` scales with against fixed units, and the composable one.

    Args:
        priced: an accelerator whose MAC energy scales with bits.
        composable: the array of composable units.
    """
    content = _read()
    fixed, unit = content["fixed"], content["composable"]
    rows = []
    for bits, published in zip(fixed["bits"], fixed["energy_pj"], strict=True):
        width = np.array(float(bits))
        model = float(mac_energy_pj(priced.parameters.mac, width, width))
        rows.append(Row(f"fixed unit {bits} x {bits}", "mac_pj", published, model, fixed["reason"]))
    network = _dense_alexnet()
    cost = composable.evaluate(network, dense(network, unit["bits"]), view="joules")
    energy_pj = float(cost.level_pj("mac").sum() / network.macs)
    name = f"composable unit {unit['bits']} x {unit['bits']}"
    return [*rows, Row(name, "mac_pj", unit["energy_pj"], energy_pj)]


def bit_serial_rows(stripes: Systolic) -> list[Row]:
    """Returns the gains of AlexNet's convolutions over 16-bit inputs, at the width of the published mean speed-up."""
    content, network = _read()["stripes"], _dense_alexnet()
    full_bits = stripes.parameters.datapath_bits
    width: float = full_bits / content["speedup"]

    def gain(quantity: Callable[[Cost], float]) -> float:
        """Returns the full-width cost over the cost at the mean width, which lies between two whole ones."""
        low = math.floor(width)
        below, above = (quantity(_narrow(stripes, network, bits)) for bits in (low, low + 1))
        return quantity(_narrow(stripes, network, full_bits)) / (below + (above - below) * (width - low))

    name = f"alexnet on {stripes.name}, inputs of {width:.2f} bits"
    speedup, energy = content["speedup"], content["energy_gain"]
    return [
        Row(name, "speedup", speedup, gain(lambda cost: float(cost.latency_ms[0])), content["speedup_reason"]),
        Row(name, "mac_gain", energy, gain(lambda cost: float(cost.level_pj("mac").sum())), content["mac_reason"]),
        Row(name, "chip_gain", energy, gain(_chip_pj), content["chip_reason"]),
    ]


def _chip_pj(cost: Cost) -> float:
    return float((cost.energy_pj - cost.level_pj("dram")).sum())


def _narrow(stripes: Systolic, network: Network, bits: int) -> Cost:
    """Returns the cost with feature maps of so many bits and full-width weights."""
    whole = dense(network, stripes.parameters.datapath_bits)
    narrow = np.full_like(whole.input_bits, bits)
    return stripes.evaluate(network, replace(whole, input_bits=narrow, output_bits=narrow), view="joules")


def _dense_alexnet() -> Network:
    network = measured_table("alexnet").network
    return network.with_zero_fractions([0.0] * len(network.layers), [0.0] * len(network.layers))


def _read() -> dict[str, Any]:
    return tomllib.loads((files("hwmodels.validation") / "precision.toml").read_text(encoding="utf-8"))
