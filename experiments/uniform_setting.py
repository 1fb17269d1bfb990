"""One scheme for all layers of a network but the first and the last: what compression methods are compared by."""

from __future__ import annotations

from dataclasses import dataclass, replace

from plan.deciders import find_deciders
from plan.layer import Network
from plan.methods import why_illegal
from plan.scheme import (
    DENSE,
    BlockPunched,
    Element,
    Filter,
    Granularity,
    Kernel,
    Method,
    NofM,
    Pattern,
    Scheme,
    own_density,
)

END_BITS = 8
MAGNITUDE = {Element.kind: "level"}
"""The algorithm that ranks by plain magnitude; l1 for other granularities, l2 for patterns."""


@dataclass(frozen=True)
class Setting:
    """A uniform scheme; layers where the granularity is illegal stay dense at the same bits.

    depthwise_bits: of the weights of depthwise layers, 0 for the same as elsewhere
    """

    name: str
    weight_bits: int
    activation_bits: int
    method: Method = DENSE
    density: float = 1.0
    depthwise_bits: int = 0

    def plain(self) -> Setting:
        """Returns the same setting with weights ranked by magnitude."""
        kind = self.method.granularity.kind
        if kind == DENSE.granularity.kind:
            return self
        algorithm = MAGNITUDE.get(kind, "l2" if kind == Pattern.kind else "l1")
        return replace(self, method=Method(self.method.granularity, algorithm))


def _second_order(granularity: Granularity) -> Method:
    return Method(granularity, "second-order")


SETTINGS = (
    Setting("4/5 bits", 4, 5),
    Setting("3/5 bits", 3, 5),
    Setting("4/8 bits", 4, 8),
    Setting("3/8 bits", 3, 8),
    Setting("5/8 bits", 5, 8),
    Setting("6/8 bits", 6, 8),
    Setting("4/8 bits, depthwise at 8", 4, 8, depthwise_bits=8),
    Setting("4/6 bits, 50 % element", 4, 6, _second_order(Element()), 0.5),
    Setting("8/8 bits, 60 % element", 8, 8, _second_order(Element()), 0.4),
    Setting("8/8 bits, 30 % element", 8, 8, _second_order(Element()), 0.7),
    Setting("4/6 bits, 2:4", 4, 6, _second_order(NofM(2, 4)), 0.5),
    Setting("8/8 bits, pattern of 4", 8, 8, _second_order(Pattern(4)), 4 / 9),
    Setting("8/8 bits, pattern of 5", 8, 8, _second_order(Pattern(5)), 5 / 9),
    Setting("8/8 bits, 30 % block-punched 4x1", 8, 8, _second_order(BlockPunched(4, 1)), 0.7),
    Setting("8/8 bits, 30 % kernels", 8, 8, _second_order(Kernel()), 0.7),
    Setting("8/8 bits, 10 % filters", 8, 8, _second_order(Filter()), 0.9),
)


def schemes_of(setting: Setting, network: Network) -> tuple[Scheme, ...]:
    """Returns the schemes of all layers: 8/8 bits and dense at both ends, the setting between them."""
    deciders = find_deciders(network, [True] * len(network.layers))
    end = Scheme(DENSE, 1.0, END_BITS, END_BITS)
    between = [
        _scheme(
            setting,
            network,
            index,
            bool(deciders.producer_group[index] >= 0),
            bool(deciders.consumer_group[index] >= 0),
        )
        for index in range(1, len(network.layers) - 1)
    ]
    return (end, *between, end)


def _scheme(setting: Setting, network: Network, index: int, decides_outputs: bool, decides_inputs: bool) -> Scheme:
    layer, granularity = network.layers[index], setting.method.granularity
    reason = why_illegal(layer, granularity, decides_outputs=decides_outputs, decides_inputs=decides_inputs)
    bits = setting.depthwise_bits if layer.depthwise and setting.depthwise_bits else setting.weight_bits
    if reason:
        return Scheme(DENSE, 1.0, bits, setting.activation_bits)
    return Scheme(setting.method, own_density(granularity) or setting.density, bits, setting.activation_bits)
