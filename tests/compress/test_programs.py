"""Networks that came as exported programs are compressed as those that came as code, and go out and in again."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.export import export
from compress.materialize import materialize
from compress.measure import Measurer
from compress.profile import profile
from compress.verify import verify
from networks.trace import TracedNetwork, trace
from networks.zoo import build
from plan.scheme import DENSE, Element, Filter, Method, Scheme
from tests.compress.conftest import small_network

SCHEMES = {
    "inner": Scheme(Method(Filter(), "second-order"), 0.5, 5, 4),
    "outer": Scheme(Method(Element(), "second-order"), 0.5, 4, 5),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> TracedNetwork:
    path = tmp_path_factory.mktemp("program") / "small.pt2"
    torch.export.save(torch.export.export(small_network(), (torch.zeros(1, 3, 8, 8),)), path)
    source = build(str(path), 5)
    return trace(source.module, source.input_size, source.name)


def applied(traced: TracedNetwork, images: Tensor) -> Measurer:
    return Measurer(traced, profile(traced, images, seed=0), images, seed=0)


@torch.inference_mode()
def answers(module: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = module(images)
    return found


def test_a_program_is_compressed_like_its_code(
    program: TracedNetwork, traced: TracedNetwork, images: Tensor, tmp_path: Path
) -> None:
    plain = Scheme(DENSE, 1.0, 8, 8)
    found, expected = (
        applied(network, images).apply([SCHEMES.get(layer.name, plain) for layer in network.network.layers])
        for network in (program, traced)
    )
    assert verify(found) == ()
    assert torch.allclose(answers(found.module, images), answers(expected.module, images), atol=1e-3)
    for name in ("stem_norm", "inner_norm", "outer_norm"):
        before, after = (module.get_submodule(name).running_var for module in (program.module, found.module))
        assert not torch.equal(before, after)
    smaller = materialize(found)
    path = tmp_path / "smaller.pt2"
    export(smaller, path, {"input": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}})
    again = build(str(path), 5)
    assert again.mean == (0.5, 0.5, 0.5)
    retraced = trace(again.module, again.input_size, "again")
    assert [layer.name for layer in retraced.network.layers] == [layer.name for layer in traced.network.layers]
    assert retraced.network.layers[1].K == 8
    assert torch.allclose(answers(retraced.module, images), answers(smaller.module, images), atol=1e-5)
