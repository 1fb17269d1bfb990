"""Networks on integers: the sums of the float network, exactly; levels where levels are read, values elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.nn import functional

from compress.device import CPU, device_title
from compress.eight_bits import integers_are_exact
from compress.fake_quant import FakeQuantiser
from compress.integers import IntegerInterpreter
from compress.measure import Measurer
from compress.options import DEFAULT_OPTIONS, MeasureOptions
from compress.profile import Profile, profile
from compress.quantize import ActivationRange
from compress.repair import RepairedLayer
from networks.trace import TracedNetwork, trace
from plan.scheme import DENSE, Element, Method, NofM, Scheme

pytestmark = pytest.mark.skipif(
    not integers_are_exact(), reason="this processor does not multiply 8-bit levels exactly"
)
FLOAT = replace(DEFAULT_OPTIONS, integers=False)
SAME = 2e-3
"""Share of the outputs' spread: a calibration image that falls on another level moves every statistic a little."""


class Branching(nn.Module):
    """Convolutions with and without norms, strided and widened; tensors that convolutions alone read, and others."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.first, self.first_norm = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.second, self.second_norm = nn.Conv2d(12, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.bare = nn.Conv2d(8, 10, (3, 3), stride=2, padding=(1, 2), dilation=(1, 2))
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem_norm(self.stem(x)))
        y = functional.relu(self.first_norm(self.first(x)))
        x = functional.relu(self.second_norm(self.second(y)) + x)
        return self.head(functional.relu(self.bare(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def branching() -> TracedNetwork:
    generator = torch.Generator().manual_seed(2)
    module = Branching().eval()
    with torch.no_grad():
        for name, part in module.named_parameters():
            part.copy_(torch.randn(part.shape, generator=generator) * 0.3 + (1.0 if "norm.weight" in name else 0.0))
    return trace(module, (3, 8, 8), "branching")


@pytest.fixture(scope="module")
def shown() -> Tensor:
    return torch.randn(96, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def known(branching: TracedNetwork, shown: Tensor) -> Profile:
    return profile(branching, shown, seed=0)


def plan(traced: TracedNetwork, *, weights: int, activations: int, method: Method = DENSE) -> tuple[Scheme, ...]:
    density = 1.0 if method == DENSE else 0.5
    return tuple(Scheme(method, density, weights, activations) for _ in traced.network.layers)


def site_of(measurer: Measurer, name: str) -> fx.Node:
    assert measurer.integers is not None
    return next(node for node in measurer.integers.sites if node.target == name)


def test_which_layers_run_on_integers(branching: TracedNetwork, known: Profile, shown: Tensor) -> None:
    """What `first` writes only `second` reads; sums or the head read what the others write."""
    found = Measurer(branching, known, shown).integers
    assert found is not None
    sites = {str(node.target): site for node, site in found.sites.items()}
    assert set(sites) == {"stem", "first", "second", "bare"}
    assert {name for name, site in sites.items() if site.norm is None} == {"bare"}
    assert {name for name, site in sites.items() if site.writes is not None} == {"first"}
    assert Measurer(branching, known, shown, options=FLOAT).integers is None


@pytest.mark.parametrize(("weights", "activations"), [(8, 8), (4, 6), (3, 5), (2, 4)])
@pytest.mark.parametrize("method", [DENSE, Method(Element(), "second-order"), Method(NofM(2, 4), "second-order")])
def test_sums_are_those_of_the_float_network(
    branching: TracedNetwork, known: Profile, shown: Tensor, weights: int, activations: int, method: Method
) -> None:
    """Of many roundings a few fall the other way, so that single outputs are off by a step, most of them not at all."""
    schemes = plan(branching, weights=weights, activations=activations, method=method)
    exact, usual = (Measurer(branching, known, shown, options=options) for options in (DEFAULT_OPTIONS, FLOAT))
    outputs = usual.outputs(schemes, shown)
    difference = np.abs(exact.outputs(schemes, shown) - outputs)
    assert np.median(difference) < SAME * np.std(outputs)
    assert difference.max() < 0.2 * np.std(outputs)
    for one, other in zip(exact.repaired(schemes), usual.repaired(schemes), strict=True):
        assert np.allclose(one.weight, other.weight, rtol=1e-3, atol=1e-6)


def test_a_layer_by_hand() -> None:
    """Levels 3 and 5 above a zero point of 1, weights of 2 and -1 steps of 0.5, in steps of 0.25: 0.25 * 0.5 * 0."""
    conv = nn.Conv2d(64, 1, 1)
    with torch.no_grad():
        conv.bias = nn.Parameter(torch.tensor([0.75]))
    interpreter, quantiser = alone(conv)
    quantiser.chosen = ActivationRange(4, 0.25, 1)
    levels = np.zeros((1, 64), dtype=np.int8)
    levels[0, :2] = 2, -1
    interpreter.take([RepairedLayer(levels, np.array([-0.5], np.float32), np.full((1, 8), 255, np.uint8), 4)])
    values = torch.zeros(1, 64, 1, 1)
    values[0, :2, 0, 0] = torch.tensor([0.5, 1.1])  # 2 and 4 steps: levels 3 and 5
    (found,) = interpreter.run(values).flatten().tolist()
    assert found == 0.25 * -0.5 * (2 * 2 - 4) + 0.75
    values[0, 1, 0, 0] = -9.0  # clamped to a step below zero
    (found,) = interpreter.run(values).flatten().tolist()
    assert found == 0.25 * -0.5 * (2 * 2 + 1) + 0.75


def alone(conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> tuple[IntegerInterpreter, FakeQuantiser]:
    """Returns what runs a rounding, a convolution and maybe a norm, and the rounding."""
    graph = fx.Graph()
    rounded = graph.call_module("rounding", (graph.placeholder("x"),))
    layer = graph.call_module("conv", (rounded,))
    graph.output(layer if norm is None else graph.call_module("norm", (layer,)))
    quantiser = FakeQuantiser()
    parts: dict[str, nn.Module] = {"rounding": quantiser, "conv": conv}
    module = fx.GraphModule(parts | ({} if norm is None else {"norm": norm}), graph)
    return IntegerInterpreter(module, [layer]), quantiser


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    bits=st.integers(2, 8),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    zero_point=st.integers(0, 3),
    normed=st.booleans(),
    depthwise=st.booleans(),
)
def test_any_geometry_gives_the_exact_sum(
    seed: int, bits: int, stride: int, padding: int, dilation: int, zero_point: int, normed: bool, depthwise: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    conv = nn.Conv2d(6, 6, 3, stride, padding, dilation, groups=6 if depthwise else 1, bias=not normed).eval()
    norm = nn.BatchNorm2d(6).eval() if normed else None
    if norm is not None:
        with torch.no_grad():
            norm.weight.copy_(torch.randn(6, generator=generator))  # negative ones, too
            norm.running_mean = torch.randn(6, generator=generator)
            norm.running_var = torch.rand(6, generator=generator) + 0.5
    interpreter, quantiser = alone(conv, norm)
    quantiser.chosen = ActivationRange(bits, 0.1, zero_point)
    shape, reach = (6, conv.weight[0].numel()), 2 ** (bits - 1)
    levels = torch.randint(-reach, reach, shape, generator=generator, dtype=torch.int8)
    scale = torch.rand(6, generator=generator) + 0.1
    interpreter.take([RepairedLayer(levels.numpy(), scale.numpy(), np.zeros((6, 9), np.uint8), bits)])
    assert len(interpreter.sites) == 1
    values = torch.randn(2, 6, 9, 9, generator=generator)
    with torch.inference_mode():
        found = interpreter.run(values)
        weight = (levels.double() * scale.double()[:, None]).reshape(conv.weight.shape)
        rounded, bias = quantiser(values).double(), None if conv.bias is None else conv.bias.double()
        wanted = torch.conv2d(rounded, weight, bias, stride, padding, dilation, conv.groups)
        wanted = wanted if norm is None else norm.double()(wanted)
    assert torch.allclose(found.double(), wanted, rtol=1e-5, atol=1e-4)


class Capped(nn.Module):
    """As mobile networks are: widened, depthwise, narrowed, rectified below six, without norms."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.deep = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.narrow, self.head = nn.Conv2d(16, 8, 1), nn.Linear(8, 5)
        self.capping = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        y = self.narrow(functional.relu6(self.deep(self.capping(self.wide(x)))))
        return self.head((x + y).mean((2, 3)))


