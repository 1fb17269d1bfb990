"""Laws that hold for any layer: sums, batches, and nothing dearer with less work; and that both presets agree."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.accelerator import LATENCY_PARTS, LEVELS, OPERANDS, VIEWS, Accelerator
from hwmodels.assignments import dense
from hwmodels.bounds import Explained
from hwmodels.dataflow import Mappings
from hwmodels.eyeriss import Eyeriss
from hwmodels.eyeriss_parameters import Extensions
from hwmodels.geometry import GroupShape, group_shape
from hwmodels.loader import load, preset_names
from hwmodels.mapping import OBJECTIVES, POLICIES, choose, scores
from hwmodels.pruning_curves import reference_network
from hwmodels.timing import LIMITS
from plan.assignment import Assignment
from plan.capabilities import Capabilities
from plan.errors import InvalidValueError
from plan.layer import Layer, Network
from plan.scheme import Dense
from plan.space import DENSITIES, DENSITY, METHOD, build_space

PlanMaker = Callable[..., Assignment]
Networks = st.SearchStrategy[Network]
DRAWS = 40

hardware = pytest.mark.parametrize("name", preset_names())


@pytest.fixture(scope="session")
def models() -> dict[str, Accelerator]:
    return {name: load(name) for name in preset_names()}


def widest(model: Accelerator) -> dict[str, int]:
    return {
        "weight_bits": model.capabilities.weight_bits[-1],
        "input_bits": model.capabilities.activation_bits[-1],
        "output_bits": model.capabilities.activation_bits[-1],
    }


def joined(plans: list[Assignment]) -> Assignment:
    return Assignment(
        **{field.name: np.concatenate([getattr(plan, field.name) for plan in plans]) for field in fields(Assignment)}
    )


@hardware
def test_capabilities_are_complete(models: dict[str, Accelerator], name: str) -> None:
    model = models[name]
    assert model.name == name
    assert model.energy_view in VIEWS
    assert len(model.fingerprint) == 64
    assert Dense() in model.capabilities.granularities
    assert "dense" in model.capabilities.storage_formats
    assert list(model.capabilities.weight_bits) == sorted(set(model.capabilities.weight_bits))
    assert model.fingerprint == load(name).fingerprint


@hardware
@settings(max_examples=DRAWS)
@given(data=st.data())
def test_parts_sum_to_totals_and_are_finite(
    models: dict[str, Accelerator], name: str, drawn_networks: Networks, plans: PlanMaker, data: st.DataObject
) -> None:
    network = data.draw(drawn_networks)
    plan = plans(network, **widest(models[name]), density=data.draw(st.floats(0.05, 1.0)))
    for view in VIEWS:
        cost = models[name].evaluate(network, plan, view=view)
        assert set(cost.latency_parts_cycles) == set(LATENCY_PARTS)
        assert all(level in LEVELS and operand in OPERANDS for level, operand in cost.energy_parts_pj)
        parts = [*cost.energy_parts_pj.values(), *cost.latency_parts_cycles.values(), cost.size_bits]
        assert all(part.shape == (1, 2) and np.isfinite(part).all() and (part >= 0).all() for part in parts)
        np.testing.assert_allclose(cost.energy_pj, sum(cost.energy_parts_pj.values()), rtol=1e-12)
        np.testing.assert_allclose(cost.energy_pj, sum(map(cost.level_pj, LEVELS)), rtol=1e-12)
        np.testing.assert_allclose(cost.energy_pj, sum(map(cost.operand_pj, OPERANDS)), rtol=1e-12)
        np.testing.assert_allclose(cost.latency_cycles, sum(cost.latency_parts_cycles.values()), rtol=1e-12)
        np.testing.assert_allclose(cost.energy_uj, cost.energy_pj.sum(axis=1) / 1e6, rtol=1e-12)
        assert (cost.energy_pj > 0).all()
        assert (cost.latency_cycles > 0).all()


@hardware
@settings(max_examples=DRAWS)
@given(data=st.data())
def test_batch_equals_loop_and_subset_equals_whole(
    models: dict[str, Accelerator], name: str, drawn_networks: Networks, plans: PlanMaker, data: st.DataObject
) -> None:
    network, model = data.draw(drawn_networks), models[name]
    choices = st.tuples(st.floats(0.05, 1.0), st.floats(0.1, 1.0))
    singles = [
        plans(network, **widest(model), density=density, kept=kept)
        for density, kept in data.draw(st.lists(choices, min_size=2, max_size=4))
    ]
    batch = model.evaluate(network, joined(singles))
    for row, plan in enumerate(singles):
        alone = model.evaluate(network, plan)
        np.testing.assert_array_equal(batch.energy_pj[row], alone.energy_pj[0])
        np.testing.assert_array_equal(batch.latency_cycles[row], alone.latency_cycles[0])
        np.testing.assert_array_equal(batch.size_bits[row], alone.size_bits[0])
    second = Assignment(**{field.name: getattr(singles[0], field.name)[:, 1:] for field in fields(Assignment)})
    part = model.evaluate(network, second, layers=[1])
    np.testing.assert_array_equal(part.energy_pj[0], batch.energy_pj[0, 1:])


@hardware
@pytest.mark.parametrize("view", VIEWS)
@settings(max_examples=DRAWS)
@given(data=st.data())
def test_less_is_never_dearer(
    models: dict[str, Accelerator],
    name: str,
    view: str,
    drawn_networks: Networks,
    plans: PlanMaker,
    data: st.DataObject,
) -> None:
    network, model = data.draw(drawn_networks), models[name]
    more = dict(widest(model), density=data.draw(st.floats(0.1, 1.0)), kept=data.draw(st.floats(0.2, 1.0)))
    less = dict(more)
    for key, value in more.items():
        if key in ("density", "kept"):
            less[key] = value * data.draw(st.floats(0.3, 1.0))
        else:
            less[key] = data.draw(st.sampled_from([b for b in model.capabilities.weight_bits if b <= value]))
    kind = data.draw(st.sampled_from(["element", "n:m", "kernel", "pattern", "block-punched", "block-column"]))
    high = model.evaluate(network, plans(network, **more, kind=kind), view=view)
    low = model.evaluate(network, plans(network, **less, kind=kind), view=view)
    slack = 1 + 1e-12
    assert (low.energy_pj <= high.energy_pj * slack).all()
    assert (low.latency_cycles <= high.latency_cycles * slack).all()
    assert (low.size_bits <= high.size_bits * slack).all()


@hardware
@settings(max_examples=DRAWS)
@given(data=st.data())
def test_limits_sum_to_the_latency_and_nothing_beats_the_roofline(
    models: dict[str, Accelerator], name: str, drawn_networks: Networks, plans: PlanMaker, data: st.DataObject
) -> None:
    network, model = data.draw(drawn_networks), models[name]
    assert isinstance(model, Explained)
    kind = data.draw(st.sampled_from(["element", "n:m", "block-punched"]))
    bits = data.draw(st.sampled_from(model.capabilities.weight_bits))
    widths = widest(model) | {"weight_bits": bits}
    plan = plans(network, **widths, density=data.draw(st.floats(0.05, 1.0)), kind=kind)
    latency, bounds = model.evaluate(network, plan).latency_cycles, model.bounds(network, plan)
    assert set(bounds.cycles) <= set(LIMITS)
    assert all((cycles >= 0).all() for cycles in bounds.cycles.values())
    np.testing.assert_allclose(sum(bounds.cycles.values()), latency, rtol=1e-12)
    roofline = bounds.roofline
    assert roofline is not None
    floor = np.maximum(
        roofline.macs / roofline.peak_macs_per_cycle, roofline.dram_bytes / roofline.dram_bytes_per_cycle
    )
    assert (floor <= latency * (1 + 1e-9)).all()


@settings(max_examples=DRAWS)
@given(data=st.data())
def test_under_search_the_objective_is_never_higher_with_fewer_bits_or_channels(
    models: dict[str, Accelerator], drawn_layers: st.SearchStrategy[Layer], data: st.DataObject
) -> None:
    """Mappings are searched again for the smaller problem; only the objective itself must not rise."""
    eyeriss, layer = models["eyeriss"], data.draw(drawn_layers)
    assert isinstance(eyeriss, Eyeriss)
    objective, policy = data.draw(st.sampled_from(OBJECTIVES)), data.draw(st.sampled_from(POLICIES))
    shape = group_shape(layer, 12, 12)[0]
    smaller = replace(
        shape,
        filters=data.draw(st.integers(max(1, shape.filters // 2), shape.filters)),
        channels=data.draw(st.integers(max(1, shape.channels // 2), shape.channels)),
    )
    low, high = sorted(data.draw(st.tuples(st.integers(2, 16), st.integers(2, 16))))

    def best(bits: int, of: GroupShape) -> float:
        parameters = replace(
            eyeriss.parameters, policy=policy, objective=objective, mapping_weight_bits=bits, mapping_input_bits=bits
        )
        mapper = parameters.mapper()
        return float(scores(mapper, of, Mappings.of(choose(mapper, of))).item())

    whole = best(high, shape)
    assert best(low, shape) <= whole * (1 + 1e-12)
    assert best(high, smaller) <= whole * 1.01, "roundings of the candidates are worth less than a percent"


@settings(max_examples=DRAWS)
@given(data=st.data())
def test_without_extensions_at_16_bits_eyeriss_is_the_chip(
    models: dict[str, Accelerator], drawn_networks: Networks, plans: PlanMaker, data: st.DataObject
) -> None:
    extended, chip = models["eyeriss"], models["eyeriss_v1"]
    assert isinstance(extended, Eyeriss)
    bare = extended.with_parameters(replace(extended.parameters, extensions=Extensions(False, False, False)))
    network = data.draw(drawn_networks)
    plan = plans(network, weight_bits=16, input_bits=16, output_bits=16, density=data.draw(st.floats(0.1, 1.0)))
    for view in VIEWS:
        ours, theirs = bare.evaluate(network, plan, view=view), chip.evaluate(network, plan, view=view)
        for place, part in theirs.energy_parts_pj.items():
            np.testing.assert_array_equal(ours.energy_parts_pj[place], part)
        np.testing.assert_array_equal(ours.latency_cycles, theirs.latency_cycles)
        assert set(ours.energy_parts_pj) == set(theirs.energy_parts_pj)
        np.testing.assert_array_equal(ours.size_bits, theirs.size_bits)


@settings(max_examples=DRAWS)
@given(data=st.data())
def test_views_share_latency_and_size(
    models: dict[str, Accelerator], drawn_networks: Networks, plans: PlanMaker, data: st.DataObject
) -> None:
    network, model = data.draw(drawn_networks), models["eyeriss"]
    normalised, joules = (model.evaluate(network, plans(network), view=view) for view in ("normalised", "joules"))
    np.testing.assert_array_equal(normalised.latency_cycles, joules.latency_cycles)
    np.testing.assert_array_equal(normalised.size_bits, joules.size_bits)
    assert "static" in {level for level, _ in joules.energy_parts_pj}
    assert not normalised.level_pj("static").any()


@settings(max_examples=DRAWS)
@given(data=st.data())
def test_normalised_energy_is_proportional_to_the_unit(
    models: dict[str, Accelerator], drawn_networks: Networks, plans: PlanMaker, data: st.DataObject
) -> None:
    model = models["eyeriss"]
    assert isinstance(model, Eyeriss)
    tenfold = model.with_parameters(replace(model.parameters, unit_pj=10 * model.parameters.unit_pj))
    network = data.draw(drawn_networks)
    plan = plans(network)
    np.testing.assert_allclose(
        tenfold.evaluate(network, plan).energy_uj, 10 * model.evaluate(network, plan).energy_uj, rtol=1e-12
    )


@hardware
@settings(max_examples=DRAWS)
@given(data=st.data())
def test_removed_channels_cost_what_the_smaller_layer_costs(
    models: dict[str, Accelerator],
    name: str,
    drawn_layers: st.SearchStrategy[Layer],
    alone: Callable[[Layer], Network],
    plans: PlanMaker,
    data: st.DataObject,
) -> None:
    layer, model = data.draw(drawn_layers.filter(lambda drawn: drawn.groups == 1)), models[name]
    kept = data.draw(st.floats(0.2, 1.0))
    smaller = replace(layer, K=max(1, round(kept * layer.K)), C=max(1, round(kept * layer.C)))
    if isinstance(model, Eyeriss):
        model = model.with_parameters(model.parameters, {layer.name: model.mapping_of(layer)})
    pruned = model.evaluate(alone(layer), plans(alone(layer), **widest(model), kept=kept))
    whole = model.evaluate(alone(smaller), plans(alone(smaller), **widest(model)))
    np.testing.assert_allclose(pruned.energy_pj[0, 1], whole.energy_pj[0, 1], rtol=1e-12)
    np.testing.assert_allclose(pruned.latency_cycles[0, 1], whole.latency_cycles[0, 1], rtol=1e-12)
    assert pruned.size_bits[0, 1] == whole.size_bits[0, 1]


@hardware
@pytest.mark.parametrize("kind", ["channel", "filter"])
def test_chosen_channels_carry_no_index_and_cost_the_smaller_layer(
    models: dict[str, Accelerator], name: str, kind: str
) -> None:
    """From the decision space on: half of the channels between two layers of 256 leaves layers of 128."""
    model, network = models[name], reference_network(3, 0.4)
    known = model.capabilities
    offered = Capabilities(
        tuple(one for one in known.granularities if one.kind in ("dense", kind)),
        known.weight_bits,
        known.activation_bits,
        known.storage_formats,
    )
    space = build_space(network, offered, known.weight_bits[-1])
    choice = space.baseline.copy()
    layer = 0 if kind == "filter" else 1
    (method,) = [at for at, one in enumerate(space.methods) if one.granularity.kind == kind][:1]
    choice[layer, METHOD], choice[layer, DENSITY] = method, int(np.flatnonzero(DENSITIES == 0.5)[0])
    pruned = space.resolve(choice[None])
    assert pruned.index_bits.tolist() == [[0.0, 0.0]]
    first, second = network.layers
    halved = replace(network, layers=(replace(first, K=128), replace(second, C=128)), groups=(), edges=())
    if isinstance(model, Eyeriss):
        model = model.with_parameters(model.parameters, {one.name: model.mapping_of(one) for one in network.layers})
    bits = known.weight_bits[-1]
    assert pruned.stored_bits.tolist() == [[one.weights * bits for one in halved.layers]]
    cost, smaller = model.evaluate(network, pruned), model.evaluate(halved, dense(halved, bits))
    np.testing.assert_allclose(cost.energy_pj, smaller.energy_pj, rtol=1e-12)
    np.testing.assert_allclose(cost.latency_cycles, smaller.latency_cycles, rtol=1e-12)


def test_every_group_of_a_convolution_is_priced(
    models: dict[str, Accelerator], alone: Callable[[Layer], Network], plans: PlanMaker
) -> None:
    depthwise = Layer("dw", "conv", 32, 32, 3, 3, 14, 14, 14, 14, 1, 32, "tensor1", None, (), 0)
    network = alone(depthwise)
    half = models["eyeriss"].evaluate(network, plans(network, kept=0.5))
    whole = models["eyeriss"].evaluate(network, plans(network))
    assert half.energy_pj[0, 1] == pytest.approx(whole.energy_pj[0, 1] / 2)
    assert half.latency_cycles[0, 1] == pytest.approx(whole.latency_cycles[0, 1] / 2)


def test_strided_pointwise_layers_read_only_the_pixels_they_use(
    models: dict[str, Accelerator], alone: Callable[[Layer], Network], plans: PlanMaker
) -> None:
    shortcut = Layer("s", "conv", 64, 32, 1, 1, 14, 14, 28, 28, 2, 1, "tensor1", None, (), 0)
    network = alone(shortcut)
    traffic = models["eyeriss"].evaluate(network, plans(network)).energy_parts_pj["dram", "inputs"][0, 1]
    assert traffic == pytest.approx(14 * 14 * 32 * 8 / 16 * 200 * 1.65)


@pytest.mark.parametrize("name", preset_names())
def test_wrong_requests_are_refused(
    models: dict[str, Accelerator], name: str, alone: Callable[..., Network], plans: PlanMaker
) -> None:
    network = alone()
    plan = plans(network)
    with pytest.raises(InvalidValueError, match="normalised, joules"):
        models[name].evaluate(network, plan, view="watts")
    with pytest.raises(InvalidValueError, match=r"\(plans, 0\)"):
        models[name].evaluate(network, plan, layers=[])


def test_a_layer_too_wide_for_the_buffer_is_named(
    models: dict[str, Accelerator], alone: Callable[[Layer], Network], plans: PlanMaker
) -> None:
    wide = Layer("wide", "conv", 4, 4, 3, 3, 8, 200_000, 8, 200_000, 1, 1, "tensor1", None, (), 0)
    network = alone(wide)
    with pytest.raises(InvalidValueError, match=r"layer 'wide' on hardware 'eyeriss'.*larger buffer"):
        models["eyeriss"].evaluate(network, plans(network))
