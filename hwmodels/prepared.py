"""What a model works out once per network object and list of layers, remembered for the networks priced last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from hwmodels.assignments import check_shapes
from plan.assignment import Assignment
from plan.layer import Network

Made = TypeVar("Made")
REMEMBERED_NETWORKS = 16


class PreparedNetworks(Generic[Made]):
    """A bounded memory keyed by the identity of a network, which it keeps alive, so that an id is never reused."""

    def __init__(self, make: Callable[[Network, tuple[int, ...]], Made]) -> None:
        self._make = make
        self._kept: OrderedDict[tuple[int, tuple[int, ...]], tuple[Network, Made]] = OrderedDict()

    def get(self, network: Network, assignment: Assignment, layers: Sequence[int] | None = None) -> Made:
        """Returns what `make` returned for these layers, all of them when None, making it on the first call.

        Raises:
            InvalidValueError: arrays of the assignment that are not (plans, layers).
        """
        chosen = tuple(range(len(network.layers))) if layers is None else tuple(layers)
        check_shapes(assignment, len(chosen))
        return self._remembered(network, chosen)

    def _remembered(self, network: Network, layers: tuple[int, ...]) -> Made:
        key = (id(network), layers)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        made = self._make(network, layers)
        self._kept[key] = (network, made)
        if len(self._kept) > max(REMEMBERED_NETWORKS, 2 * len(network.layers)):
            self._kept.popitem(last=False)
        return made
