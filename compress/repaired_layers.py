"""A network's layers under any scheme, repaired once each: kept in memory, and on disk where there is a store."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import nullcontext
from functools import partial

from compress.cache import ByteCache
from compress.layer_store import LayerStore
from compress.masks import ChannelMasks
from compress.options import MeasureOptions
from compress.problem import Problem
from compress.profile import Profile
from compress.repair import LayerRepair, RepairedLayer, Request
from compress.threads import side_by_side, single_thread
from plan.layer import Network
from plan.scheme import Scheme

LARGEST_BESIDE = 1 << 18
"""Weights of the largest layers that are repaired beside others: matrices of larger ones fill memory and both cores."""


class RepairedLayers:
    """Repairs layers by themselves, each with the inputs that it has in the dense network.

    Args:
        network: the dense one
        profile: its profile on the calibration images
        seed: of the Bernoulli rule's draws
        options: which repairs run, and how much memory they may take
        store: repaired layers of other runs
    """

    def __init__(
        self, network: Network, profile: Profile, *, seed: int, options: MeasureOptions, store: LayerStore | None
    ) -> None:
        self.network, self.options, self.store = network, options.repair, store
        self.channels = ChannelMasks(network, profile, seed)
        problems: ByteCache[Problem] = ByteCache(options.problem_cache_bytes)
        self.repairs = [
            LayerRepair(layer, stats, problems, options.repair)
            for layer, stats in zip(network.layers, profile.layers, strict=True)
        ]
        self._kept: ByteCache[RepairedLayer] = ByteCache(options.weight_cache_bytes)

    def of_plan(self, schemes: Sequence[Scheme]) -> tuple[RepairedLayer, ...]:
        """Returns every layer under a plan; small ones that are not known yet are repaired side by side."""
        requests = self.requests(schemes)
        missing = [index for index, request in enumerate(requests) if _key(index, request) not in self._kept]
        small = sorted(filter(self._small, missing), key=lambda index: -self.network.layers[index].weights)
        found = side_by_side([partial(self.of, index, requests[index]) for index in small])
        made = dict(zip(small, found, strict=True))  # not all of them need still be kept
        return tuple(made.get(index) or self.of(index, request) for index, request in enumerate(requests))

    def requests(self, schemes: Sequence[Scheme]) -> tuple[Request, ...]:
        """Returns what a plan asks of every layer."""
        kept = self.channels.kept(schemes)
        return tuple(
            Request(left, scheme.method, scheme.density, scheme.weight_bits)
            for left, scheme in zip(kept, schemes, strict=True)
        )

    def of(self, index: int, request: Request) -> RepairedLayer:
        """Returns one layer, kept, stored, or repaired now."""
        return self._kept.get(_key(index, request), lambda: self._stored(index, request))

    def _stored(self, index: int, request: Request) -> RepairedLayer:
        if self.store is None:
            return self._made(index, request)
        return self.store.get(index, request, self.options, lambda: self._made(index, request))

    def _made(self, index: int, request: Request) -> RepairedLayer:
        """Returns a layer repaired now; a small one on one thread, beside others or alone, for the same bits."""
        with single_thread() if self._small(index) else nullcontext():
            return self.repairs[index].repair(request)

    def _small(self, index: int) -> bool:
        return self.network.layers[index].weights <= LARGEST_BESIDE


def _key(index: int, request: Request) -> Hashable:
    """Returns what a repaired layer is kept under."""
    kept = request.kept
    channels = (kept.inputs.tobytes(), kept.outputs.tobytes(), kept.output_gain)
    return (index, *channels, str(request.method), request.density, request.weight_bits)
