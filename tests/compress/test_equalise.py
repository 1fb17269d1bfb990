"""Channels are scaled alike, and the network computes what it did."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.equalise import CONVERGED, equalised, factors, pairs, with_channel_clips
from compress.export import export
from compress.loading import load_compressed
from compress.materialize import materialize
from compress.measure import Measurer
from compress.options import MeasureOptions
from compress.profile import profile
from compress.quantize import WeightQuantiser
from compress.repair import RepairOptions
from compress.repair_record import EQUALISATION, REPAIRS, equalises, options_of, recorded
from networks.trace import TracedNetwork, trace
from plan.errors import UnsupportedNetworkError
from plan.scheme import DENSE, Filter, Method, Scheme


class Inverted(nn.Module):
    """A MobileNetV2 block with folded batch norms: 1x1 and depthwise layers behind ReLU6s, then a classifier."""

    def __init__(self, activation: type[nn.Module] = nn.ReLU6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.expand = nn.Conv2d(6, 16, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.project = nn.Conv2d(16, 6, 1)
        self.head = nn.Conv2d(6, 8, 1)
        self.activation = activation()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.inner = nn.Linear(32, 10)
        self.outer = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.stem(x))
        y = self.activation(self.depthwise(self.activation(self.expand(x))))
        x = x + self.project(y)
        x = torch.flatten(self.pool(self.activation(self.head(x))), 1)
        return self.outer(torch.dropout(torch.relu(self.inner(x)), 0.5, False))


def badly_scaled(activation: type[nn.Module] = nn.ReLU6) -> nn.Module:
    """Returns the block with channels that differ up to a hundredfold, as folded batch norms leave them."""
    generator = torch.Generator().manual_seed(3)
    module = Inverted(activation).eval()
    with torch.no_grad():
        for part in module.children():
            for value in part.parameters():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.5)
        for writer, reader in ((module.expand, module.depthwise.weight), (module.depthwise, module.project.weight)):
            scale = 10 ** (2 * torch.rand(16, generator=generator) - 1)
            writer.weight.mul_(scale[:, None, None, None])
            writer.bias.mul_(scale)
            reader.div_(scale[:, None, None, None] if len(reader) == 16 else scale[:, None, None])
    return module


def outputs(traced: TracedNetwork, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return traced.module(images)


def assert_same(before: TracedNetwork, after: TracedNetwork, images: Tensor) -> None:
    expected, found = outputs(before, images), outputs(after, images)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_network_with_batch_norms_computes_the_same(traced: TracedNetwork, images: Tensor) -> None:
    assert [(pair.writer, pair.readers) for pair in pairs(traced)] == [
        ("inner_norm", ("depthwise",)),
        ("depthwise", ("outer",)),
    ]
    kept = copy.deepcopy(traced.module.state_dict())
    after = equalised(traced, images)
    assert not torch.allclose(after.module.get_parameter("inner_norm.weight"), kept["inner_norm.weight"])
    assert torch.equal(after.module.get_parameter("inner.weight"), kept["inner.weight"])
    assert_same(traced, after, images)
    assert all(torch.equal(value, kept[name]) for name, value in traced.module.state_dict().items())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Hardswish])
def test_a_network_without_batch_norms_computes_the_same(activation: type[nn.Module], images: Tensor) -> None:
    traced = trace(badly_scaled(activation), (3, 8, 8), "inverted")
    assert outputs(traced, images).abs().max() > 1
    writers = [pair.writer for pair in pairs(traced)]
    assert writers == (["inner"] if activation is nn.Hardswish else ["expand", "depthwise", "head", "inner"])
    assert_same(traced, equalised(traced, images), images)


def test_two_layers_by_hand() -> None:
    module = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1)).eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[8.0, 0.0], [0.0, 1.0]])[:, :, None, None])
        module[0].bias.copy_(torch.tensor([0.0, 1.0]))
        module[2].weight.copy_(torch.tensor([[0.5, -4.0], [0.25, 1.0]])[:, :, None, None])
    images = torch.tensor([[[[1.0]], [[-3.0]]], [[[-2.0]], [[0.0]]]])  # the tensor's largest magnitudes: 8 and 1
    after = equalised(trace(module, (2, 1, 1), "two"), images)
    first, second = (
        after.module.get_parameter("0.weight")[:, :, 0, 0],
        after.module.get_parameter("2.weight")[:, :, 0, 0],
    )
    # shares: 1 and 1/8 of the tensor and of what writes it, 1/8 and 1 of what reads it; s = sqrt(8) and sqrt(1/8)
    torch.testing.assert_close(first, 8**0.5 * torch.eye(2))
    torch.testing.assert_close(after.module.get_parameter("0.bias"), torch.tensor([0.0, 8**0.5]))
    torch.testing.assert_close(second, 2**0.5 * torch.tensor([[1.0, -1.0], [0.5, 0.25]]))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
def test_ranges_converge(activation: type[nn.Module], images: Tensor) -> None:
    once = equalised(trace(badly_scaled(activation), (3, 8, 8), "inverted"), images)
    twice = equalised(once, images)
    for name, value in once.module.state_dict().items():
        torch.testing.assert_close(twice.module.state_dict()[name], value, rtol=3 * CONVERGED, atol=1e-6)


def test_no_range_grows(images: Tensor) -> None:
    traced = trace(badly_scaled(nn.ReLU), (3, 8, 8), "inverted")
    before, after = profile(traced, images), profile(equalised(traced, images), images)
    pairs_of = zip(before.layers, after.layers, strict=True)
    weights = [np.abs(new.weight).max() / np.abs(old.weight).max() for old, new in pairs_of]
    tensors = [after.range_of(name, 16).scale / before.range_of(name, 16).scale for name in traced.tensor_nodes]
    assert max(*weights, *tensors) <= 1.01
    assert min(weights) < 0.5
    assert min(tensors) < 0.5


def test_dead_channels_are_left_alone() -> None:
    found = factors(torch.tensor([1.0, 0.0, 0.25, 1e-9]), torch.tensor([0.25, 1.0, 0.0, 1.0]))
    assert found.tolist() == [2.0, 1.0, 1.0, 1.0]


def test_a_clip_moves_with_its_channel(images: Tensor) -> None:
    traced = trace(badly_scaled(), (3, 8, 8), "inverted")
    strong = 20 * images
    after = equalised(traced, strong)
    tops = after.module.get_buffer(pairs(traced)[0].clips[0].path)
    assert tops.shape == (16, 1, 1)
    assert tops.max() / tops.min() > 2
    with torch.inference_mode():
        assert (traced.module.get_submodule("stem")(strong) > 6).any()
    assert_same(traced, after, strong)
    assert after.network == traced.network
    assert_same(traced, with_channel_clips(traced), strong)


class Joined(nn.Module):
    """Tensors that something else writes or reads too: an addition, a gate, a shared layer, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in range(4))
        self.shared = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](x) + x
        x = self.layers[1](x) * torch.sigmoid(x)
        x = self.shared(torch.relu(self.shared(torch.relu(self.layers[2](x)))))
        return self.last(torch.cat((torch.relu(self.layers[3](x)), x), 1)).mean((2, 3))


