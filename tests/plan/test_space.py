"""The decision space: legality, coupling, inheritance, and the mapping to schemes and arrays."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from networks_by_hand import EVERYTHING, chain, residual

from plan.capabilities import Capabilities
from plan.errors import IllegalChoiceError, InvalidValueError, UnsupportedNetworkError
from plan.restrictions import Pin, Restrictions
from plan.scheme import DENSE, Channel, Dense, Element, Filter, Method, NofM, Pattern, Scheme
from plan.space import ACTIVATION_BITS, DENSITIES, DENSITY, METHOD, WEIGHT_BITS, build_space

SPACES = {"chain": build_space(chain(), EVERYTHING), "residual": build_space(residual(), EVERYTHING)}


def method_index(space, granularity, algorithm):
    return space.methods.index(Method(granularity, algorithm))


@pytest.mark.parametrize("name", SPACES)
@given(seed=st.integers(0, 2**32 - 1))
def test_sampled_plans_are_legal_and_survive_the_round_trip(name, seed):
    space = SPACES[name]
    for choice in space.sample(np.random.default_rng(seed), 5):
        space.check(choice)
        assert np.array_equal(space.choice(space.schemes(choice)), choice)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_batch_resolves_as_its_plans_do_one_by_one(seed):
    space = SPACES["residual"]
    choices = space.sample(np.random.default_rng(seed), 4)
    batch = space.resolve(choices)
    for index in range(4):
        single = space.resolve(choices[index : index + 1])
        for field in batch.__dataclass_fields__:
            assert np.array_equal(getattr(batch, field)[index], getattr(single, field)[0]), field


def test_a_filter_choice_shrinks_its_consumer_and_forbids_channel_there():
    space = SPACES["chain"]
    choices = space.start[None].copy()
    choices[0, 0, :2] = method_index(space, Filter(), "l2"), 15
    arrays = space.resolve(choices)
    assert arrays.kept_outputs[0].tolist() == [8, 32, 10]
    assert arrays.kept_inputs[0].tolist() == [3, 8, 32]
    assert not space.method_mask(choices, 1)[0, method_index(space, Channel(), "l1")]
    assert space.method_mask(space.start[None], 1)[0, method_index(space, Channel(), "l1")]


def test_a_channel_choice_shrinks_the_producers_of_the_whole_residual_stream():
    space = SPACES["residual"]
    choices = space.start[None].copy()
    choices[0, 1, :2] = method_index(space, Channel(), "second-order"), 7
    arrays = space.resolve(choices)
    assert arrays.kept_outputs[0].tolist() == [2, 8, 2, 8, 8]
    assert arrays.kept_inputs[0].tolist() == [3, 2, 8, 2, 2]


def test_later_producers_and_consumers_may_not_decide_a_group():
    space = SPACES["residual"]
    second_producer, second_consumer = 2, 3
    assert not space.legal[second_producer, method_index(space, Filter(), "l1")].any()
    assert not space.legal[second_consumer, method_index(space, Channel(), "l1")].any()


def test_readers_of_one_tensor_share_its_bits_and_the_writer_writes_at_them():
    space = SPACES["residual"]
    choices = space.start[None].copy()
    choices[0, 1, ACTIVATION_BITS] = space.activation_bits.index(3)
    arrays = space.resolve(choices)
    assert arrays.input_bits[0].tolist() == [8, 3, 8, 3, 8]
    assert arrays.output_bits[0].tolist() == [3, 8, 8, 8, 8]
    assert [scheme.activation_bits for scheme in space.schemes(choices[0])] == [8, 3, 8, 3, 8]


def test_element_storage_by_hand():
    # c2: 32 x 16 x 9 = 4,608 weights, half kept at 4 bits: 2,304 * 4 = 9,216 bits + 4,608 bits of mask = 13,824
    space = SPACES["chain"]
    choices = space.start[None].copy()
    choices[0, 1, :3] = method_index(space, Element(), "level"), 15, space.weight_bits.index(4)
    arrays = space.resolve(choices)
    assert arrays.stored_bits[0, 1] == 13_824
    assert arrays.index_bits[0, 1] == 4_608
    assert arrays.weight_density[0, 1] == 0.5


def test_n_of_m_storage_by_hand():
    # 4,608 weights, 2 of 4: 2,304 kept at 8 bits = 18,432 + 2 offset bits each = 4,608 -> 23,040
    space = SPACES["chain"]
    choices = space.start[None].copy()
    choices[0, 1, :2] = method_index(space, NofM(2, 4), "l1"), 15
    assert space.resolve(choices).stored_bits[0, 1] == 23_040


def test_storage_never_exceeds_dense_and_removed_filters_carry_no_index():
    space = SPACES["chain"]
    choices = np.repeat(space.start[None], 2, axis=0)
    choices[0, 1, :2] = method_index(space, Element(), "level"), 30
    choices[1, 1, :2] = method_index(space, Filter(), "l1"), 15
    arrays = space.resolve(choices)
    assert arrays.stored_bits[0, 1] == 4_608 * 8
    assert arrays.index_bits[:, 1].tolist() == [0, 0]
    assert arrays.stored_bits[1, 1] == 4_608 * 8 / 2


def test_numbers_in_the_unit_interval_fall_into_equal_bins():
    space = SPACES["chain"]
    values = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.5, 0.5]])
    element = np.full(3, method_index(space, Element(), "level"))
    out = space.from_unit(0, element, values, space.start[None].repeat(3, 0))
    assert out[:, DENSITY].tolist() == [0, 30, 15]
    assert out[:, WEIGHT_BITS].tolist() == [0, 6, 3]
    dense = space.from_unit(0, np.zeros(3, dtype=int), values, space.start[None].repeat(3, 0))
    assert dense[:, DENSITY].tolist() == [31, 31, 31]


def test_an_excluded_layer_stays_dense_at_the_baseline_and_freezes_its_groups():
    space = build_space(chain(), EVERYTHING, 8, Restrictions(exclude=("c2",)))
    choices = space.sample(np.random.default_rng(0), 50)
    assert (choices[:, 1] == space.baseline[1]).all()
    assert (space.resolve(choices).kept_outputs == [16, 32, 10]).all()


def test_a_pin_holds_bits_and_density():
    space = build_space(chain(), EVERYTHING, 8, Restrictions(pins=(Pin.parse("c1:w4a6,dense"),)))
    first = space.schemes(space.sample(np.random.default_rng(0), 1)[0])[0]
    assert first == Scheme(DENSE, 1.0, 4, 6)
    assert space.schemes(space.start)[0] == first


def test_readers_pinned_to_different_bits_of_one_tensor_are_refused():
    pins = (Pin.parse("c1:w8a8"), Pin.parse("side:w8a4"))
    with pytest.raises(InvalidValueError, match=r"side and c1 read the same tensor"):
        build_space(residual(), EVERYTHING, 8, Restrictions(pins=pins))


@pytest.mark.parametrize(
    ("restrictions", "message"),
    [
        (Restrictions(exclude=("conv*",)), "pattern 'conv\\*' matches no layer"),
        (Restrictions(pins=(Pin.parse("c3:w8a8"),)), "pinned layer 'c3' does not exist"),
        (Restrictions(pins=(Pin.parse("c1:w9a8"),)), "9 bits for weights are not supported .*supported: 2, 3"),
    ],
)
def test_restrictions_that_fit_nothing_are_refused(restrictions, message):
    with pytest.raises(InvalidValueError, match=message):
        build_space(chain(), EVERYTHING, 8, restrictions)


def test_baseline_bits_must_be_offered():
    with pytest.raises(InvalidValueError, match="--baseline-bits: 16 bits"):
        build_space(chain(), EVERYTHING, 16)


def test_a_network_without_layers_is_refused():
    with pytest.raises(UnsupportedNetworkError, match="no convolution or linear layer"):
        build_space(replace(chain(), layers=(), groups=(), edges=()), EVERYTHING)


def test_illegal_plans_are_refused_with_the_layer_named():
    space = SPACES["residual"]
    schemes = list(space.schemes(space.start))
    schemes[2] = Scheme(Method(Filter(), "l1"), 0.5, 8, 8)
    with pytest.raises(IllegalChoiceError, match=r"layer c2: filter/l1 at density 0\.5 is not legal"):
        space.choice(schemes)
    schemes[2] = Scheme(DENSE, 1.0, 1, 8)
    with pytest.raises(IllegalChoiceError, match=r"layer c2: weight_bits 1 is not offered here \(allowed: 2, 3"):
        space.choice(schemes)


def test_dense_is_the_first_method_and_legal_everywhere():
    for space in SPACES.values():
        assert space.methods[0] == Method(Dense(), "none")
        assert space.legal[:, 0, 31].all()
        assert space.start[:, METHOD].tolist() == [0] * space.n_layers


def test_patterns_have_exactly_their_own_density():
    network = chain()
    capabilities = Capabilities((Dense(), Pattern(4), Pattern(5)), (8,), (8,), ("dense", "pattern"))
    space = build_space(network, capabilities)
    index = method_index(space, Pattern(5), "l2")
    layer = next(at for at, found in enumerate(network.layers) if (found.R, found.S) == (3, 3))
    (density,) = np.flatnonzero(space.legal[layer, index])
    assert DENSITIES[density] == 18 / 32  # the grid point next to 5/9
    choices = space.baseline[None].copy()
    choices[0, layer, :2] = index, density
    scheme = space.schemes(choices[0])[layer]
    assert scheme.density == 5 / 9
    assert np.array_equal(space.choice(space.schemes(choices[0])), choices[0])
    found = space.resolve(choices)
    assert found.weight_density[0, layer] == 5 / 9
    kernels = network.layers[layer].weights / 9
    assert found.stored_bits[0, layer] == pytest.approx(kernels * (5 * 8 + 3))
    elsewhere = [at for at, found in enumerate(network.layers) if (found.R, found.S) != (3, 3)]
    assert not space.legal[elsewhere, index].any()
