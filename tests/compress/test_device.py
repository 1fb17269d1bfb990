"""Networks on another device give what they do on the processor; the device is real where there is one."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from compress import measure
from compress.batches import CUDA_BYTES, LARGEST_CUDA_BATCH, batch_of, batch_on
from compress.device import CPU, chosen_device, device_of, device_title, moved, placed
from compress.equalise import equalised
from compress.layer_drops import LayerDrops
from compress.materialize import materialize
from compress.measure import Measurer
from compress.one_layer import OneLayerLoss
from compress.options import MeasureOptions
from compress.profile import Profile, images_sha256, profile
from compress.repair import LayerRepair
from compress.verify import verify
from networks.trace import TracedNetwork, trace
from plan.errors import InvalidValueError, UnsupportedNetworkError
from plan.scheme import DENSE, Element, Filter, Method, Scheme
from tests.compress.pretended import PRETENDED, Elsewhere, PretendedDevice, at_home

OPTIONS = {
    "standard": MeasureOptions(),
    "refitted": MeasureOptions(sequential_images=16, rounding_steps=12),
    "nothing kept": MeasureOptions(activation_cache_bytes=0, calibration_images=70),
}
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Plain(nn.Module):
    """No batch norms, a clip, a strided and a grouped convolution, a pooling and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 12, 1)
        self.grouped = nn.Conv2d(12, 12, 3, padding=1, groups=2, bias=False)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.hidden = nn.Linear(48, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu6(self.first(x))
        x = nn.functional.relu(self.second(x))
        x = nn.functional.relu(self.grouped(x), inplace=True)
        return self.head(torch.relu(self.hidden(torch.flatten(self.pool(x), 1))))


class Making(nn.Module):
    """Makes a tensor as it runs; torch.export writes down that it is on the processor."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.layer(x) * (torch.ones(x.shape[0], 4, 1, 1) + 1)).mean((2, 3))


class Homely(nn.Module):
    """Runs on the processor alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.cpu())


@pytest.fixture(scope="module")
def plain() -> TracedNetwork:
    torch.manual_seed(3)
    return trace(Plain().eval(), (3, 8, 8), "plain")


@pytest.fixture(scope="module", params=["with norms", "without"])
def subject(request: pytest.FixtureRequest, traced: TracedNetwork, plain: TracedNetwork) -> TracedNetwork:
    found: TracedNetwork = traced if request.param == "with norms" else plain
    return found


