"""Working networks overwrite what nothing else reads; the values stay what they are to the last bit."""

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from compress.fake_quant import FakeQuantiser
from compress.in_place import work_apart, work_in_place
from compress.quantize import ActivationRange

RANGES = (ActivationRange(4, 0.1, 3), ActivationRange(4, 0.1, 0), None)


class Block(nn.Module):
    """A residual block whose rectifiers and roundings may partly write over their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.first, self.second, self.third = (FakeQuantiser() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        rounded = self.first(x)
        y = self.second(functional.relu(self.norm(self.conv(rounded))))
        shared = self.conv(y)
        return self.third(self.dropout(shared)) + functional.relu(shared) + functional.relu(rounded)


class KeepingQuantisers(fx.Tracer):
    """Traces around quantisers, as the tracing of networks does."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FakeQuantiser) or super().is_leaf_module(m, module_qualified_name)


@pytest.mark.parametrize("chosen", RANGES)
def test_only_what_nothing_else_reads_is_overwritten(chosen: ActivationRange | None) -> None:
    torch.manual_seed(0)
    block = Block().eval()
    for quantiser in (block.first, block.second, block.third):
        quantiser.chosen = chosen
    module = fx.GraphModule(block, KeepingQuantisers().trace(block))
    images = torch.randn(2, 4, 8, 8)
    before = images.clone()
    with torch.inference_mode():
        expected = module(images)
        work_in_place(module)
        assert torch.equal(module(images), expected)
        assert torch.equal(images, before)
    quantisers = [module.get_submodule(name) for name in ("first", "second", "third")]
    assert [quantiser.in_place for quantiser in quantisers] == [False, True, False]
    assert [quantiser.rectifies for quantiser in quantisers] == [False, True, False]
    assert not any(node.kwargs.get("inplace") for node in rectifiers(module))
    assert len(rectifiers(module)) == 2
    work_apart(module)
    assert not any(quantiser.in_place or quantiser.rectifies for quantiser in quantisers)
    assert len(rectifiers(module)) == 3
    with torch.inference_mode():
        assert torch.equal(module(images), expected)


def test_a_rectifier_that_others_read_stays() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.rounding = nn.Conv2d(3, 3, 1), nn.ReLU(), FakeQuantiser()

        def forward(self, x: Tensor) -> Tensor:
            rectified = self.relu(self.conv(x))
            return self.rounding(rectified) + rectified

    shared = Shared().eval()
    module = fx.GraphModule(shared, KeepingQuantisers().trace(shared))
    work_in_place(module)
    assert not shared.rounding.rectifies
    assert any(node.target == "relu" for node in module.graph.nodes)


def test_the_rectifier_of_a_module_is_taken_out_and_put_back() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu, self.rounding = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), FakeQuantiser()
            self.rounding.chosen = RANGES[1]

        def forward(self, x: Tensor) -> Tensor:
            return self.rounding(self.relu(self.conv(x)))

    chain, images = Chain().eval(), torch.randn(2, 3, 4, 4)
    module = fx.GraphModule(chain, KeepingQuantisers().trace(chain))
    with torch.inference_mode():
        expected = chain(images)
        work_in_place(module)
        assert not any(node.target == "relu" for node in module.graph.nodes)
        assert torch.equal(module(images), expected)
        work_apart(module)
        assert len(rectifiers(module)) == 1
        assert torch.equal(module(images), expected)


def rectifiers(module: fx.GraphModule) -> list[fx.Node]:
    return [node for node in module.graph.nodes if node.target is functional.relu]
