"""A small network with everything that couples layers: residual adds, a shared tensor, a depthwise layer."""

import numpy as np
import pytest

from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from envs.accuracy.saliency import LayerStatistics
from envs.accuracy.sensitivity import build_error_table
from envs.problem import Problem
from envs.toy import ToyAccelerator, toy_problem
from plan.capabilities import Capabilities
from plan.layer import ChannelGroup, InputSegment, Layer, Network
from plan.scheme import BlockColumn, BlockPunched, BlockRow, Channel, Dense, Element, Filter, Kernel, NofM
from plan.space import Space, build_space

GRANULARITIES = (
    Dense(),
    Element(),
    NofM(2, 4),
    Kernel(),
    BlockPunched(4, 2),
    BlockRow(4, 4),
    BlockColumn(4, 4),
    Channel(),
    Filter(),
)


def conv(
    name: str,
    channels: tuple[int, int],
    kernel: int,
    tensors: tuple[str, str | None],
    groups: tuple[int, int],
    **more: int,
) -> Layer:
    pixels = more.get("pixels", 8)
    return Layer(
        name=name,
        op="conv" if pixels > 1 else "linear",
        K=channels[1],
        C=channels[0],
        R=kernel,
        S=kernel,
        P=pixels,
        Q=pixels,
        H=pixels,
        W=pixels,
        stride=1,
        groups=more.get("conv_groups", 1),
        input_tensor=tensors[0],
        output_tensor=tensors[1],
        inputs=(InputSegment(groups[0], channels[0]),),
        output_group=groups[1],
    )


def coupled_network() -> Network:
    layers = (
        conv("stem", (4, 8), 3, ("image", "a"), (0, 1)),
        conv("inner", (8, 8), 3, ("a", "b"), (1, 2)),
        conv("outer", (8, 8), 1, ("b", "sum"), (2, 1)),
        conv("left", (8, 16), 1, ("sum", "c"), (1, 3)),
        conv("right", (8, 16), 3, ("sum", "c"), (1, 3)),
        conv("depthwise", (16, 16), 3, ("c", "d"), (3, 3), conv_groups=16),
        conv("head", (16, 8), 1, ("d", None), (3, 4), pixels=1),
    )
    groups = (
        ChannelGroup("image", 4, (), (0,), "network input"),
        ChannelGroup("stream", 8, (0, 2), (1, 3, 4)),
        ChannelGroup("inner", 8, (1,), (2,)),
        ChannelGroup("wide", 16, (3, 4, 5), (5, 6)),
        ChannelGroup("classes", 8, (6,), (), "network output"),
    )
    edges = ((0, 1), (1, 2), (0, 3), (2, 3), (0, 4), (2, 4), (3, 5), (4, 5), (5, 6))
    return Network("coupled", (4, 8, 8), layers, groups, edges)


@pytest.fixture(scope="session")
def coupled_space() -> Space:
    capabilities = Capabilities(GRANULARITIES, (2, 4, 8), (2, 4, 8), ("dense", "bitmask"))
    return build_space(coupled_network(), capabilities)


def statistics_of(space: Space, seed: int = 0) -> list[LayerStatistics]:
    rng = np.random.default_rng(seed)
    found = []
    for index, layer in enumerate(space.network.layers):
        columns = layer.C // layer.groups * layer.R * layer.S
        inputs = rng.standard_normal((layer.groups, 4 * columns, columns)) @ rng.standard_normal((columns, columns))
        moment = (inputs.transpose(0, 2, 1) @ inputs / (4 * columns**2)).astype(np.float32)
        first = space.deciders.reader[index] == index
        found.append(
            LayerStatistics(
                weight=rng.standard_normal((layer.K, columns)).astype(np.float32),
                moment=(moment,),
                fisher=rng.random(layer.K) * 1e-3,
                activation_error=np.array([4e-2, 3e-3, 2e-4]) * first,
            )
        )
    return found


@pytest.fixture(scope="session")
def statistics(coupled_space: Space) -> list[LayerStatistics]:
    return statistics_of(coupled_space)


@pytest.fixture(scope="session")
def coupled_errors(coupled_space: Space, statistics: list[LayerStatistics]) -> ErrorTable:
    return build_error_table(coupled_space, statistics, None)


@pytest.fixture(scope="session")
def coupled(coupled_space: Space, coupled_errors: ErrorTable) -> Problem:
    accelerator = ToyAccelerator(coupled_space.capabilities, tensor_pj=2.0)
    return Problem(coupled_space.network, accelerator, coupled_space, coupled_errors, Calibration())


@pytest.fixture(scope="session")
def toy() -> Problem:
    return toy_problem()
