"""Which layers a layer's choice reaches: those that share its channels, and those that read or write its tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plan.assignment import FloatArray, IntArray
from plan.deciders import Deciders


@dataclass(frozen=True, eq=False)
class Reach:
    """For every layer a list of layers: `count` of them from `first` on in `layers`, arrays (L,), (L,) and (n,)."""

    first: IntArray
    count: IntArray
    layers: IntArray

    @classmethod
    def of(cls, reached: NDArray[np.bool_]) -> Reach:
        """Returns the lists that the rows of a matrix (L, L) stand for."""
        count = reached.sum(axis=1)
        return cls(np.cumsum(count) - count, count, np.nonzero(reached)[1])

    def follow(self, plans: IntArray, layers: IntArray) -> tuple[IntArray, IntArray]:
        """Returns plans and layers (m,) that are reached from layers of plans, (n,) both; some perhaps repeatedly."""
        count = self.count.take(layers)
        start = self.first.take(layers) - (np.cumsum(count) - count)
        return np.repeat(plans, count), self.layers.take(np.arange(count.sum()) + np.repeat(start, count))


@dataclass(frozen=True, eq=False)
class Touching:
    """What a layer reaches by its activation bits, and by filters or channels that it prunes or no longer prunes."""

    bits: Reach
    filters: Reach
    channels: Reach

    @classmethod
    def of(cls, deciders: Deciders, reads: FloatArray, written: IntArray) -> Touching:
        """Returns it for the features that layers read of groups, (G, L), and the groups that they write, (L,)."""
        layers = np.arange(len(written))
        writes = np.where(deciders.writer >= 0, deciders.reader[deciders.writer], -1)
        bits = (deciders.reader == layers[:, None]) | (writes == layers[:, None])
        members = (reads > 0) | (written == np.arange(len(reads))[:, None])
        decided = [Reach.of(_decided(deciding, members)) for deciding in (deciders.producer, deciders.consumer)]
        return cls(Reach.of(bits), *decided)


def _decided(deciding: IntArray, members: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns which layers are in a group that a layer decides, (L, L), for who decides (G,) and members (G, L)."""
    reached = np.zeros((members.shape[1], members.shape[1]), dtype=np.bool_)
    for group in np.flatnonzero(deciding >= 0):
        reached[deciding[group]] |= members[group]
    return reached
