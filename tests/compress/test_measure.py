from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.measure import Measurer
from compress.options import MeasureOptions
from compress.profile import ACTIVATION_BITS, Profile, load_profile, profile, save_profile
from compress.repair import RepairOptions
from networks.trace import TracedNetwork, trace
from plan.errors import FileFormatError, InvalidValueError
from plan.scheme import DENSE, Channel, Element, Filter, Method, Scheme


def uniform(traced: TracedNetwork, scheme: Scheme) -> list[Scheme]:
    return [scheme] * len(traced.network.layers)


def with_layer(traced: TracedNetwork, name: str, method: Method, density: float) -> list[Scheme]:
    dense = Scheme(DENSE, 1.0, 16, 16)
    return [Scheme(method, density, 16, 16) if layer.name == name else dense for layer in traced.network.layers]


def test_sixteen_bits_change_next_to_nothing(measurer: Measurer, traced: TracedNetwork, images: Tensor) -> None:
    dense = measurer.dense_outputs(images)
    found = measurer.outputs(uniform(traced, Scheme(DENSE, 1.0, 16, 16)), images)
    assert np.abs(found - dense).max() < 0.01 * np.abs(dense).max()


def test_repairs_bring_the_outputs_nearer(traced: TracedNetwork, profiled: Profile, images: Tensor) -> None:
    scheme = uniform(traced, Scheme(Method(Element(), "second-order"), 0.5, 4, 6))
    errors = []
    for options in (
        MeasureOptions(),
        MeasureOptions(recalibrate=False),
        MeasureOptions(repair=RepairOptions(update=False), recalibrate=False),
    ):
        measurer = Measurer(traced, profiled, images, options=options)
        errors.append(float(np.square(measurer.outputs(scheme, images) - measurer.dense_outputs(images)).mean()))
    assert errors[0] < errors[1] < errors[2]


def test_measuring_is_deterministic_and_leaves_no_trace(
    measurer: Measurer, traced: TracedNetwork, profiled: Profile, images: Tensor
) -> None:
    scheme = uniform(traced, Scheme(Method(Element(), "second-order"), 0.5, 3, 4))
    other = uniform(traced, Scheme(DENSE, 1.0, 2, 2))
    first = measurer.outputs(scheme, images)
    measurer.outputs(other, images)
    measurer.dense_outputs(images)
    assert np.array_equal(measurer.outputs(scheme, images), first)
    assert np.array_equal(Measurer(traced, profiled, images).outputs(scheme, images), first)