@pytest.fixture(scope="module")
def known(subject: TracedNetwork, images: Tensor) -> Profile:
    return profile(subject, images)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Enters the pretended device; repairs of single layers run outside of it, in a tenth of the time."""
    for name in ("repair", "refit"):
        monkeypatch.setattr(LayerRepair, name, at_home(getattr(LayerRepair, name)))
    with PretendedDevice():
        yield


def plans(traced: TracedNetwork) -> list[list[Scheme]]:
    """Returns plans the second of which differs from the first in the last layer alone."""
    mixed = [Scheme(Method(Element(), "second-order"), 0.5, 4, 6) for _ in traced.network.layers]
    pruned = [Scheme(DENSE, 1.0, 8, 8), Scheme(Method(Filter(), "second-order"), 0.5, 5, 8)]
    pruned += [Scheme(DENSE, 1.0, 3, 8) for _ in traced.network.layers[2:]]
    return [mixed, [*mixed[:-1], Scheme(DENSE, 1.0, 3, 6)], pruned]


def arrays(found: Profile) -> Iterator[tuple[str, np.ndarray]]:
    yield "zero_in", found.zero_in
    yield "zero_out", found.zero_out
    yield from found.activation_ranges.items()
    for index, layer in enumerate(found.layers):
        for item in fields(layer):
            yield f"{index} {item.name}", np.asarray(getattr(layer, item.name))


def test_the_pretended_device_mixes_with_nothing(elsewhere: None) -> None:
    here = torch.arange(6.0).reshape(2, 3)
    there = here.to(PRETENDED)
    assert isinstance(there, Elsewhere)
    assert there.device == torch.zeros(2, device=PRETENDED).device == PRETENDED
    assert torch.equal((there @ there.T + 1).cpu(), here @ here.T + 1)
    assert type(there.cpu()) is Tensor
    odds = torch.softmax(there, 1)
    mistakes: tuple[Callable[[], object], ...] = (
        lambda: there + here,
        lambda: torch.cat((there, here)),
        lambda: there[:, torch.arange(2)],
        lambda: torch.nn.functional.linear(here, there),
        lambda: torch.multinomial(odds, 1, generator=torch.Generator()),
        there.numpy,
    )
    for mistake in mistakes:
        with pytest.raises(RuntimeError):
            mistake()


def test_a_profile_is_the_same_elsewhere(
    elsewhere: None, subject: TracedNetwork, known: Profile, images: Tensor
) -> None:
    found = profile(subject, images, device=PRETENDED)
    assert found.calibration_sha256 == known.calibration_sha256 == images_sha256(images.to(PRETENDED))
    for (name, one), (_, other) in zip(arrays(found), arrays(known), strict=True):
        assert type(one) is np.ndarray
        assert np.array_equal(one, other), name
    assert device_of(subject.module) == CPU


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_plans_measure_the_same_elsewhere(
    elsewhere: None, subject: TracedNetwork, known: Profile, images: Tensor, options: MeasureOptions
) -> None:
    options = replace(options, integers=False)  # as everywhere but on processors
    here = Measurer(subject, known, images, options=options)
    there = Measurer(subject, known, images, options=options, device=PRETENDED)
    assert np.array_equal(there.dense_outputs(images), here.dense_outputs(images))
    kept = images.to(PRETENDED)
    for plan in plans(subject):
        expected = here.outputs(plan, images)
        for shown in (images, kept):
            assert np.array_equal(there.outputs(plan, shown), expected)
        for one, other in zip(there.repaired(plan), here.repaired(plan), strict=True):
            assert np.array_equal(one.weight, other.weight)
    assert all(isinstance(layer.weight, Elsewhere) for layer in there.layers)
    assert device_of(subject.module) == CPU


def test_what_is_kept_lives_on_the_device(elsewhere: None, traced: TracedNetwork, images: Tensor) -> None:
    there = Measurer(traced, profile(traced, images), images, device=PRETENDED)
    for plan in plans(traced)[:2]:
        there.outputs(plan, images)
    assert there.resumption.bytes > 0
    assert isinstance(there.images, Elsewhere)
    values = [value for by_place in there.resumption._values.values() for value in by_place.values()]
    assert values
    assert all(isinstance(value, Elsewhere) for value in values)


def test_one_layer_costs_the_same_elsewhere(
    elsewhere: None, subject: TracedNetwork, known: Profile, images: Tensor
) -> None:
    here, there = (OneLayerLoss(Measurer(subject, known, images, device=on), images) for on in (CPU, PRETENDED))
    for index, scheme in enumerate(plans(subject)[2]):
        assert there.weights(index, scheme) == here.weights(index, scheme)
        assert there.activations(index, 4) == here.activations(index, 4)


def test_layer_drops_are_the_same_elsewhere(
    elsewhere: None, traced: TracedNetwork, profiled: Profile, images: Tensor
) -> None:
    labels, scheme = np.arange(len(images)) % 5, Scheme(DENSE, 1.0, 3, 4)
    options = MeasureOptions(integers=False)
    measurers = [Measurer(traced, profiled, images, options=options, device=on) for on in (CPU, PRETENDED)]
    drops = [LayerDrops(measurer, images, labels).drop(1, "w3a4", scheme) for measurer in measurers]
    assert drops[0] == drops[1]


@pytest.mark.parametrize("options", [OPTIONS["standard"], OPTIONS["refitted"]], ids=["standard", "refitted"])
def test_an_applied_plan_comes_back(
    elsewhere: None, subject: TracedNetwork, known: Profile, images: Tensor, options: MeasureOptions
) -> None:
    plan = plans(subject)[2]
    there = Measurer(subject, known, images, options=options, device=PRETENDED)
    compressed = there.apply(plan)
    assert verify(compressed) == ()
    tensors = (*compressed.module.parameters(), *compressed.module.buffers())
    assert not any(isinstance(tensor, Elsewhere) for tensor in tensors)
    smaller = materialize(compressed)
    assert verify(smaller) == ()
    with torch.inference_mode():
        found = smaller.module(images).numpy()
    assert np.allclose(found, there.outputs(plan, images), atol=1e-4)


def test_a_network_is_equalised_where_it_is(elsewhere: None, plain: TracedNetwork, images: Tensor) -> None:
    here, there = equalised(plain, images), equalised(placed(plain, PRETENDED), images)
    assert not torch.equal(here.module.first.weight, plain.module.first.weight)
    for (name, one), other in zip(here.module.state_dict().items(), there.module.state_dict().values(), strict=True):
        assert isinstance(other, Elsewhere), name
        assert torch.equal(other.cpu(), one), name


def test_more_images_together_give_the_same_batches(
    traced: TracedNetwork, profiled: Profile, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plans(traced)[0]
    monkeypatch.setattr(measure, "batch_of", lambda network: 32)
    expected = list(Measurer(traced, profiled, images).batches(plan, images))
    monkeypatch.setattr(measure, "batch_on", lambda device, network: 96)
    found = list(Measurer(traced, profiled, images).batches(plan, images))
    assert [len(batch) for batch in found] == [len(batch) for batch in expected] == [32] * 5
    assert np.allclose(np.concatenate(found), np.concatenate(expected), atol=1e-5)


def test_batches_on_cuda_are_larger_by_a_whole_number(traced: TracedNetwork) -> None:
    assert batch_on(CPU, traced.network) == batch_of(traced.network)
    for channels, side in ((16, 32), (64, 112), (96, 112), (512, 448)):
        layer = replace(traced.network.layers[0], K=channels, P=side, Q=side)
        network = replace(traced.network, layers=(layer,))
        batch, together = batch_of(network), batch_on(torch.device("cuda"), network)
        assert together % batch == 0
        assert together == batch or together <= min(CUDA_BYTES // (4 * channels * side**2), LARGEST_CUDA_BATCH)
    assert batch_on(torch.device("cuda"), traced.network) > batch_of(traced.network)


def test_a_network_is_placed_in_a_copy(elsewhere: None, traced: TracedNetwork) -> None:
    assert placed(traced, CPU) is traced
    there = placed(traced, PRETENDED)
    assert device_of(there.module) == PRETENDED
    assert device_of(traced.module) == CPU
    assert placed(there, PRETENDED) is there
    assert placed(there, CPU) is not there
    assert device_of(placed(there, CPU).module) == CPU


def test_tensors_that_a_graph_makes_move_with_it(elsewhere: None) -> None:
    making, x = trace(Making().eval(), (3, 8, 8), "making"), torch.randn(2, 3, 8, 8)
    assert [node.kwargs["device"] for node in making.module.graph.nodes if "device" in node.kwargs] == [CPU]
    expected = making.module(x)
    with pytest.raises(RuntimeError, match="on the processor"):
        copy.deepcopy(making.module).to(PRETENDED)(x.to(PRETENDED))
    there = placed(making, PRETENDED)
    assert torch.equal(there.module(x.to(PRETENDED)).cpu(), expected)
    assert torch.equal(moved(there.module, CPU)(x), expected)
    assert torch.equal(making.module(x), expected)


def test_a_network_of_the_processor_alone_is_refused(elsewhere: None, traced: TracedNetwork) -> None:
    with pytest.raises(UnsupportedNetworkError, match=r"'small' does not run on meta.*--device cpu"):
        placed(replace(traced, module=fx.symbolic_trace(Homely())), PRETENDED)


def test_the_choice_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto") == chosen_device("cpu") == CPU
    assert device_title(CPU).startswith("cpu")
    with pytest.raises(InvalidValueError, match="no CUDA device here"):
        chosen_device("cuda")
    with pytest.raises(InvalidValueError, match=r"'gpu' is unknown.*auto, cpu, cuda"):
        chosen_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"number {device.index}")
    assert chosen_device("cpu") == CPU
    assert chosen_device("auto") == chosen_device("cuda") == torch.device("cuda", 1)
    assert device_title(torch.device("cuda", 1)) == "cuda (number 1)"


@cuda
def test_a_profile_on_cuda_is_that_of_the_processor(subject: TracedNetwork, known: Profile, images: Tensor) -> None:
    found = profile(subject, images, device=chosen_device("cuda"))
    for (name, one), (_, other) in zip(arrays(found), arrays(known), strict=True):
        assert np.allclose(one, other, rtol=1e-3, atol=1e-4 * max(float(np.abs(other).max()), 1e-6)), name


@cuda
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_plans_on_cuda_measure_as_on_the_processor(
    subject: TracedNetwork, known: Profile, images: Tensor, options: MeasureOptions
) -> None:
    here = Measurer(subject, known, images, options=options)
    there = Measurer(subject, known, images, options=options, device=chosen_device("cuda"))
    assert np.allclose(there.dense_outputs(images), here.dense_outputs(images), atol=1e-3)
    for plan in plans(subject):
        found, expected = there.outputs(plan, images), here.outputs(plan, images)
        assert np.abs(found - expected).mean() < 0.02 * np.abs(expected).mean()  # a few values round the other way
        assert np.array_equal(there.outputs(plan, images), found)
        assert verify(there.apply(plan)) == ()


@cuda
def test_one_layer_on_cuda_costs_as_on_the_processor(subject: TracedNetwork, known: Profile, images: Tensor) -> None:
    here, there = (
        OneLayerLoss(Measurer(subject, known, images, device=on), images) for on in (CPU, chosen_device("cuda"))
    )
    for index, scheme in enumerate(plans(subject)[2]):
        assert there.weights(index, scheme) == pytest.approx(here.weights(index, scheme), rel=0.02, abs=1e-6)
