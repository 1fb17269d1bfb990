import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors import safe_open
from torch import Tensor, nn

from compress.apply import Compressed
from compress.export import METADATA_FILE, export
from compress.materialize import masked, materialize, materialized
from compress.measure import Measurer
from compress.verify import check, verify
from networks.trace import TracedNetwork, trace
from plan.errors import InvalidValueError, MismatchError
from plan.scheme import DENSE, BlockPunched, Element, Filter, Method, NofM, Scheme
from tests.compress.torchvision_networks import NAMES

METHODS = {
    "inner": Scheme(Method(Filter(), "second-order"), 0.5, 5, 4),
    "outer": Scheme(Method(Element(), "second-order"), 0.5, 4, 5),
    "depthwise": Scheme(Method(BlockPunched(4, 1), "l1"), 0.75, 6, 6),
    "head": Scheme(Method(NofM(2, 4), "second-order"), 0.5, 8, 8),
}


@pytest.fixture
def compressed(measurer: Measurer, traced: TracedNetwork) -> Compressed:
    plain = Scheme(DENSE, 1.0, 8, 8)
    return measurer.apply([METHODS.get(layer.name, plain) for layer in traced.network.layers])


@torch.inference_mode()
def test_smaller_network_equals_the_masked_one(compressed: Compressed, images: Tensor) -> None:
    smaller = materialize(compressed)
    assert torch.allclose(smaller.module(images), compressed.module(images), atol=1e-5)
    assert smaller.module.get_submodule("inner").weight.shape == (8, 12, 3, 3)
    assert smaller.module.get_submodule("depthwise").weight.shape == (8, 1, 3, 3)
    assert smaller.module.get_submodule("outer").weight.shape == (12, 8, 1, 1)
    assert smaller.module.get_submodule("inner_norm").num_features == 8


def test_applied_networks_verify(compressed: Compressed) -> None:
    assert verify(compressed) == ()
    assert verify(materialize(compressed)) == ()


@pytest.mark.parametrize("name", ["stem", "inner", "depthwise", "outer", "head"])
@pytest.mark.parametrize("change", ["sign", "level", "off-grid", "removed"])
def test_one_flipped_weight_is_rejected(compressed: Compressed, name: str, change: str) -> None:
    weight = compressed.module.get_submodule(name).weight.data.flatten()
    index = int(torch.nonzero(weight)[3]) if change != "removed" else int(torch.nonzero(weight == 0)[0])
    record = next(record for record in compressed.records if record.target == name)
    row = index // (weight.numel() // len(record.scale))
    step = float(record.scale[row])
    flipped = {"sign": -weight[index], "level": weight[index] + step, "off-grid": weight[index] * 1.01, "removed": step}
    weight[index] = flipped[change]
    with pytest.raises(MismatchError, match=name):
        check(compressed)


def test_wrong_activation_width_is_rejected(compressed: Compressed, traced: TracedNetwork) -> None:
    records = [replace(record, scheme=replace(record.scheme, activation_bits=7)) for record in compressed.records]
    problems = verify(replace(compressed, records=tuple(records)))
    assert len(problems) == len(traced.tensor_nodes)


@torch.inference_mode()
def test_exported_program_gives_the_same_outputs(compressed: Compressed, images: Tensor, tmp_path: Path) -> None:
    smaller = materialize(compressed)
    path = tmp_path / "small.pt2"
    export(smaller, path, {"schema": "espalier.plan"})
    extra = {METADATA_FILE: ""}
    program = torch.export.load(path, extra_files=extra).module()
    assert torch.allclose(program(images), smaller.module(images), atol=1e-6)
    assert torch.allclose(program(images[:1]), smaller.module(images[:1]), atol=1e-6)
    content = json.loads(extra[METADATA_FILE])
    assert content["schema"] == "espalier.plan"
    assert content["layers"]["inner"]["weight_bits"] == 5
    assert [file.name for file in tmp_path.iterdir()] == ["small.pt2"]


def test_state_dict_holds_the_weights_and_what_was_done(compressed: Compressed, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    smaller = materialize(compressed)
    export(smaller, path, {"schema": "espalier.plan"})
    with safe_open(path, "pt") as archive:
        content = json.loads(archive.metadata()["espalier"])
        assert torch.equal(archive.get_tensor("inner.weight"), smaller.module.get_submodule("inner").weight)
    assert len(content["layers"]["inner"]["weight_scale"]) == 8
    assert {entry["bits"] for entry in content["activations"].values()} == {4, 5, 6, 8}


def test_unknown_format_is_refused(compressed: Compressed, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="gguf"):
        export(compressed, tmp_path / "network.gguf", {})
    assert list(tmp_path.iterdir()) == []


def network(name: str) -> nn.Module:
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    module: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.num_features, generator=generator) * 0.1)
            part.running_var.copy_(torch.rand(part.num_features, generator=generator) + 0.5)
    return module.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_random_filter_pruning_of_every_network(name: str) -> None:
    traced = trace(network(name), (3, 224, 224), name)
    rng = np.random.default_rng(0)
    masks = []
    for group in traced.network.groups:
        keep = rng.random(group.channels) < rng.uniform(0.4, 1.0) if group.prunable else np.ones(group.channels, bool)
        keep[0] = True
        masks.append(keep)
    assert any(not mask.all() for mask in masks)
    zeroed = masked(traced, masks)
    smaller = materialized(traced, zeroed, masks)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected, found = zeroed(image), smaller(image)
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()) + 1e-6)
    sizes = [sum(tensor.numel() for tensor in module.parameters()) for module in (smaller, zeroed)]
    assert sizes[0] < sizes[1]
