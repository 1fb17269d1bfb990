"""Random layers, and plans of them, that the laws of every hardware model are tested on."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import strategies as st

from plan.assignment import Assignment
from plan.layer import InputSegment, Layer, Network
from plan.scheme import GRANULARITIES

PlanMaker = Callable[..., Assignment]


@st.composite
def layers(draw: st.DrawFn, position: int = 1) -> Layer:
    """Draws a convolution (grouped and depthwise too) or a linear layer that is consistent in its sizes."""
    linear = draw(st.booleans()) and draw(st.booleans())
    kernel = 1 if linear else draw(st.sampled_from([1, 1, 2, 3, 5, 7, 13]))
    stride = 1 if linear else draw(st.sampled_from([1, 1, 2, 4]))
    outputs = draw(st.integers(1, 20))
    groups = 1 if linear else draw(st.sampled_from([1, 1, 1, 2, 4]))
    inputs, filters = groups * draw(st.integers(1, 40)), groups * draw(st.integers(1, 40))
    if not linear and draw(st.integers(0, 5)) == 0:
        groups = filters = inputs
    padding = draw(st.integers(0, kernel // 2))
    size = max(1, (outputs - 1) * stride + kernel - 2 * padding)
    return Layer(
        name=f"layer{position}",
        op="linear" if linear else "conv",
        K=filters,
        C=inputs,
        R=kernel,
        S=kernel,
        P=outputs,
        Q=outputs,
        H=size,
        W=size,
        stride=stride,
        groups=groups,
        input_tensor=f"tensor{position}",
        output_tensor=f"tensor{position + 1}",
        inputs=(InputSegment(0, inputs),),
        output_group=0,
        input_zero_fraction=draw(st.floats(0, 0.95)),
        output_zero_fraction=draw(st.floats(0, 0.95)),
    )


def chain(*members: Layer) -> Network:
    """Returns a network of unconnected layers behind a first one that reads the image."""
    return Network("drawn", (3, 8, 8), (IMAGE_LAYER, *members), (), ())


IMAGE_LAYER = Layer("image", "conv", 4, 3, 3, 3, 8, 8, 8, 8, 1, 1, "tensor0", "tensor1", (InputSegment(0, 3),), 0)


def make_plans(
    network: Network,
    *,
    weight_bits: int = 8,
    input_bits: int = 8,
    output_bits: int = 8,
    density: float = 1.0,
    kept: float = 1.0,
    kind: str = "element",
) -> Assignment:
    """Returns one plan, the same for every layer; pruned weights are stored as a bitmask where that is smaller."""

    def row(values: list[float]) -> np.ndarray:
        return np.array([values], dtype=np.float64)

    def whole(values: list[float]) -> np.ndarray:
        return np.array([values], dtype=np.int64)

    members = network.layers
    sizes = [1 if layer.depthwise else layer.groups for layer in members]  # what is kept of every group alike
    inputs = [size * max(1, round(kept * layer.C / size)) for layer, size in zip(members, sizes, strict=True)]
    outputs = [size * max(1, round(kept * layer.K / size)) for layer, size in zip(members, sizes, strict=True)]
    groups = [min(layer.groups, c, k) for layer, c, k in zip(members, inputs, outputs, strict=True)]
    weights = [k * c / g * layer.R * layer.S for layer, c, k, g in zip(members, inputs, outputs, groups, strict=True)]
    index = [n if density * n * weight_bits + n < n * weight_bits else 0.0 for n in weights]
    stored = [density * n * weight_bits + i if i else n * weight_bits for n, i in zip(weights, index, strict=True)]
    count = len(members)
    return Assignment(
        kept_inputs=whole(inputs),
        kept_outputs=whole(outputs),
        weight_density=row([density] * count),
        granularity=whole([list(GRANULARITIES).index(kind) if density < 1 else 0] * count),
        stored_bits=row(stored),
        index_bits=row(index),
        weight_bits=whole([weight_bits] * count),
        input_bits=whole([input_bits] * count),
        output_bits=whole([output_bits] * count),
    )


@pytest.fixture(scope="session")
def plans() -> PlanMaker:
    return make_plans


@pytest.fixture(scope="session")
def drawn_layers() -> st.SearchStrategy[Layer]:
    return layers()


@pytest.fixture(scope="session")
def drawn_networks() -> st.SearchStrategy[Network]:
    return layers().map(chain)


@pytest.fixture(scope="session")
def alone() -> Callable[[Layer], Network]:
    return chain
