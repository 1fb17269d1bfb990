"""A problem small enough to solve by hand: three layers, four choices each, prices in powers of ten.

Each layer is dense or 2:4, at 8 or 4 bits: 64 plans. The layers have 10^6, 10^5 and 10^4 multiply-accumulates of 1 pJ
at 8 bits, so that the dense network takes 1.11 uJ. One point is lost for every 0.01 nats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.problem import Problem
from hwmodels.accelerator import Cost, Layers
from plan.assignment import Assignment
from plan.capabilities import Capabilities
from plan.layer import ChannelGroup, InputSegment, Layer, Network
from plan.scheme import Dense, NofM
from plan.space import DENSITIES, Space, build_space

CHANNELS = 100
PIXELS = (100, 10, 1)
POINTS_PER_NAT = 100.0
ERRORS = ((0.01, 0.0, 0.05, 0.02), (0.004, 0.0, 0.02, 0.01), (0.003, 0.0, 0.01, 0.005))
"""Per layer, in nats: dense at 4 and 8 bits, 2:4 at 4 and 8 bits."""


@dataclass(frozen=True)
class ToyAccelerator:
    """Hardware whose prices can be computed by hand; nothing is shared between layers.

    Energy of MACs = macs left * weight_bits / 8 pJ, of tensors = values * bits / 8 * tensor_pj; latency = macs left,
    one cycle each at 1 MHz; `macs left` counts kept channels and weight density.
    """

    capabilities: Capabilities
    tensor_pj: float = 0.0
    name: str = "toy"
    fingerprint: str = "toy"
    energy_view: str = "normalised"

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Layers | None = None, view: str | None = None
    ) -> Cost:
        """Returns the cost of layers; there is one view only."""
        index = range(len(network.layers)) if layers is None else layers
        chosen = [network.layers[layer] for layer in index]
        dense = np.array([layer.macs / (layer.C * layer.K) for layer in chosen])
        channels = assignment.kept_inputs * assignment.kept_outputs
        macs = dense * channels * assignment.weight_density
        read = assignment.kept_inputs * np.array([layer.H * layer.W for layer in chosen])
        written = assignment.kept_outputs * np.array([layer.P * layer.Q for layer in chosen])
        parts = {
            ("mac", "none"): macs * assignment.weight_bits / 8,
            ("dram", "inputs"): self.tensor_pj * read * assignment.input_bits / 8,
            ("dram", "outputs"): self.tensor_pj * written * assignment.output_bits / 8,
        }
        return Cost(parts, {"compute": macs}, assignment.stored_bits, clock_mhz=1.0)


def toy_network() -> Network:
    """Returns three 1x1 convolutions of 100 channels on 100, 10 and 1 pixels, none of whose channels may go."""
    groups = tuple(
        ChannelGroup(f"c{index}", CHANNELS, (index - 1,) * (index > 0), (index,) * (index < 3), "held by the toy")
        for index in range(4)
    )
    layers = tuple(_layer(index, pixels) for index, pixels in enumerate(PIXELS))
    return Network("toy", (CHANNELS, PIXELS[0], 1), layers, groups, ((0, 1), (1, 2)))


def _layer(index: int, pixels: int) -> Layer:
    return Layer(
        name=f"layer{index}",
        op="conv",
        K=CHANNELS,
        C=CHANNELS,
        R=1,
        S=1,
        P=pixels,
        Q=1,
        H=pixels,
        W=1,
        stride=1,
        groups=1,
        input_tensor=f"t{index}",
        output_tensor=f"t{index + 1}" if index < len(PIXELS) - 1 else None,
        inputs=(InputSegment(index, CHANNELS),),
        output_group=index + 1,
    )


def toy_space(network: Network) -> Space:
    """Returns the four choices of each layer: dense or 2:4 (second order), 4 or 8 bits."""
    space = build_space(network, Capabilities((Dense(), NofM(2, 4)), (4, 8), (8,)))
    kept = [index for index, method in enumerate(space.methods) if method.algorithm in ("none", "second-order")]
    return replace(space, methods=tuple(space.methods[index] for index in kept), legal=space.legal[:, kept])


def toy_errors() -> ErrorTable:
    """Returns the errors of `ERRORS` on the legal cells, infinity elsewhere."""
    weight = np.full((len(PIXELS), 2, len(DENSITIES), 2), np.inf)
    weight[:, 0, -1] = np.array(ERRORS)[:, :2]
    weight[:, 1, len(DENSITIES) // 2 - 1] = np.array(ERRORS)[:, 2:]
    return ErrorTable(weight, np.zeros((len(PIXELS), 1)))


def toy_problem() -> Problem:
    """Returns the problem that the module describes."""
    network = toy_network()
    space = toy_space(network)
    calibration = Calibration(log_points=(float(np.log(POINTS_PER_NAT)),))
    return Problem(network, ToyAccelerator(space.capabilities), space, toy_errors(), calibration)
