"""What a model works out once per network object, remembered for the networks priced last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Generic, TypeVar

import numpy as np

from hwmodels.accelerator import Layers
from hwmodels.assignments import check_shapes
from plan.assignment import Assignment, IntArray
from plan.layer import Network

Made = TypeVar("Made")
REMEMBERED_NETWORKS = 16


class PreparedNetworks(Generic[Made]):
    """A bounded memory keyed by the identity of a network, which it keeps alive, so that an id is never reused.

    Args:
        make: returns what is worked out for the layers at these positions: an array over the layers, or a dataclass
            of such arrays and dataclasses.
    """

    def __init__(self, make: Callable[[Network, tuple[int, ...]], Made]) -> None:
        self._make = make
        self._kept: OrderedDict[int, tuple[Network, Made]] = OrderedDict()

    def get(self, network: Network, assignment: Assignment, layers: Layers | None = None) -> Made:
        """Returns what `make` returned for these layers, all of them when None, making it on the first call.

        Raises:
            InvalidValueError: arrays of the assignment that are not (plans, layers).
        """
        check_shapes(assignment, len(network.layers) if layers is None else len(layers))
        made = self._remembered(network)
        return made if layers is None else picked(made, np.asarray(layers, dtype=np.int64))

    def _remembered(self, network: Network) -> Made:
        if id(network) in self._kept:
            self._kept.move_to_end(id(network))
            return self._kept[id(network)][1]
        made = self._make(network, tuple(range(len(network.layers))))
        self._kept[id(network)] = (network, made)
        if len(self._kept) > REMEMBERED_NETWORKS:
            self._kept.popitem(last=False)
        return made


def picked(made: Any, layers: IntArray) -> Any:
    """Returns the entries of some layers, of an array or of every array in a dataclass."""
    if isinstance(made, np.ndarray):
        return made.take(layers)
    return type(made)(**{field.name: picked(getattr(made, field.name), layers) for field in fields(made)})
