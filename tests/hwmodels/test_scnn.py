"""The array of Cartesian products: vectors and cycles by hand, what idles, and where feature maps live."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.assignments import dense
from hwmodels.loader import load, parse, preset_text
from hwmodels.scnn import Scnn, vectors
from plan.assignment import Assignment
from plan.errors import FileFormatError
from plan.layer import InputSegment, Layer, Network


def network(size: int = 16, zeros: float = 0.0, channels: int = 32, filters: int = 64) -> Network:
    first = Layer("a", "conv", channels, 3, 1, 1, size, size, size, size, 1, 1, "x", "y", (InputSegment(0, 3),), 1)
    layer = replace(first, name="b", K=filters, C=channels, R=3, S=3, input_tensor="y", output_tensor=None)
    layer = replace(layer, inputs=(InputSegment(1, channels),), input_zero_fraction=zeros, output_zero_fraction=zeros)
    return Network("net", (3, size, size), (first, layer), (), ())


def sparse(plan: Assignment, density: float) -> Assignment:
    return replace(
        plan,
        weight_density=np.full((1, 2), density),
        granularity=np.ones((1, 2), int),
        stored_bits=plan.stored_bits / 2,
    )


@pytest.fixture(scope="module")
def scnn() -> Scnn:
    model = load("scnn")
    assert isinstance(model, Scnn)
    return model


def test_vectors_by_hand() -> None:
    found = vectors(4, np.array([36.0, 36.0, 3.0]), np.array([1.0, 0.25, 1.0]))
    # 9 of 36 values left fill 9 / 4 vectors, and the last one is 3 / 8 empty on average
    assert found.tolist() == pytest.approx([9.0, 9 / 4 + 0.375, 1.0], rel=1e-4)


@given(values=st.integers(1, 500), densities=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)))
def test_fewer_values_never_fill_more_vectors(values: int, densities: tuple[float, float]) -> None:
    fewer, more = (vectors(4, np.array([float(values)]), np.array([d])).item() for d in sorted(densities))
    assert fewer <= more * (1 + 1e-12) <= np.ceil(values / 4) * (1 + 1e-12)


def test_dense_cycles_by_hand(scnn: Scnn) -> None:
    # 16 x 16 positions over 8 x 8 elements: tiles of 2 x 2, one vector of inputs; (2 + 2) x (2 + 2) sums a filter leave
    # room for 64 filters at once: 32 channels x (64 * 9 / 4 = 144 vectors) x 1 = 4,608 = all MACs over 1,024
    net = network()
    compute = scnn.evaluate(net, dense(net, 16)).latency_parts_cycles["compute"][0, 1]
    assert compute == 32 * 144
    assert compute == net.layers[1].macs / 1024


def test_zeros_of_both_operands_skip(scnn: Scnn) -> None:
    whole, zeros = network(), network(zeros=0.5)
    plan = dense(whole, 16)
    by_weights = scnn.evaluate(whole, sparse(plan, 0.25)).latency_cycles[0, 1]
    assert by_weights == pytest.approx(32 * (36 + 0.375), rel=1e-3)
    assert scnn.evaluate(zeros, sparse(plan, 0.25)).latency_cycles[0, 1] < by_weights
    products = scnn.evaluate(zeros, sparse(plan, 0.25), view="joules").energy_parts_pj["mac", "none"][0, 1]
    assert products == pytest.approx(whole.layers[1].macs * 0.5 * 0.25 * 0.925)


def test_few_positions_leave_elements_idle(scnn: Scnn) -> None:
    small, large = network(size=4), network(size=8)
    cycles = [scnn.evaluate(net, dense(net, 16)).latency_parts_cycles["compute"][0, 1] for net in (small, large)]
    assert cycles[0] == cycles[1]


def test_feature_maps_leave_the_chip_only_when_they_do_not_fit(scnn: Scnn) -> None:
    inside, outside = network(), network(size=128)
    for net, spilled in ((inside, False), (outside, True)):
        parts = scnn.evaluate(net, dense(net, 16)).energy_parts_pj
        assert (parts["dram", "inputs"][0, 1] > 0) == spilled
        assert (parts["dram", "outputs"][0, 1] > 0) == spilled
        assert parts["dram", "inputs"][0, 0] > 0, "the image comes from DRAM"


def test_faults_of_a_file_are_listed() -> None:
    text = preset_text("scnn").replace("word_bits = 16", "word_bits = 8").replace("weight_lanes_count = 4", "lanes = 4")
    with pytest.raises(FileFormatError, match="'weight_lanes_count' is missing"):
        parse(text, "mine.toml")
    with pytest.raises(FileFormatError, match="exceed word_bits of"):
        parse(preset_text("scnn").replace("word_bits = 16", "word_bits = 8"), "mine.toml")