def test_activations_are_really_rounded(measurer: Measurer, traced: TracedNetwork, images: Tensor) -> None:
    measurer.load(uniform(traced, Scheme(DENSE, 1.0, 8, 2)))
    seen: list[Tensor] = []
    handle = measurer.layers[1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    measurer.module(images[:4])
    handle.remove()
    assert 1 < len(seen[0].unique()) <= 4


def test_residual_add_reads_rounded_values(measurer: Measurer, traced: TracedNetwork) -> None:
    tensor = traced.network.layers[1].input_tensor
    node = next(node for node in measurer.module.graph.nodes if node.name == traced.tensor_nodes[tensor])
    assert [user.op for user in node.users] == ["call_module"]
    assert len(next(iter(node.users)).users) == 2


def test_filter_and_channel_decide_the_same_group(measurer: Measurer, traced: TracedNetwork) -> None:
    by_filter = measurer.channels.kept(with_layer(traced, "inner", Method(Filter(), "second-order"), 0.5))
    by_channel = measurer.channels.kept(with_layer(traced, "outer", Method(Channel(), "second-order"), 0.5))
    names = [layer.name for layer in traced.network.layers]
    inner, depthwise, outer = (names.index(name) for name in ("inner", "depthwise", "outer"))
    for kept in (by_filter, by_channel):
        assert kept[inner].outputs.sum() == 8
        assert np.array_equal(kept[inner].outputs, kept[outer].inputs)
        assert np.array_equal(kept[inner].outputs, kept[depthwise].outputs)
        assert kept[inner].inputs.all()
    assert np.array_equal(by_filter[inner].outputs, by_channel[inner].outputs)


@pytest.mark.parametrize("algorithm", ["l1", "l2"])
def test_filter_norms_rank_the_deciding_layer(measurer: Measurer, traced: TracedNetwork, algorithm: str) -> None:
    kept = measurer.channels.kept(with_layer(traced, "inner", Method(Filter(), algorithm), 0.25))
    index = [layer.name for layer in traced.network.layers].index("inner")
    weight = np.abs(measurer.profile.layers[index].weight) ** (1 if algorithm == "l1" else 2)
    assert set(np.flatnonzero(kept[index].outputs)) == set(np.argsort(weight.mean(1))[-4:])


def test_layer_error_grows_with_what_is_taken(measurer: Measurer, traced: TracedNetwork) -> None:
    method = Method(Element(), "second-order")
    index = [layer.name for layer in traced.network.layers].index("inner")
    errors = [measurer.layer_error(index, Scheme(method, density, 8, 8)) for density in (0.75, 0.5, 0.25)]
    assert 0 < errors[0] < errors[1] < errors[2]
    filters = [
        measurer.layer_error(index, Scheme(Method(Filter(), "second-order"), density, 8, 8)) for density in (0.75, 0.25)
    ]
    assert 0 < filters[0] < filters[1]


def test_wrong_number_of_schemes_is_refused(measurer: Measurer, images: Tensor) -> None:
    with pytest.raises(InvalidValueError, match="1 schemes"):
        measurer.outputs([Scheme(DENSE, 1.0, 8, 8)], images)


def test_profile_survives_the_file_and_is_repeatable(
    traced: TracedNetwork, profiled: Profile, images: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "profile.npz"
    save_profile(profiled, path)
    for found in (load_profile(path), profile(traced, images, seed=0)):
        assert found.calibration_sha256 == profiled.calibration_sha256
        assert found.activation_ranges.keys() == profiled.activation_ranges.keys()
        assert np.array_equal(found.zero_in, profiled.zero_in)
        for layer, other in zip(found.layers, profiled.layers, strict=True):
            assert np.array_equal(layer.moment, other.moment)
            assert np.array_equal(layer.fisher, other.fisher)
            assert layer.coherence == other.coherence
            assert np.array_equal(layer.activation_error, other.activation_error)


def test_profile_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.npz"
    path.write_bytes(b"not an archive")
    with pytest.raises(FileFormatError, match="not a readable profile"):
        load_profile(path)


def expected_moment(unfolded: Tensor, coherence: float) -> np.ndarray:
    """Returns E[x x^T] + coherence * cov(mean of x over positions), (D, D), of inputs (N, positions, D)."""
    flat, means = unfolded.reshape(-1, unfolded.shape[-1]), unfolded.mean(1)
    return (flat.T @ flat / len(flat)).numpy() + coherence * np.cov(means.T.numpy(), bias=True)


def test_moments_are_those_of_the_unfolded_inputs(traced: TracedNetwork, profiled: Profile, images: Tensor) -> None:
    unfolded = torch.nn.functional.unfold(images, 3, padding=1).transpose(1, 2).double()
    assert traced.network.layers[0].name == "stem"
    expected = expected_moment(unfolded, profiled.layers[0].coherence)
    assert np.allclose(np.diag(profiled.layers[0].moment[0]), np.diag(expected), rtol=1e-3)
    # pixels are drawn one by one here: shrinking finds that their covariances are chance
    assert np.allclose(profiled.layers[0].moment[0], expected, atol=0.03)
    assert np.allclose(profiled.layers[0].input_mean[0], unfolded.mean((0, 1)).numpy(), atol=1e-5)


def test_depthwise_moments_are_kept_per_channel(traced: TracedNetwork, profiled: Profile, images: Tensor) -> None:
    index = [layer.name for layer in traced.network.layers].index("depthwise")
    seen: list[Tensor] = []
    handle = traced.module.get_submodule("depthwise").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    with torch.no_grad():
        traced.module(images)
    handle.remove()
    unfolded = torch.nn.functional.unfold(seen[0][:, 3:4], 3, padding=1).transpose(1, 2).double()
    expected = expected_moment(unfolded, profiled.layers[index].coherence)
    assert profiled.layers[index].coherence > 0.0
    assert profiled.layers[index].moment.shape == (16, 9, 9)
    assert np.allclose(profiled.layers[index].moment[3], expected, rtol=1e-3, atol=1e-4)


def test_zero_fractions_and_activation_errors(traced: TracedNetwork, profiled: Profile) -> None:
    assert profiled.zero_in[0] == 0
    assert 0.1 < profiled.zero_in[1] < 0.9
    assert profiled.zero_out[0] == profiled.zero_in[1]
    assert profiled.zero_out[-1] == 0
    errors = profiled.layers[1].activation_error
    assert len(errors) == len(ACTIVATION_BITS)
    assert (np.diff(errors[:7]) < 0).all()


def test_behind_a_mean_over_positions_all_errors_add_up() -> None:
    """Gradients in front of the pooling are alike at all 16 positions: their squared sum is 16 sums of squares."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    found = profile(trace(module, (3, 4, 4), "pooled"), torch.randn(8, 3, 4, 4))
    assert found.layers[0].coherence == pytest.approx(15.0, rel=1e-5)
    assert found.layers[1].coherence == pytest.approx(0.0, abs=1e-6)
