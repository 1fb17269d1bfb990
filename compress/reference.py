"""The dense network at given widths, plainly rounded: what compressed networks are compared with."""

from __future__ import annotations

import numpy as np
import torch

from compress.apply import Compressed, LayerRecord, levels_sha256
from compress.masks import kept_channels
from compress.measure import with_quantisers
from compress.modules import weight_layer
from compress.profile import Profile
from compress.quantize import weight_levels, weight_scales
from networks.trace import TracedNetwork
from plan.scheme import DENSE, Scheme


def rounded_dense(traced: TracedNetwork, profile: Profile, bits: int) -> Compressed:
    """Returns the network with every weight and stored tensor rounded to that width, nothing pruned or repaired.

    Raises:
        InvalidValueError: a width that was not profiled.
    """
    module, quantisers = with_quantisers(traced)
    for tensor, quantiser in quantisers.items():
        quantiser.chosen = profile.range_of(tensor, bits)
    masks = tuple(np.ones(group.channels, bool) for group in traced.network.groups)
    records = []
    for target, kept in zip(traced.layer_targets, kept_channels(traced.network, masks), strict=True):
        layer = weight_layer(module, target)
        matrix = layer.weight.detach().reshape(layer.weight.shape[0], -1)
        scale = weight_scales(matrix, bits, torch.ones(1))
        levels = (matrix / scale[:, None]).round_().clamp_(*weight_levels(bits))
        layer.weight.copy_((levels * scale[:, None]).reshape(layer.weight.shape))
        hashed = levels_sha256(levels.numpy().astype(np.int64))
        records.append(LayerRecord(target, Scheme(DENSE, 1.0, bits, bits), kept, scale.numpy(), hashed))
    return Compressed(traced, module, masks, tuple(records))
