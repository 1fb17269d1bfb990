from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from compress.cache import ByteCache
from compress.masks import KeptChannels
from compress.measure import Measurer
from compress.options import MeasureOptions
from compress.problem import build_problem, metric_blocks
from compress.profile import Profile
from compress.prune import kept_count, partition
from compress.prune.partition import WeightShape
from compress.quantize import WeightQuantiser
from compress.repair import LayerRepair, RepairedLayer, RepairOptions, Request
from compress.verify import verify
from networks.trace import TracedNetwork
from plan.scheme import (
    DENSE,
    BlockColumn,
    BlockPunched,
    BlockRow,
    Element,
    Granularity,
    Kernel,
    Method,
    NofM,
    Scheme,
)

PLAIN = RepairOptions(update=False)
FULL = RepairOptions()


def repair_of(traced: TracedNetwork, profiled: Profile, name: str, options: RepairOptions) -> LayerRepair:
    index = [layer.name for layer in traced.network.layers].index(name)
    return LayerRepair(traced.network.layers[index], profiled.layers[index], ByteCache(1 << 30), options)


def whole(repair: LayerRepair) -> KeptChannels:
    return KeptChannels(np.ones(repair.layer.C, bool), np.ones(repair.layer.K, bool))


@pytest.mark.parametrize("algorithm", ["l1", "l2", "second-order"])
@pytest.mark.parametrize(
    ("name", "granularity"),
    [
        ("inner", Element()),
        ("inner", NofM(2, 4)),
        ("inner", Kernel()),
        ("inner", BlockPunched(4, 1)),
        ("inner", BlockPunched(3, 5)),
        ("outer", BlockRow(4, 4)),
        ("head", BlockColumn(2, 3)),
        ("depthwise", Element()),
        ("depthwise", Kernel()),
        ("depthwise", BlockPunched(4, 1)),
    ],
    ids=str,
)
def test_update_keeps_the_density_and_loses_less_than_plain(
    traced: TracedNetwork, profiled: Profile, name: str, granularity: Granularity, algorithm: str
) -> None:
    full, plain = (repair_of(traced, profiled, name, options) for options in (FULL, PLAIN))
    for repair in (full, plain):
        repair.stats = replace(repair.stats, fisher=np.ones(repair.layer.K, np.float32))
    request = Request(whole(full), Method(granularity, algorithm), 0.5, 4)
    found, rough = full.repair(request), plain.repair(request)
    layer = full.layer
    shape = WeightShape(layer.K, layer.C // layer.groups, layer.R, layer.S)
    cut = partition(granularity, shape)
    rows, columns = np.nonzero(found.mask)
    kept = len(np.unique(cut.row_block[rows] * cut.n_sets + cut.column_set[columns]))
    assert kept == (kept_count(0.5, cut.units) if granularity.kind != "n:m" else cut.units // 2)
    assert not found.levels[~found.mask].any()
    assert full.error(found, request.kept.outputs) <= plain.error(rough, request.kept.outputs)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_levels_fit_the_width_and_error_falls_with_bits(traced: TracedNetwork, profiled: Profile, bits: int) -> None:
    repair = repair_of(traced, profiled, "inner", FULL)
    found = repair.repair(Request(whole(repair), DENSE, 1.0, bits))
    assert -(2 ** (bits - 1)) <= found.levels.min() <= found.levels.max() < 2 ** (bits - 1)
    more = repair.repair(Request(whole(repair), DENSE, 1.0, min(bits + 1, 16)))
    outputs = np.ones(repair.layer.K, bool)
    assert repair.error(more, outputs) <= repair.error(found, outputs)


def test_element_mask_on_a_diagonal_metric_is_optimal(traced: TracedNetwork, profiled: Profile) -> None:
    index = [layer.name for layer in traced.network.layers].index("outer")
    stats, layer = profiled.layers[index], traced.network.layers[index]
    diagonal = np.linspace(1, 3, 16, dtype=np.float32)
    stats = replace(
        stats,
        moment=np.diag(diagonal)[None],
        input_mean=np.zeros((1, 16), np.float32),
        fisher=np.ones(layer.K, np.float32),
    )
    repair = LayerRepair(layer, stats, ByteCache(1 << 30), FULL)
    found = repair.repair(Request(whole(repair), Method(Element(), "second-order"), 0.25, 16))
    damped = diagonal + 0.01 * diagonal.mean()
    saliency = stats.weight**2 * damped
    threshold = np.sort(saliency.ravel())[-kept_count(0.25, saliency.size)]
    assert np.array_equal(found.mask, saliency >= threshold)
    assert np.allclose(found.weight[found.mask], stats.weight[found.mask], atol=1e-3)


@pytest.mark.parametrize("whole_input", [True, False], ids=["all inputs", "inputs removed"])
def test_exchanged_masks_lose_less(traced: TracedNetwork, profiled: Profile, whole_input: bool) -> None:
    with_them, without = (repair_of(traced, profiled, "inner", replace(FULL, exchanges=count)) for count in (8, 0))
    kept = whole(with_them)
    if not whole_input:
        kept.inputs[4:8] = False
    request = Request(kept, Method(NofM(2, 4), "second-order"), 0.5, 16)
    found, before = with_them.repair(request), without.repair(request)
    assert np.array_equal(found.mask.sum(1), before.mask.sum(1))
    assert not found.mask.reshape(len(found.mask), len(kept.inputs), -1)[:, ~kept.inputs].any()
    assert with_them.error(found, kept.outputs) < without.error(before, kept.outputs)


def test_removed_inputs_are_made_up_for(traced: TracedNetwork, profiled: Profile) -> None:
    repair = repair_of(traced, profiled, "inner", FULL)
    kept = whole(repair)
    kept.inputs[[1, 4]] = False
    found = repair.repair(Request(kept, DENSE, 1.0, 16))
    gone = np.repeat(~kept.inputs, 9)
    assert not found.levels[:, gone].any()
    cut = RepairedLayer(found.levels, found.scale, found.packed_mask, 16)
    zeroed = repair_of(traced, profiled, "inner", PLAIN).repair(Request(kept, DENSE, 1.0, 16))
    assert repair.error(cut, kept.outputs) < 0.98 * repair.error(zeroed, kept.outputs)


def test_removed_outputs_are_zero_and_cost_nothing(traced: TracedNetwork, profiled: Profile) -> None:
    repair = repair_of(traced, profiled, "inner", FULL)
    kept = whole(repair)
    kept.outputs[:3] = False
    found = repair.repair(Request(kept, Method(Element(), "second-order"), 0.5, 8))
    assert not found.levels[:3].any()
    assert found.mask.sum() == kept_count(0.5, 13 * 12 * 9)


def test_inputs_that_are_never_seen_take_no_part(traced: TracedNetwork, profiled: Profile) -> None:
    index = [layer.name for layer in traced.network.layers].index("inner")
    stats = profiled.layers[index]
    moment, mean = stats.moment.copy(), stats.input_mean.copy()
    moment[:, :9], moment[:, :, :9], mean[:, :9] = 0, 0, 0
    blind = replace(stats, moment=moment, input_mean=mean)
    problem = build_problem(traced.network.layers[index], blind, np.ones(12, bool))
    assert set(problem.blocks[0].columns.tolist()) == set(range(9, 108))


def test_blocks_of_moments_are_solved_apart(traced: TracedNetwork, profiled: Profile) -> None:
    index = [layer.name for layer in traced.network.layers].index("inner")
    stats, layer = profiled.layers[index], traced.network.layers[index]
    blocks = (stats.moment[:, :54, :54], stats.moment[:, 54:, 54:])
    split = replace(stats, moment=tuple(np.ascontiguousarray(block) for block in blocks))
    assert [block.shape[-1] for block in metric_blocks(split)] == [54, 54]
    repair = LayerRepair(layer, split, ByteCache(1 << 30), FULL)
    plain = LayerRepair(layer, split, ByteCache(1 << 30), PLAIN)
    request = Request(whole(repair), Method(Element(), "second-order"), 0.5, 4)
    outputs = request.kept.outputs
    assert repair.error(repair.repair(request), outputs) < plain.error(plain.repair(request), outputs)


def test_error_is_the_quadratic_form(traced: TracedNetwork, profiled: Profile) -> None:
    repair = repair_of(traced, profiled, "outer", FULL)
    found = repair.repair(Request(whole(repair), DENSE, 1.0, 3))
    difference = (found.weight - repair.stats.weight).astype(np.float64)
    (metric,) = metric_blocks(repair.stats)
    rows = np.einsum("kd,de,ke->k", difference, metric[0].double().numpy(), difference)
    expected = 0.5 * float(repair.stats.fisher @ rows)
    assert repair.error(found, np.ones(12, bool)) == pytest.approx(expected, rel=1e-3)


def test_weights_are_whole_multiples_of_the_scale(traced: TracedNetwork, profiled: Profile) -> None:
    repair = repair_of(traced, profiled, "depthwise", FULL)
    found = repair.repair(Request(whole(repair), DENSE, 1.0, 4))
    assert torch.equal(
        torch.from_numpy(found.weight), torch.from_numpy(found.levels).float() * torch.from_numpy(found.scale)[:, None]
    )


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("update", [True, False])
def test_asymmetric_levels_pass_verification(
    traced: TracedNetwork, profiled: Profile, images: Tensor, per_channel: bool, update: bool
) -> None:
    options = RepairOptions(update=update, quantiser=WeightQuantiser(per_channel=per_channel, symmetric=False))
    measurer = Measurer(traced, profiled, images, options=MeasureOptions(repair=options))
    schemes = [Scheme(Method(Element(), "second-order"), 0.5, 4, 8)] * 5
    compressed = measurer.apply(schemes)
    assert verify(compressed) == ()
    points = [record.zero_point for record in compressed.records]
    assert any((point != 0).any() for point in points)
    for record in compressed.records:
        assert (len(np.unique(record.scale)) == 1) == (not per_channel)


@pytest.mark.parametrize(
    "method",
    [
        DENSE,
        Method(Element(), "level"),
        Method(Element(), "splicing"),
        Method(NofM(2, 4), "l2"),
        Method(BlockPunched(4, 1), "second-order"),
    ],
    ids=str,
)
def test_a_layer_whose_inputs_are_all_dead_is_rounded_as_it_stands(
    traced: TracedNetwork, profiled: Profile, method: Method
) -> None:
    repair = repair_of(traced, profiled, "inner", FULL)
    (moment,) = (np.zeros_like(block) for block in repair.stats.moment_blocks)
    repair.stats = replace(repair.stats, moment=moment, input_mean=np.zeros_like(repair.stats.input_mean))
    found = repair.repair(Request(whole(repair), method, 0.5, 4))
    assert np.isfinite(found.weight).all()
    kept = found.mask.mean()
    assert kept == 1.0 if method == DENSE else abs(kept - 0.5) < 0.05
    rounding = np.abs(found.weight - repair.weight.numpy())[found.mask]
    assert (rounding <= 1.001 * np.repeat(found.scale[:, None], found.mask.shape[1], 1)[found.mask]).all()
