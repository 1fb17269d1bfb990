"""Shapes, mappings, sparsity and precision, each by hand or by brute force."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.dataflow import Mapping, Mappings, PeArray, active_elements, buffer_bits, tile
from hwmodels.eyeriss import Eyeriss
from hwmodels.geometry import GroupShape, effective_groups, fold_kernel, group_shape
from hwmodels.loader import load
from hwmodels.mapping import Mapper, candidates, choose, scores
from hwmodels.precision import MacEnergy, mac_energy_pj, psum_bits
from hwmodels.sparsity import RunLengthCode, active_fraction, coded_bits
from plan.layer import InputSegment, Layer

HOROWITZ = MacEnergy(multiply_8x8_pj=0.2, add_32b_pj=0.1, guard_bits=8)
CODE = RunLengthCode(run_bits=5, packing_overhead_ratio=64 / 63)


@pytest.fixture(scope="module")
def mapper() -> Mapper:
    model = load("eyeriss_v1")
    assert isinstance(model, Eyeriss)
    return model.parameters.mapper()


def square(channels: int = 4, size: int = 8, kernel: int = 3, stride: int = 1, filters: int = 4) -> GroupShape:
    return GroupShape(filters, channels, kernel, kernel, size, size, size * stride, size * stride, stride)


def array(text: list[float]) -> np.ndarray:
    return np.array(text)


def test_rows_read_counts_halo_and_leaves_padding_out() -> None:
    shape = square(size=4)  # H = 4, padding 1: strips of 2 read rows 0-2 and 1-3
    assert shape.rows_read(2) == 6
    assert shape.rows_read(4) == 4
    assert shape.rows_read(1) == 2 + 3 + 3 + 2


def test_a_strided_pointwise_layer_reads_a_quarter() -> None:
    shape = square(kernel=1, stride=2, size=4)  # 8 x 8 input
    assert shape.rows_read(2) == 4
    assert shape.columns == 4


def test_alexnet_conv1_reads_its_rows() -> None:
    shape = GroupShape(96, 3, 11, 11, 55, 55, 227, 227, 4)
    assert shape.rows_read(7) == 7 * (6 * 4 + 11) + (5 * 4 + 11)  # seven strips of 7 rows and one of 6
    assert shape.columns == 227


@settings(max_examples=60)
@given(
    size=st.integers(1, 12),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.integers(0, 2),
    e=st.integers(1, 12),
)
def test_rows_read_equals_enumeration(size: int, kernel: int, stride: int, padding: int, e: int) -> None:
    padding = min(padding, kernel // 2)
    height = max(1, (size - 1) * stride + kernel - 2 * padding)
    shape = GroupShape(1, 1, kernel, kernel, size, size, height, height, stride)
    top = -(-max(0, (size - 1) * stride + kernel - height) // 2)
    read = 0
    for first in range(0, size, e):
        rows = {
            output * stride - top + offset
            for output, offset in itertools.product(range(first, min(first + e, size)), range(kernel))
        }
        read += sum(0 <= row < height for row in rows)
    assert shape.rows_read(e) == read


@pytest.mark.parametrize(("size", "limit", "expected"), [(11, 12, (1, 11)), (16, 12, (2, 8)), (13, 12, (2, 7))])
def test_large_kernels_fold(size: int, limit: int, expected: tuple[int, int]) -> None:
    assert fold_kernel(size, limit) == expected


def test_a_patch_embedding_reads_every_pixel_once() -> None:
    patch = Layer("patch", "conv", 96, 3, 16, 16, 14, 14, 224, 224, 16, 1, "x", None, (InputSegment(0, 3),), 1)
    shape, pieces = group_shape(patch, 12, 12)
    assert pieces == 4
    assert shape.channels * shape.rows_read(2) * shape.columns == 3 * 224 * 224


def test_depthwise_groups_shrink_and_others_stay() -> None:
    groups = effective_groups(array([32, 4, 1]), array([20, 20, 20]), array([20, 24, 24]))
    assert groups.tolist() == [20, 4, 1]


def test_run_length_code_by_hand() -> None:
    bits = coded_bits(CODE, array([0.0, 0.5, 0.9]), array([16.0, 16.0, 8.0]))
    assert bits[0] == 16.0, "coding nothing but values would cost 21.3 bits: bypassed"
    assert bits[1] == pytest.approx(21 * 64 / 63 * 0.5)
    assert bits[2] == pytest.approx(13 * 64 / 63 * 0.1 / (1 - 0.9**32))


def test_both_operands_gate() -> None:
    assert active_fraction(array([0.8]), array([0.25])).item() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("weight", "data", "expected_pj"), [(16, 16, 0.925), (8, 8, 0.275), (8, 4, 0.1625), (4, 4, 0.1), (2, 2, 0.05)]
)
def test_mac_energy_by_hand(weight: int, data: int, expected_pj: float) -> None:
    assert mac_energy_pj(HOROWITZ, array([weight]), array([data])).item() == pytest.approx(expected_pj)


def test_partial_sums_have_guard_bits() -> None:
    assert psum_bits(HOROWITZ, array([4]), array([6])).item() == 18


@pytest.mark.parametrize(
    ("e", "kernel", "expected"), [(7, 11, 2), (13, 3, 4), (14, 3, 4), (27, 5, 1), (28, 3, 2), (29, 5, 0)]
)
def test_sets_beside_each_other(mapper: Mapper, e: int, kernel: int, expected: int) -> None:
    assert mapper.array.sets(np.array([e]), kernel).item() == expected


def test_active_elements_of_published_mappings(mapper: Mapper) -> None:
    conv1 = GroupShape(96, 3, 11, 11, 55, 55, 227, 227, 4, 4)
    assert active_elements(mapper.array, conv1, Mapping(7, 1, 96, 16, 1, 1, 2)) == 154
    assert active_elements(mapper.array, square(kernel=3), Mapping(13, 4, 64, 16, 3, 2, 2)) == 156


@settings(max_examples=25)
@given(
    channels=st.integers(1, 64),
    filters=st.integers(1, 64),
    size=st.integers(1, 30),
    kernel=st.sampled_from([1, 3, 5]),
)
def test_candidates_are_legal(channels: int, filters: int, size: int, kernel: int) -> None:
    model = load("eyeriss_v1")
    assert isinstance(model, Eyeriss)
    mapper, shape = model.parameters.mapper(), square(channels, size, kernel, filters=filters)
    found = candidates(mapper, shape)
    pes: PeArray = mapper.array
    assert found.e.size > 0
    assert (found.r * found.t <= pes.sets(found.e, kernel)).all()
    assert (found.p * found.q * kernel <= pes.filter_spad_words).all()
    assert (found.q * kernel <= pes.ifmap_spad_words).all()
    assert (found.p <= pes.psum_spad_words).all()
    assert (found.m % (found.p * found.t) == 0).all()
    assert (found.q * found.r <= max(1, 112 // size)).all()
    assert (buffer_bits(shape, found, 16, 16) <= 16 * pes.buffer_words).all()
    assert (found.p * found.q * found.r * found.t * kernel * kernel <= 4096).all(), "8 kB for the next pass's filters"


def test_the_choice_is_the_best_candidate(mapper: Mapper) -> None:
    shape = square(32, 13, 3, filters=48)
    found = candidates(mapper, shape)
    best = Mappings.of(choose(mapper, shape))
    assert scores(mapper, shape, best).item() == scores(mapper, shape, found).min()


def test_tiling_of_a_batch_equals_single_mappings(mapper: Mapper) -> None:
    shape = square(16, 9, 3, filters=16)
    found = candidates(mapper, shape)
    together = tile(mapper.array, shape, found)
    for position in (0, found.e.size // 2, found.e.size - 1):
        alone = tile(mapper.array, shape, Mappings.of(found.at(position)))
        assert alone.load_cycles.item() == together.load_cycles[position]
        assert alone.input_pixels.item() == together.input_pixels[position]


def every_mapping(mapper: Mapper, shape: GroupShape) -> Mappings:
    """Returns all legal mappings of one image, those with the most sets t and filters m beside the rest."""
    pes, widths = mapper.array, (mapper.policy.input_bits, mapper.policy.psum_bits)
    axes = [np.arange(1, limit + 1) for limit in (shape.P, pes.psum_spad_words, pes.ifmap_spad_words, 168)]
    e, p, q, r = (axis.ravel() for axis in np.meshgrid(*axes, indexing="ij"))
    t = np.minimum(pes.sets(e, shape.R) // r, shape.filters)
    legal = (t > 0) & (q * shape.S <= pes.ifmap_spad_words) & (p * q * shape.S <= pes.filter_spad_words)
    legal &= (q <= shape.channels) & (r <= shape.channels) & (p <= shape.filters)
    e, p, q, r, t = (values[legal] for values in (e, p, q, r, t))
    one = np.ones_like(e)
    room = pes.buffer_words * pes.word_bits - buffer_bits(shape, Mappings(e, one, 0 * e, p, q, r, t), *widths)
    m = np.floor(room / (e * shape.Q * widths[1])).astype(np.int64) // (p * t) * (p * t)
    m = np.minimum(m, -(-shape.filters // (p * t)) * p * t)
    return Mappings(*(values[m > 0] for values in (e, one, m, p, q, r, t)))


@pytest.mark.parametrize("objective", ["edp", "energy", "latency"])
@pytest.mark.parametrize(
    "shape", [square(64, 14, 3, filters=96), square(48, 14, 1, filters=40), square(20, 7, 5, filters=70)]
)
def test_the_free_search_misses_no_mapping_by_a_percent(mapper: Mapper, shape: GroupShape, objective: str) -> None:
    free = replace(mapper, policy=replace(mapper.policy, policy="search", objective=objective))
    best = scores(free, shape, every_mapping(free, shape)).min()
    assert best <= scores(free, shape, candidates(free, shape)).min() <= 1.005 * best


def test_sets_that_save_no_pass_stay_idle(mapper: Mapper) -> None:
    """64 filters in one pass of 16 a set: four sets do, though twelve rows of strips of 3 x 14 columns hold more."""
    found = candidates(mapper, square(64, 56, 1, filters=64))
    assert (np.ceil(64 / (found.p * found.t)) < np.ceil(64 / (found.p * np.maximum(found.t - 1, 0.5)))).all()
    assert ((found.p == 16) & (found.t == 4)).any()
