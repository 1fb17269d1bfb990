"""Every granularity, algorithm and width on every layer of the torchvision networks that Espalier answers for."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.measure import Measurer
from compress.profile import profile
from compress.verify import verify
from networks.trace import trace
from networks.zoo import build
from plan.capabilities import Capabilities
from plan.layer import Layer, Network
from plan.scheme import (
    ALGORITHMS,
    DENSE,
    BlockColumn,
    BlockPunched,
    BlockRow,
    Channel,
    Dense,
    Element,
    Filter,
    Kernel,
    Method,
    NofM,
    Pattern,
)
from plan.space import ACTIVATION_BITS, DENSITY, METHOD, WEIGHT_BITS, build_space
from tests.compress.torchvision_networks import NAMES

pytestmark = pytest.mark.slow
BITS = tuple(range(2, 9))
OFFERED = Capabilities(
    granularities=(
        Dense(),
        Element(),
        NofM(2, 4),
        NofM(1, 4),
        Kernel(),
        Pattern(4),
        Pattern(5),
        BlockPunched(4, 1),
        BlockPunched(8, 4),
        BlockRow(8, 8),
        BlockColumn(8, 8),
        Channel(),
        Filter(),
    ),
    weight_bits=BITS,
    activation_bits=BITS,
    storage_formats=("dense", "bitmask", "block", "n:m", "pattern"),
)
SMALL_CHANNELS = 32
Signature = tuple[str, int, int, int, int, int]


@cache
def network_of(name: str) -> Network:
    source = build(name, 10, (3, 64, 64))
    return trace(source.module, source.input_size, name).network


@pytest.mark.parametrize("name", NAMES)
def test_every_alternative_is_legal_or_masked_for_a_reason(name: str) -> None:
    network = network_of(name)
    space = build_space(network, OFFERED)
    walked: Counter[str] = Counter()
    for index in range(len(network.layers)):
        for granularity in OFFERED.granularities:
            for algorithm in ALGORITHMS:
                method = Method(granularity, algorithm)
                legal = method in space.methods and bool(space.legal[index, space.methods.index(method)].any())
                reason = space.why_masked(index, method)
                assert legal == (reason == ""), (name, index, str(method), reason)
                walked["legal" if legal else reason] += 1
        assert space.weight_bits_legal[index].all()
        assert space.activation_bits_legal[index].all()
    assert walked.total() == len(network.layers) * len(OFFERED.granularities) * len(ALGORITHMS)
    assert walked["it is held dense by a pin or an excluding pattern"] == 0
    assert walked["legal"] > 10 * len(network.layers)


def small(channels: int) -> int:
    """Returns a channel count of at most 47 that divides by the same block sizes, up to 16."""
    return channels if channels <= SMALL_CHANNELS else SMALL_CHANNELS + channels % 16


def signature_of(layer: Layer) -> Signature:
    """Returns op, outputs, inputs, kernel and groups, channel counts made small."""
    if layer.depthwise:
        count = small(layer.K)
        return layer.op, count, count, layer.R, layer.S, count
    groups = min(layer.groups, 2)
    return layer.op, groups * small(layer.K // groups), groups * small(layer.C // groups), layer.R, layer.S, groups


class Around(nn.Module):
    """A layer of a signature between a stem and a head, so that it may decide its inputs' and outputs' channels."""

    def __init__(self, signature: Signature) -> None:
        super().__init__()
        op, outputs, inputs, height, width, groups = signature
        self.stem = nn.Conv2d(3, inputs, 1)
        linear = op == "linear"
        self.layer = (
            nn.Linear(inputs, outputs) if linear else nn.Conv2d(inputs, outputs, (height, width), groups=groups)
        )
        self.tail = nn.Linear(outputs, 6)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.layer(x.mean((2, 3)) if self.linear else x))
        return self.tail(x if self.linear else x.mean((2, 3)))


def test_what_is_applied_is_verified_on_every_signature_and_method() -> None:
    signatures = sorted({signature_of(layer) for name in NAMES for layer in network_of(name).layers})
    used: Counter[str] = Counter()
    pairs, widths = set(), set()
    for signature in signatures:
        torch.manual_seed(0)
        size = max(8, signature[3] + 1, signature[4] + 1)
        traced = trace(Around(signature), (3, size, size), "around")
        images = torch.randn(16, 3, size, size)
        measurer = Measurer(traced, profile(traced, images), images)
        space = build_space(traced.network, OFFERED)
        for position in np.flatnonzero(space.legal[1].any(axis=1)):
            name = str(space.methods[position])
            count = used[name]
            used[name] += 1
            weight, activation = count % len(BITS), (count // len(BITS) + count + int(position)) % len(BITS)
            legal = np.flatnonzero(space.legal[1, position])
            choice = space.baseline.copy()
            choice[1, METHOD], choice[1, DENSITY] = position, legal[len(legal) // 2]
            choice[1, WEIGHT_BITS], choice[1, ACTIVATION_BITS] = weight, activation
            assert verify(measurer.apply(space.schemes(choice))) == (), (signature, name)
            pairs.add((weight, activation))
            widths.add((name, weight))
    assert len(pairs) == len(BITS) ** 2
    assert set(used) == {str(method) for method in build_space(network_of("resnet18"), OFFERED).methods}
    assert widths >= {
        (name, weight) for name, count in used.items() if count >= len(BITS) for weight in range(len(BITS))
    }
    assert used[str(DENSE)] == len(signatures)
