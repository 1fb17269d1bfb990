"""Working networks overwrite what nothing else reads; the values stay what they are to the last bit."""

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from compress.fake_quant import FakeQuantiser
from compress.in_place import work_apart, work_in_place
from compress.quantize import ActivationRange

RANGE = ActivationRange(4, 0.1, 3)


class Block(nn.Module):
    """A residual block whose rectifiers and roundings may partly write over their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.first, self.second, self.third = (FakeQuantiser() for _ in range(3))
        for quantiser in (self.first, self.second, self.third):
            quantiser.chosen = RANGE

    def forward(self, x: Tensor) -> Tensor:
        rounded = self.first(x)
        y = self.second(functional.relu(self.norm(self.conv(rounded))))
        shared = self.conv(y)
        return self.third(self.dropout(shared)) + functional.relu(shared) + functional.relu(rounded)


class KeepingQuantisers(fx.Tracer):
    """Traces around quantisers, as the tracing of networks does."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FakeQuantiser) or super().is_leaf_module(m, module_qualified_name)


def test_only_what_nothing_else_reads_is_overwritten() -> None:
    torch.manual_seed(0)
    block = Block().eval()
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
    rectifiers = [node for node in module.graph.nodes if node.target is functional.relu]
    assert [bool(node.kwargs.get("inplace")) for node in rectifiers] == [True, False, False]
    work_apart(module)
    assert not any(quantiser.in_place for quantiser in quantisers)
    assert not any(node.kwargs.get("inplace") for node in rectifiers)
