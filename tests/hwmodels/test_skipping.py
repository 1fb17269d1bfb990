"""Arrays that skip zeros: cycles by hand, their laws, and what limits them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.assignments import dense
from hwmodels.loader import load
from hwmodels.sparsity import Skipping, skipping_cycles
from plan.layer import InputSegment, Layer, Network
from plan.scheme import GRANULARITIES

DATAPATH = Skipping(macs_per_pe=2, weight_bits_per_cycle=1e9)
KINDS = list(GRANULARITIES)


def cycles(
    *,
    macs: float = 6400.0,
    inputs: float = 1.0,
    random: float = 1.0,
    static: float = 1.0,
    filters: float = 64.0,
    elements: int = 16,
) -> float:
    return skipping_cycles(
        DATAPATH,
        elements=elements,
        macs=np.array([macs]),
        nonzero_inputs=np.array([inputs]),
        random_density=np.array([random]),
        static_density=np.array([static]),
        filters=np.array([filters]),
        sums_per_element=32,
    ).item()


def test_dense_work_fills_every_lane() -> None:
    assert cycles() == 6400 / 16 / 2


def test_random_zeros_are_skipped_up_to_the_slowest_element() -> None:
    # 400 MACs an element, a tenth left: 40, and sqrt(2 ln 16 * 400) * sqrt(0.1 * 0.9) = 14.1 more on the slowest
    expected = (400 * 0.1 + math.sqrt(2 * math.log(16) * 400) * 0.3) / 2
    assert cycles(random=0.1) == pytest.approx(expected)
    assert cycles(inputs=0.5, random=0.2) == pytest.approx(expected)


def test_shared_patterns_balance_by_themselves() -> None:
    assert cycles(static=0.25) == 6400 / 16 / 2 / 4
    assert cycles(static=0.25) < cycles(random=0.25)
    assert cycles(static=0.25, inputs=0.5) < cycles(random=0.25, inputs=0.5)


def test_nonzero_inputs_are_read_even_without_weights() -> None:
    # 400 MACs an element share each input between 32 sums: 12.5 reads, however few weights are left
    assert cycles(random=1e-9) == pytest.approx(400 / 32)


def test_a_single_filter_neither_skips_nor_doubles() -> None:
    assert cycles(filters=1.0, random=0.1, inputs=0.5) == 6400 / 16


@given(
    macs=st.floats(16, 1e9),
    inputs=st.floats(0.05, 1),
    random=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    static=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    filters=st.integers(1, 512),
)
def test_fewer_weights_never_take_longer(
    macs: float, inputs: float, random: tuple[float, float], static: tuple[float, float], filters: int
) -> None:
    fewer = cycles(macs=macs, inputs=inputs, random=min(random), static=min(static), filters=filters)
    more = cycles(macs=macs, inputs=inputs, random=max(random), static=max(static), filters=filters)
    assert fewer <= more * (1 + 1e-12)
    assert more <= macs / 16 / min(2, filters) * (1 + 1e-12)


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
    for name, ratio in (("eyeriss_v2", 4.0), ("eyeriss", 1.0)):
        model = load(name)
        gain = model.evaluate(net, whole).latency_ms / model.evaluate(net, sparse).latency_ms
        assert gain.item() == pytest.approx(ratio, rel=0.1)


def test_linear_layers_are_bound_by_the_weights_that_arrive() -> None:
    linear = Layer("fc", "linear", 1024, 1024, 1, 1, 1, 1, 1, 1, 1, 1, "x", None, (InputSegment(0, 1024),), 1)
    net = Network("net", (1024, 1, 1), (linear,), (), ())
    cost = load("eyeriss_v2").evaluate(net, dense(net, 8))
    # 8 Mbit of weights over 1,152 bits a cycle: 7,282 cycles; over DRAM's 1,024 bits a cycle, with 2 x 8 kbit, 8,208
    assert cost.latency_cycles.item() == pytest.approx((1024 * 1024 * 8 + 2 * 1024 * 8) / 1024)
