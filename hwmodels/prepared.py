"""What a model works out once per network object and list of layers, remembered for the networks priced last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from plan.layer import Network

Made = TypeVar("Made")
REMEMBERED_NETWORKS = 16


class PreparedNetworks(Generic[Made]):
    """A bounded memory keyed by the identity of a network, which it keeps alive, so that an id is never reused."""

    def __init__(self, make: Callable[[Network, tuple[int, ...]], Made]) -> None:
        self._make = make
        self._kept: OrderedDict[tuple[int, tuple[int, ...]], tuple[Network, Made]] = OrderedDict()

    def get(self, network: Network, layers: tuple[int, ...]) -> Made:
        """Returns what `make` returned for these layers, making it on the first call."""
        key = (id(network), layers)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        made = self._make(network, layers)
        self._kept[key] = (network, made)
        if len(self._kept) > max(REMEMBERED_NETWORKS, 2 * len(network.layers)):
            self._kept.popitem(last=False)
        return made
