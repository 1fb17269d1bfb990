"""Two small problems: the toy whose answers are known, and a chain of layers whose channels hang together."""

from pathlib import Path

import numpy as np
import pytest

from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.problem import Problem
from envs.toy import ToyAccelerator, toy_problem
from plan.capabilities import Capabilities
from plan.layer import ChannelGroup, InputSegment, Layer, Network
from plan.scheme import Channel, Dense, Element, Filter, NofM
from plan.space import DENSITIES, Space, build_space
from tests.agent.bench import Bench, write_inputs

CHANNELS = (8, 16, 16, 32, 16, 8)
"""Of the input and of every layer's output."""


def chain_network() -> Network:
    groups = tuple(
        ChannelGroup(f"c{index}", size, (index - 1,) * (index > 0), (index,) * (index < 5), "end" * (index in (0, 5)))
        for index, size in enumerate(CHANNELS)
    )
    layers = tuple(chain_layer(index) for index in range(len(CHANNELS) - 1))
    return Network("chain", (8, 8, 8), layers, groups, tuple((index, index + 1) for index in range(4)))


def chain_layer(index: int) -> Layer:
    return Layer(
        name=f"conv{index}",
        op="conv",
        K=CHANNELS[index + 1],
        C=CHANNELS[index],
        R=3,
        S=3,
        P=8,
        Q=8,
        H=8,
        W=8,
        stride=1,
        groups=1,
        input_tensor=f"t{index}",
        output_tensor=f"t{index + 1}" if index < 4 else None,
        inputs=(InputSegment(index, CHANNELS[index]),),
        output_group=index + 1,
    )


def chain_errors(space: Space, seed: int = 0) -> ErrorTable:
    """Errors that rise with pruning and fall with bits, different in every layer and method."""
    rng = np.random.default_rng(seed)
    sensitivity = np.exp(rng.normal(0.0, 0.7, (space.n_layers, len(space.methods), 1, 1)))
    pruned = (1.0 - DENSITIES[None, None, :, None]) ** 2
    width = 4.0 ** -np.asarray(space.weight_bits, dtype=np.float64)[None, None, None, :]
    legal = space.legal[..., None] & space.weight_bits_legal[:, None, None, :]
    weight = np.where(legal, 0.02 * sensitivity * (pruned + 8.0 * width), np.inf)
    activation = 0.1 * 4.0 ** -np.asarray(space.activation_bits, dtype=np.float64)
    return ErrorTable(weight, np.tile(activation, (space.n_layers, 1)))


@pytest.fixture(scope="session")
def chain() -> Problem:
    network = chain_network()
    capabilities = Capabilities(
        (Dense(), Element(), NofM(2, 4), Channel(), Filter()), (2, 4, 8), (2, 4, 8), ("dense", "bitmask")
    )
    space = build_space(network, capabilities)
    accelerator = ToyAccelerator(capabilities, tensor_pj=2.0)
    return Problem(network, accelerator, space, chain_errors(space), Calibration())


@pytest.fixture(scope="session")
def toy() -> Problem:
    return toy_problem()


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    write_inputs(folder)
    return Bench(folder)


@pytest.fixture(scope="session")
def finished(bench: Bench) -> Path:
    return bench.train("run")