def test_tensors_with_other_readers_are_left_alone(images: Tensor) -> None:
    traced = trace(nn.Sequential(nn.Conv2d(3, 4, 1), Joined()), (3, 8, 8), "joined")
    assert pairs(traced) == ()
    with pytest.raises(UnsupportedNetworkError, match="no tensor to equalise"):
        equalised(traced, images)


def output_error(traced: TracedNetwork, images: Tensor, *, per_channel: bool) -> float:
    """Returns the relative squared error of the outputs at 6/8 bits, rounded to the nearest level, unrepaired."""
    repair = RepairOptions(update=False, quantiser=WeightQuantiser(per_channel=per_channel))
    options = MeasureOptions(repair=repair, recalibrate=False)
    measurer = Measurer(traced, profile(traced, images), images, options=options)
    expected = outputs(traced, images)
    found = torch.from_numpy(measurer.outputs([Scheme(DENSE, 1.0, 6, 8)] * len(traced.network.layers), images))
    return float((found - expected).square().sum() / expected.square().sum())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6])
def test_badly_scaled_channels_lose_less(activation: type[nn.Module], images: Tensor) -> None:
    traced = trace(badly_scaled(activation), (3, 8, 8), "inverted")
    after = equalised(traced, images)
    before = output_error(traced, images, per_channel=False)
    assert output_error(after, images, per_channel=False) < 0.5 * before


def test_a_written_network_runs_again(images: Tensor, tmp_path: Path) -> None:
    module = badly_scaled()
    traced = equalised(trace(module, (3, 8, 8), "inverted"), images)
    measurer = Measurer(traced, profile(traced, images), images)
    scheme = Scheme(DENSE, 1.0, 8, 8)
    schemes = [
        Scheme(Method(Filter(), "l1"), 0.5, 8, 8) if layer.name == "expand" else scheme
        for layer in traced.network.layers
    ]
    compressed = materialize(measurer.apply(schemes))
    assert compressed.module.get_buffer(pairs(trace(module, (3, 8, 8), "inverted"))[0].clips[0].path).shape == (8, 1, 1)
    network = {"name": "inverted", "input_shape": [3, 8, 8], "fingerprint": traced.network.fingerprint}
    path = tmp_path / "inverted.safetensors"
    export(compressed, path, {"plan": {"network": network, "repairs": [{"name": EQUALISATION, "parameters": {}}]}})
    with torch.inference_mode():
        assert torch.equal(load_compressed(path, module)(images), compressed.module(images))
    export(compressed, path := tmp_path / "inverted.pt2", {"plan": {}})
    with torch.inference_mode():
        found = torch.export.load(path).module()(images)
        torch.testing.assert_close(found, compressed.module(images))


def test_onnx_answers_alike(images: Tensor) -> None:
    pytest.importorskip("onnx", reason="needs the extra `onnx`")
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    pytest.importorskip("onnxscript", reason="needs the extra `onnx`")
    from compress import onnx_file, onnx_session

    traced = equalised(trace(badly_scaled(), (3, 8, 8), "inverted"), images)
    measurer = Measurer(traced, profile(traced, images), images)
    compressed = materialize(measurer.apply([Scheme(DENSE, 1.0, 8, 8)] * len(traced.network.layers)))
    session = onnx_session.open_session(onnx_file.compressed_model(compressed).SerializeToString())
    with torch.inference_mode():
        expected = compressed.module(images).numpy()
    assert onnx_session.agreement(expected, onnx_session.run(session, images)).unexplained == 0


@pytest.mark.parametrize("options", REPAIRS.values())
def test_the_record_tells_whether_channels_were_equalised(options: MeasureOptions) -> None:
    for was in (False, True):
        entries = [{"name": name, "parameters": each} for name, each in recorded(options, equalised=was)]
        assert equalises(entries) is was
        assert options_of(entries) == options
    assert entries[0]["name"] == EQUALISATION
