"""Which channels of a network a plan removes: one decision per coupled group, inherited by everyone in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from compress.criteria import norm_scores, set_costs
from compress.profile import LayerProfile, Profile
from compress.prune import WeightShape, best, kept_count, partition
from compress.solver import factorise
from plan.deciders import Deciders, find_deciders
from plan.layer import Layer, Network
from plan.scheme import Channel, Filter, Method, Scheme

BoolArray = NDArray[np.bool_]
ScoreArray = NDArray[np.float64]


@dataclass(frozen=True)
class KeptChannels:
    """What one layer has left: inputs bool (C,), outputs bool (K,).

    output_gain: what the Bernoulli rule multiplies the weights of the outputs that stay by, 1 / kept fraction, so that
        sums over them keep their expectation; readers that are refitted make up for the loss better and leave it out.
    """

    inputs: BoolArray
    outputs: BoolArray
    output_gain: float = 1.0


def input_features(layer: Layer) -> tuple[tuple[int, NDArray[np.int64]], ...]:
    """Returns per input segment (group index, channel of the group that each of the segment's features carries)."""
    return tuple((s.group, np.repeat(np.arange(s.channels), s.repeat)) for s in layer.inputs)


def kept_channels(
    network: Network, group_masks: Sequence[BoolArray], drawn: Collection[int] = ()
) -> tuple[KeptChannels, ...]:
    """Returns what every layer has left when the groups keep these channels, bool (channels,) each.

    The masks of the groups in `drawn` were drawn at random. Depthwise layers read scaled inputs and add no gain.
    """
    return tuple(
        KeptChannels(
            np.concatenate([group_masks[group][channel] for group, channel in input_features(layer)]),
            group_masks[layer.output_group],
            1.0 / float(group_masks[layer.output_group].mean())
            if layer.output_group in drawn and not layer.depthwise
            else 1.0,
        )
        for layer in network.layers
    )


class ChannelMasks:
    """Turns the schemes of a plan into kept channels; scores of groups are computed once and kept.

    Args:
        network: layers and groups
        profile: of the network
        seed: of the order in which the Bernoulli rule removes the filters of a group, one order for all densities
    """

    def __init__(self, network: Network, profile: Profile, seed: int = 0) -> None:
        self.network = network
        self.profile = profile
        self.seed = seed
        self.deciders: Deciders = find_deciders(network, [True] * len(network.layers))
        self._scores: dict[tuple[int, int, str, str], ScoreArray] = {}

    def kept(self, schemes: Sequence[Scheme]) -> tuple[KeptChannels, ...]:
        """Returns what every layer has left, in the order of the layers."""
        drawn = [group for group in range(len(self.network.groups)) if self._is_drawn(group, schemes)]
        return kept_channels(self.network, self.group_masks(schemes), drawn)

    def _is_drawn(self, group: int, schemes: Sequence[Scheme]) -> bool:
        producer = int(self.deciders.producer[group])
        return producer >= 0 and schemes[producer].method == Method(Filter(), "bernoulli")

    def group_masks(self, schemes: Sequence[Scheme]) -> tuple[BoolArray, ...]:
        """Returns which channels of every group stay, bool (channels,) each."""
        return tuple(self.group_mask(index, schemes) for index in range(len(self.network.groups)))

    def group_mask(self, group: int, schemes: Sequence[Scheme]) -> BoolArray:
        """Returns which channels of a group stay, bool (channels,)."""
        size = self.network.groups[group].channels
        for decider, kind in ((self.deciders.producer[group], Filter), (self.deciders.consumer[group], Channel)):
            if decider >= 0 and isinstance(schemes[decider].method.granularity, kind):
                scheme = schemes[decider]
                return best(self._group_scores(group, int(decider), scheme.method), kept_count(scheme.density, size))
        return np.ones(size, dtype=bool)

    def _group_scores(self, group: int, decider: int, method: Method) -> ScoreArray:
        key = (group, decider, method.granularity.kind, method.algorithm)
        if key not in self._scores:
            if method.algorithm == "second-order":
                self._scores[key] = self._consumer_costs(group)
            elif method.algorithm == "bernoulli":
                generator = np.random.default_rng((self.seed, group))
                self._scores[key] = generator.random(self.network.groups[group].channels)
            else:
                self._scores[key] = self._norms(decider, method)
        return self._scores[key]

    def _norms(self, decider: int, method: Method) -> ScoreArray:
        layer = self.network.layers[decider]
        weight = torch.from_numpy(self.profile.layers[decider].weight)
        shape = WeightShape(layer.K, layer.C // layer.groups, layer.R, layer.S)
        scores = norm_scores(weight, partition(method.granularity, shape), method.algorithm).ravel()
        if method.granularity.kind == Channel.kind:
            (segment,) = input_features(layer)
            return np.bincount(segment[1], weights=scores) / np.bincount(segment[1])
        return scores

    def _consumer_costs(self, group: int) -> ScoreArray:
        """Returns the loss that removing each channel costs, summed over the layers that read it.

        Depthwise layers of the group are left out: what they pass on is counted where it is read.
        """
        total = np.zeros(self.network.groups[group].channels)
        for index in self.network.groups[group].consumers:
            layer = self.network.layers[index]
            if not layer.depthwise:
                total += _removal_costs(layer, self.profile.layers[index], group, len(total))
        return total


def _removal_costs(layer: Layer, stats: LayerProfile, group: int, channels: int) -> ScoreArray:
    """Returns the cost (channels,) of removing each channel of a group from the inputs of one layer.

    Channels that fall into two blocks of block-diagonal moments are charged in both. Layers with several convolution
    groups are scored per group.
    """
    carried = np.full(layer.C, -1)
    start = 0
    for owner, channel in input_features(layer):
        if owner == group:
            carried[start : start + len(channel)] = channel
        start += len(channel)
    total = np.zeros(channels)
    positions = layer.R * layer.S
    owners = np.repeat(carried.reshape(layer.groups, -1), positions, axis=1)
    weight = torch.from_numpy(stats.weight).reshape(layer.groups, layer.K // layer.groups, -1)
    fisher = torch.from_numpy(stats.fisher).reshape(layer.groups, -1)
    begin = 0
    for block in stats.moment_blocks:
        factors = factorise(torch.from_numpy(block))
        end = begin + block.shape[-1]
        for g in range(layer.groups):
            sets = np.where(owners[g, begin:end] < 0, channels, owners[g, begin:end])
            costs = set_costs(weight[g][:, begin:end], factors.inverse[g], factors.moment[g], sets, channels + 1)
            total += 0.5 * (fisher[g] @ costs).numpy()[:channels]
        begin = end
    return total
