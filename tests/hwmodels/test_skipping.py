"""Arrays that skip zeros: cycles by hand, their laws, and what limits them."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.assignments import dense
from hwmodels.eyeriss import Eyeriss
from hwmodels.loader import load
from hwmodels.scnn import Scnn
from hwmodels.sparsity import Skipping, column_cycles, skipping_cycles
from hwmodels.validation.sparse import (
    compared,
    efficiency_rows,
    scnn_rows,
    sparse_alexnet,
    sparse_mobilenet,
    speedup_rows,
)
from plan.layer import InputSegment, Layer, Network
from plan.scheme import GRANULARITIES

DATAPATH = Skipping(macs_per_pe=2, weight_bits_per_cycle=1e9)
KINDS = list(GRANULARITIES)


def cycles(
    *, columns: float = 25.0, inputs: float = 1.0, random: float = 1.0, static: float = 1.0, filters: float = 16.0
) -> float:
    return skipping_cycles(
        DATAPATH,
        elements=16,
        columns=np.array([columns]),
        filters=np.array([filters]),
        nonzero_inputs=np.array([inputs]),
        random_density=np.array([random]),
        static_density=np.array([static]),
    ).item()


def column(filters: int, density: float, lanes: int = 2) -> float:
    return column_cycles(lanes, np.array([float(filters)]), np.array([density])).item()


@pytest.mark.parametrize(("filters", "density"), [(16, 1.0), (16, 0.25), (11, 0.5), (3, 0.1), (1, 0.7)])
def test_column_cycles_are_the_mean_over_all_patterns(filters: int, density: float) -> None:
    mean = sum(
        math.comb(filters, kept) * density**kept * (1 - density) ** (filters - kept) * max(1, math.ceil(kept / 2))
        for kept in range(filters + 1)
    )
    assert column(filters, density) == pytest.approx(mean)


def test_an_input_without_weights_still_takes_a_cycle() -> None:
    assert column(16, 1e-12) == pytest.approx(1.0)
    assert column(16, 1e-12, lanes=1) == pytest.approx(1.0)
    assert cycles(random=1e-12) >= 25


def test_dense_work_fills_every_lane() -> None:
    assert cycles() == 25 * 16 / 2
    assert cycles(filters=15.0) == 25 * 16 / 2


def test_random_zeros_are_skipped_up_to_the_slowest_element() -> None:
    # 25 inputs a pass, each with a tenth of 16 weights left; the slowest of 16 elements has sqrt(2 ln 16) deviations
    # of its 400 MACs more than the mean
    deviation = math.sqrt(2 * math.log(16) * 400) * 0.3 / 2
    assert cycles(random=0.1) == pytest.approx(25 * column(16, 0.1) + deviation)
    half = math.sqrt(2 * math.log(16) * 400) * math.sqrt(0.05 * 0.95) / 2
    assert cycles(inputs=0.5, random=0.1) == pytest.approx(0.5 * 25 * column(16, 0.1) + half)


def test_shared_patterns_balance_by_themselves() -> None:
    assert cycles(static=0.25) == 25 * 16 / 2 / 4
    assert cycles(static=0.25) < cycles(random=0.25)
    assert cycles(static=0.25, inputs=0.5) < cycles(random=0.25, inputs=0.5)


@given(
    columns=st.floats(1, 1e6),
    inputs=st.floats(0.05, 1),
    random=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    static=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    filters=st.integers(1, 64),
)
def test_fewer_weights_never_take_longer(
    columns: float, inputs: float, random: tuple[float, float], static: tuple[float, float], filters: int
) -> None:
    fewer = cycles(columns=columns, inputs=inputs, random=min(random), static=min(static), filters=float(filters))
    more = cycles(columns=columns, inputs=inputs, random=max(random), static=max(static), filters=float(filters))
    assert fewer <= more * (1 + 1e-12)
    assert more <= columns * max(1, math.ceil(filters / 2)) * (1 + 1e-12)


def test_depthwise_layers_neither_skip_nor_double(alone: Callable[[Layer], Network]) -> None:
    layer = Layer("dw", "conv", 96, 96, 3, 3, 8, 8, 8, 8, 1, 96, "x", None, (InputSegment(0, 96),), 0, 0.5, 0.5)
    net = alone(layer)
    sparse = replace(dense(net, 8), weight_density=np.full((1, 2), 0.25), granularity=np.full((1, 2), 1))
    compute = load("eyeriss_v2").evaluate(net, sparse).latency_parts_cycles["compute"][0, 1]
    assert compute == layer.macs / 192


def test_sparse_weights_are_faster_on_eyeriss_v2_and_not_on_eyeriss() -> None:
    layer = Layer("c", "conv", 128, 128, 3, 3, 28, 28, 28, 28, 1, 1, "x", None, (InputSegment(0, 128),), 1, 0.5, 0.5)
    net = Network("net", (3, 28, 28), (layer,), (), ())
    whole = dense(net, 8)
    sparse = replace(
        whole,
        weight_density=np.full((1, 1), 0.25),
        granularity=np.full((1, 1), KINDS.index("element")),
        stored_bits=whole.stored_bits * 0.25 * 1.5,
    )
    gains = {
        name: load(name).evaluate(net, whole).latency_ms / load(name).evaluate(net, sparse).latency_ms
        for name in ("eyeriss_v2", "eyeriss")
    }
    assert 2 < gains["eyeriss_v2"] < 4
    assert gains["eyeriss"] == 1


def test_linear_layers_are_bound_by_the_weights_that_arrive() -> None:
    linear = Layer("fc", "linear", 1024, 1024, 1, 1, 1, 1, 1, 1, 1, 1, "x", None, (InputSegment(0, 1024),), 1)
    net = Network("net", (1024, 1, 1), (linear,), (), ())
    parts = load("eyeriss_v2").evaluate(net, dense(net, 8)).latency_parts_cycles
    # 8 Mbit of weights over 1,152 bits a cycle: 7,282 cycles before any pass can end
    assert parts["load"].item() > 1024 * 1024 * 8 / 1152
    assert parts["load"].item() > parts["compute"].item()


def test_published_speedups_are_met_within_thirty_percent() -> None:
    chip, sparse, scnn = load("eyeriss_v1"), load("eyeriss_v2"), load("scnn")
    assert isinstance(chip, Eyeriss)
    assert isinstance(sparse, Eyeriss)
    assert isinstance(scnn, Scnn)
    rows = [*speedup_rows(compared(chip, sparse)), *scnn_rows(scnn)]
    assert len(rows) == 4
    assert {row.layer: row.error for row in rows if abs(row.error) > 0.3} == {}
    assert all(row.reason for row in rows if abs(row.error) > 0.1)


def test_efficiency_is_of_the_published_order_and_every_deviation_explained() -> None:
    chip, sparse = load("eyeriss_v1"), load("eyeriss_v2")
    assert isinstance(chip, Eyeriss)
    assert isinstance(sparse, Eyeriss)
    rows = efficiency_rows(compared(chip, sparse), sparse)
    found = {(row.layer, row.quantity): row for row in rows}
    assert all(row.reason for row in rows)
    gops = [row for row in rows if row.quantity == "gops_per_w"]
    assert len(gops) == 5
    assert all(abs(row.error) <= 0.55 for row in gops)
    order = sorted(gops, key=lambda row: row.published)
    assert [row.layer for row in order][::4] == [row.layer for row in sorted(gops, key=lambda row: row.model)][::4], (
        "the same layers are the least and the most efficient"
    )
    assert abs(found["sparse mobilenet", "inferences_per_s"].error) <= 0.3
    assert abs(found["sparse mobilenet", "inferences_per_j"].error) <= 0.3
    # 1470.6 / 2560.3 W on v2, times 2.5 / 12.6
    assert found["mobilenet on scaled v1", "power_mw"].published == pytest.approx(113.97, rel=1e-3)
    assert abs(found["sparse mobilenet, v1 at that power", "energy_gain"].error) <= 0.3


def test_the_compared_networks_have_their_published_size() -> None:
    # 724 million MACs in AlexNet; 49 million in MobileNet of width 0.5 on 128 x 128 images
    assert sparse_alexnet().network.macs == pytest.approx(724e6, rel=0.001)
    assert sparse_mobilenet().network.macs == pytest.approx(49e6, rel=0.01)
    assert len(sparse_mobilenet().densities) == len(sparse_mobilenet().network.layers) == 28
