"""Networks cut by given masks and plainly rounded: what files and speeds of repaired networks are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from compress.apply import Compressed, LayerRecord, left_rows_and_columns, levels_sha256
from compress.fake_quant import with_quantisers
from compress.masks import BoolArray, kept_channels
from compress.modules import weight_layers
from compress.quantize import ActivationRange, weight_levels, weight_scales
from networks.trace import TracedNetwork
from plan.layer import Network
from plan.scheme import DENSE, Scheme


def whole(network: Network) -> tuple[BoolArray, ...]:
    """Returns masks that keep every channel of every group."""
    return tuple(np.ones(group.channels, bool) for group in network.groups)


def rounded_network(
    traced: TracedNetwork, ranges: Mapping[str, ActivationRange], bits: int, group_masks: Sequence[BoolArray]
) -> Compressed:
    """Returns the network with removed channels at zero and weights and stored tensors rounded; nothing is repaired.

    Args:
        traced: the dense network
        ranges: of every stored tensor
        bits: width of the weights
        group_masks: per channel group, bool (channels,), True = kept
    """
    module, quantisers = with_quantisers(traced)
    for tensor, quantiser in quantisers.items():
        quantiser.chosen = ranges[tensor]
    records, kept_all = [], kept_channels(traced.network, group_masks)
    parts = zip(traced.network.layers, traced.layer_targets, weight_layers(module, traced), kept_all, strict=True)
    for layer, target, part, kept in parts:
        rows, columns = left_rows_and_columns(layer, kept)
        dense = part.weight.detach().reshape(layer.K, -1)
        left = torch.zeros_like(dense)
        left[rows[:, None], columns] = dense[rows[:, None], columns]
        scale = weight_scales(left, bits, torch.ones(1))
        levels = (left / scale[:, None]).round_().clamp_(*weight_levels(bits))
        part.weight.copy_((levels * scale[:, None]).reshape(part.weight.shape))
        hashed = levels_sha256(levels.numpy()[rows[:, None], columns].astype(np.int64))
        scheme = Scheme(DENSE, 1.0, bits, ranges[layer.input_tensor].bits)
        records.append(LayerRecord(target, scheme, kept, scale.numpy(), hashed))
    return Compressed(traced, module, tuple(group_masks), tuple(records))
