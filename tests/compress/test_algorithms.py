"""What each pruning algorithm removes: the rule, the exact number of units, and what is particular to it."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress.criteria import HYSTERESIS_HIGH, HYSTERESIS_LOW, norm_scores, spliced_scores
from compress.masks import ChannelMasks, KeptChannels
from compress.measure import Measurer
from compress.options import MeasureOptions
from compress.profile import Profile
from compress.prune import WeightShape, partition, select
from compress.prune.patterns import fits_pattern, pattern_masks
from compress.repair import RepairOptions
from compress.verify import verify
from networks.trace import TracedNetwork
from plan.methods import OFFERED, algorithms_of, why_not_offered
from plan.patterns import INDEX_BITS, PATTERNS, patterns_of
from plan.scheme import (
    ALGORITHMS,
    DENSE,
    GRANULARITIES,
    Channel,
    Element,
    Filter,
    Method,
    NofM,
    Pattern,
    Scheme,
)

INNER = 1
PLAIN = MeasureOptions(repair=RepairOptions(update=False), recalibrate=False)


def only(method: Method, density: float, layer: int = INNER, layers: int = 5) -> list[Scheme]:
    schemes = [Scheme(DENSE, 1.0, 8, 8)] * layers
    schemes[layer] = Scheme(method, density, 8, 8)
    return schemes


@pytest.mark.parametrize("algorithm", algorithms_of(Element()))
@pytest.mark.parametrize("update", [True, False])
def test_every_element_algorithm_keeps_the_exact_number(
    traced: TracedNetwork, profiled: Profile, images: Tensor, algorithm: str, update: bool
) -> None:
    options = MeasureOptions(repair=RepairOptions(update=update))
    measurer = Measurer(traced, profiled, images, options=options)
    for density in (1 / 32, 13 / 32, 31 / 32):
        mask = measurer.repaired(only(Method(Element(), algorithm), density))[INNER].mask
        assert mask.sum() == max(1, round(density * mask.size))
    assert verify(measurer.apply(only(Method(Element(), algorithm), 0.5))) == ()


def test_sensitivity_cuts_every_output_at_one_multiple_of_its_deviation(measurer: Measurer, profiled: Profile) -> None:
    mask = measurer.repaired(only(Method(Element(), "sensitivity"), 0.5))[INNER].mask
    weight = profiled.layers[INNER].weight
    multiples = np.abs(weight) / weight.std(axis=1, keepdims=True)
    assert multiples[~mask].max() <= multiples[mask].min()
    level = measurer.repaired(only(Method(Element(), "level"), 0.5))[INNER].mask
    assert (level != mask).any()


def test_splicing_keeps_what_is_between_its_two_thresholds() -> None:
    refitted = torch.tensor([[-1.0, 1.0, 1.0, -1.0]], dtype=torch.float64)
    kept = torch.tensor([[True, False, True, False]])
    scores = spliced_scores(refitted, kept)
    assert np.allclose(scores, [[1 / HYSTERESIS_LOW, 1 / HYSTERESIS_HIGH] * 2])
    strong = spliced_scores(torch.tensor([[1.0, 1.3]]), torch.tensor([[True, False]]))
    assert strong[0, 1] > strong[0, 0]


def test_splicing_brings_weights_back_and_loses_less_than_level(measurer: Measurer) -> None:
    level, spliced = (only(Method(Element(), rule), 0.375) for rule in ("level", "splicing"))
    first, second = (measurer.repaired(schemes)[INNER].mask for schemes in (level, spliced))
    assert (second & ~first).any()
    assert measurer.layer_error(INNER, spliced[INNER]) < measurer.layer_error(INNER, level[INNER])


def test_bernoulli_draws_by_seed_alone_and_nests(traced: TracedNetwork, profiled: Profile) -> None:
    def kept(seed: int, density: float) -> np.ndarray:
        masks = ChannelMasks(traced.network, profiled, seed).kept(only(Method(Filter(), "bernoulli"), density))
        return masks[INNER].outputs

    assert np.array_equal(kept(3, 0.5), kept(3, 0.5))
    assert any((kept(seed, 0.5) != kept(3, 0.5)).any() for seed in range(4, 8))
    assert kept(3, 0.5).sum() == 8
    assert not (kept(3, 0.25) & ~kept(3, 0.5)).any()


def test_bernoulli_divides_by_the_kept_fraction_unless_readers_are_refitted(
    traced: TracedNetwork, profiled: Profile, images: Tensor
) -> None:
    schemes = only(Method(Filter(), "bernoulli"), 0.5)
    for options, gain in ((PLAIN, 2.0), (MeasureOptions(), 1.0)):
        measurer = Measurer(traced, profiled, images, options=options)
        found = measurer.repaired(schemes)[INNER]
        rows = found.mask.any(axis=1)
        dense = profiled.layers[INNER].weight[rows]
        assert float((found.weight[rows] * dense).sum() / (dense * dense).sum()) == pytest.approx(gain, rel=0.01)


def test_feature_map_reconstruction_ranks_by_l1_and_lowers_the_output_error(
    traced: TracedNetwork, profiled: Profile, images: Tensor
) -> None:
    measurer = Measurer(traced, profiled, images, options=PLAIN)
    layer = 3
    rebuilt, ranked = (only(Method(Channel(), rule), 0.5, layer) for rule in ("fm-reconstruction", "l1"))
    masks = [measurer.channels.kept(schemes)[layer].inputs for schemes in (rebuilt, ranked)]
    assert np.array_equal(*masks)
    moment = profiled.layers[layer].moment[0]

    def output_error(schemes: list[Scheme]) -> float:
        change = measurer.repaired(schemes)[layer].weight - profiled.layers[layer].weight
        return float(np.einsum("ki,ij,kj->", change, moment, change))

    assert output_error(rebuilt) < 0.8 * output_error(ranked)


def test_pattern_sets_hold_the_centre_and_fit_their_index() -> None:
    for keep, shapes in PATTERNS.items():
        assert len(set(shapes)) == len(shapes) <= 2**INDEX_BITS
        assert all(len(set(shape)) == keep and 4 in shape for shape in shapes)
    assert patterns_of(5)[0] == (0, 1, 3, 4, 5)


@given(st.sampled_from([4, 5]), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_every_kernel_keeps_its_best_pattern(keep: int, rows: int, channels: int, seed: int) -> None:
    shape = WeightShape(rows, channels, 3, 3)
    scores = np.random.default_rng(seed).random((rows, shape.columns))
    cut = partition(Pattern(keep), shape)
    mask = select(scores, granularity=Pattern(keep), cut=cut, shape=shape, density=0.1)
    kernels, worth = mask.reshape(-1, 9), scores.reshape(-1, 9)
    assert (kernels.sum(1) == keep).all()
    assert fits_pattern(kernels, Pattern(keep)).all()
    assert np.allclose((kernels * worth).sum(1), (worth @ pattern_masks(keep).T).max(1))


def test_a_weight_outside_its_pattern_is_found(measurer: Measurer) -> None:
    compressed = measurer.apply(only(Method(Pattern(4), "second-order"), 4 / 9))
    assert verify(compressed) == ()
    record = compressed.records[INNER]
    edited = dataclasses.replace(record, scheme=dataclasses.replace(record.scheme, method=Method(Pattern(5), "l2")))
    looser = dataclasses.replace(compressed, records=(*compressed.records[:1], edited, *compressed.records[2:]))
    assert verify(looser) == ()
    weight = compressed.module.get_submodule(record.target).weight
    with torch.no_grad():
        weight[0, 0] = float(record.scale[0])
    assert any("1 kernels fit none of the patterns" in problem for problem in verify(compressed))


def test_every_granularity_and_algorithm_is_offered_or_has_a_reason() -> None:
    examples = [kind(*([4, 8][: len(dataclasses.fields(kind))])) for kind in GRANULARITIES.values()]
    offered = 0
    for granularity in examples:
        for algorithm in ALGORITHMS:
            reason = why_not_offered(granularity, algorithm)
            assert (reason == "") == (algorithm in algorithms_of(granularity))
            offered += reason == ""
    assert offered == sum(len(algorithms_of(granularity)) for granularity in examples)
    assert set(OFFERED) <= set(GRANULARITIES)
    assert {rule for granularity in examples for rule in algorithms_of(granularity)} == set(ALGORITHMS)


def test_norms_of_units_are_means_over_what_they_hold() -> None:
    weight = torch.tensor([[3.0, -4.0], [0.0, 2.0]])
    cut = partition(NofM(1, 2), WeightShape(2, 2, 1, 1))
    assert norm_scores(weight, cut, "l2").tolist() == [[9.0, 16.0], [0.0, 4.0]]
    assert norm_scores(weight, cut, "level").tolist() == [[3.0, 4.0], [0.0, 2.0]]
    assert norm_scores(weight, cut, "sensitivity")[1].tolist() == [0.0, 2.0]
    assert KeptChannels(np.ones(1, bool), np.ones(1, bool)).output_gain == 1.0
