"""Who decides what layers share: the channels of a group, and the bits of an activation tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plan.assignment import IntArray
from plan.layer import ChannelGroup, Network


@dataclass(frozen=True)
class Deciders:
    """Layer indices, -1 for nobody.

    Attributes:
        producer: (G,), the first producer, which may prune a group's filters.
        consumer: (G,), the first consumer, which may prune its channels if the producer left them whole.
        producer_group, consumer_group: (L,), the group that a layer may decide as producer or as consumer.
        reader: (L,), the first layer that reads the tensor that layer l reads; it decides the tensor's bits.
        writer: (L,), the first reader of the tensor that layer l writes.
    """

    producer: IntArray
    consumer: IntArray
    producer_group: IntArray
    consumer_group: IntArray
    reader: IntArray
    writer: IntArray


def find_deciders(network: Network, touchable: list[bool]) -> Deciders:
    """Returns who decides each group and tensor; groups with an untouchable member are decided by nobody."""
    layers = network.layers
    producer = np.full(len(network.groups), -1, dtype=np.int64)
    consumer = np.full(len(network.groups), -1, dtype=np.int64)
    for index, group in enumerate(network.groups):
        if group.prunable and all(touchable[layer] for layer in group.producers + group.consumers):
            producer[index] = _first(network, group.producers)
            consumer[index] = _channel_decider(network, group, int(producer[index]))
    readers: dict[str, int] = {}
    for index, layer in enumerate(layers):
        readers.setdefault(layer.input_tensor, index)
    reader = np.array([readers[layer.input_tensor] for layer in layers], dtype=np.int64)
    writer = np.array([readers.get(layer.output_tensor or "", -1) for layer in layers], dtype=np.int64)
    return Deciders(producer, consumer, _invert(producer, len(layers)), _invert(consumer, len(layers)), reader, writer)


def _first(network: Network, members: tuple[int, ...]) -> int:
    return next((layer for layer in members if not network.layers[layer].depthwise), -1)


def _channel_decider(network: Network, group: ChannelGroup, producer: int) -> int:
    layer = _first(network, group.consumers)
    legal = layer > producer >= 0 and len(network.layers[layer].inputs) == 1
    return layer if legal else -1


def _invert(deciders: IntArray, n_layers: int) -> IntArray:
    groups = np.full(n_layers, -1, dtype=np.int64)
    groups[deciders[deciders >= 0]] = np.flatnonzero(deciders >= 0)
    return groups