def test_levels_pass_capping_rectifiers() -> None:
    """Values are pushed beyond six, so that the cap is what most of the highest levels stand for."""
    generator = torch.Generator().manual_seed(4)
    module = Capped().eval()
    with torch.no_grad():
        for part in module.parameters():
            part.copy_(torch.randn(part.shape, generator=generator))
    traced, images = trace(module, (8, 6, 6), "capped"), torch.randn(80, 8, 6, 6, generator=generator)
    found, schemes = profile(traced, images, seed=0), plan(traced, weights=6, activations=6)
    exact, usual = (Measurer(traced, found, images, options=options) for options in (DEFAULT_OPTIONS, FLOAT))
    assert exact.integers is not None
    ends = {str(node.target): site for node, site in exact.integers.sites.items()}
    assert {name: site.cap for name, site in ends.items() if site.writes is not None} == {"wide": 6.0, "deep": 6.0}
    outputs = usual.outputs(schemes, images)
    difference = np.abs(exact.outputs(schemes, images) - outputs)
    assert np.median(difference) < SAME * np.std(outputs)
    assert [ends[name].target is not None for name in ("wide", "deep")] == [True, True]
    assert float(usual.module.get_submodule("wide")(images).max()) > 6.0


def test_wide_weights_run_in_float() -> None:
    conv = nn.Conv2d(64, 1, 1, bias=False)
    interpreter, quantiser = alone(conv)
    quantiser.chosen = ActivationRange(8, 0.01, 0)
    wide = np.full((1, 64), 1000, np.int16)
    interpreter.take([RepairedLayer(wide, np.ones(1, np.float32), np.zeros((1, 8), np.uint8), 16)])
    values = torch.rand(2, 64, 3, 3)
    assert torch.equal(interpreter.run(values), conv(quantiser(values)))  # on levels that have to become values again


