"""A small residual network with batch norms, a depthwise layer and a linear head, profiled once."""

import pytest
import torch
from torch import Tensor, nn

from compress.measure import Measurer
from compress.profile import Profile, profile
from networks.trace import TracedNetwork, trace


class SmallResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(12)
        self.inner = nn.Conv2d(12, 16, 3, padding=1, bias=False)
        self.inner_norm = nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.outer = nn.Conv2d(16, 12, 1, bias=False)
        self.outer_norm = nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem_norm(self.stem(x)))
        y = torch.relu(self.inner_norm(self.inner(x)))
        y = torch.relu(self.depthwise(y))
        x = torch.relu(self.outer_norm(self.outer(y)) + x)
        return self.head(x.mean((2, 3)))


def small_network() -> nn.Module:
    generator = torch.Generator().manual_seed(5)
    module = SmallResidual().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.num_features, generator=generator) * 0.1)
            part.running_var.copy_(torch.rand(part.num_features, generator=generator) + 0.5)
        elif isinstance(part, nn.Conv2d | nn.Linear):
            with torch.no_grad():
                part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * 0.4)
                if part.bias is not None:
                    part.bias.copy_(torch.randn(part.bias.shape, generator=generator) * 0.1)
    return module


@pytest.fixture(scope="session")
def traced() -> TracedNetwork:
    return trace(small_network(), (3, 8, 8), "small")


@pytest.fixture(scope="session")
def images() -> Tensor:
    return torch.randn(160, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def profiled(traced: TracedNetwork, images: Tensor) -> Profile:
    return profile(traced, images, seed=0)


@pytest.fixture
def measurer(traced: TracedNetwork, profiled: Profile, images: Tensor) -> Measurer:
    return Measurer(traced, profiled, images, seed=0)