def test_who_watches_a_norm_sees_what_it_reads(branching: TracedNetwork, known: Profile, shown: Tensor) -> None:
    """Statistics are taken before norms: with a hook on the norm its input is the bare sum, not the folded one."""
    schemes, seen, outputs = plan(branching, weights=4, activations=6), [], []
    for options in (DEFAULT_OPTIONS, FLOAT):
        measurer = Measurer(branching, known, shown, options=options)
        measurer.load(schemes)
        inputs: list[Tensor] = []
        norm = measurer.module.get_submodule("first_norm")
        hook = norm.register_forward_pre_hook(lambda module, read, into=inputs: into.append(read[0].clone()))
        measurer.outputs(schemes, shown)
        hook.remove()
        seen.append(torch.cat(inputs))
        outputs.append(measurer.outputs(schemes, torch.clone(shown)))
    assert float((seen[0] - seen[1]).abs().median()) < SAME * float(seen[1].std())
    assert np.median(np.abs(outputs[0] - outputs[1])) < SAME * np.std(outputs[1])


@pytest.mark.parametrize("options", [DEFAULT_OPTIONS, replace(DEFAULT_OPTIONS, sequential_images=16)])
def test_resumed_runs_on_integers_are_whole_runs(
    branching: TracedNetwork,
    known: Profile,
    shown: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    options: MeasureOptions,
) -> None:
    monkeypatch.setattr("compress.batches.LARGEST_BATCH", 16)
    resumed = Measurer(branching, known, shown, options=options)
    whole = Measurer(branching, known, shown, options=replace(options, activation_cache_bytes=0))
    mild, narrow = (plan(branching, weights=width, activations=width)[0] for width in (8, 4))
    for changed in [(4,), (3, 4), (3,), (), (0,), (0, 4), (2,), (2, 4)]:
        schemes = tuple(narrow if index in changed else mild for index in range(5))
        assert np.array_equal(resumed.outputs(schemes, shown), whole.outputs(schemes, shown)), changed
        if changed == (3,):
            resumed.dense_outputs(shown)
    assert resumed.resumption.nodes_run < whole.resumption.nodes_run


def test_answers_do_not_depend_on_the_batch(
    branching: TracedNetwork, known: Profile, shown: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemes, found = plan(branching, weights=4, activations=6), []
    for batch in (64, 7):
        measurer = Measurer(branching, known, shown)
        monkeypatch.setattr(measurer, "together", batch)
        found.append(measurer.outputs(schemes, shown))
    assert np.array_equal(*found)


def test_a_processor_that_cannot_runs_in_float(
    branching: TracedNetwork, known: Profile, shown: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saturated sums, as of processors without 8-bit products, are found out; so are builds without the operations."""
    real = torch.ops.onednn.qconv2d_pointwise
    for broken in (lambda *args: real(*args).clamp(max=32767.0), missing):
        integers_are_exact.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(torch.ops.onednn, "qconv2d_pointwise", broken)
            assert not integers_are_exact()
            assert device_title(CPU) == "cpu"
            assert Measurer(branching, known, shown).integers is None
        integers_are_exact.cache_clear()
    assert integers_are_exact()
    assert device_title(CPU) == "cpu (8-bit integers)"


def missing(*args: object) -> Tensor:
    raise RuntimeError("no such operation")
