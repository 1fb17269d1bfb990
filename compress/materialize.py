"""Physically smaller networks: channels that a plan removes are cut out of every tensor that holds them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, fx, nn

from compress.apply import Compressed
from compress.masks import BoolArray, kept_channels
from compress.modules import weight_layers
from networks.trace import TracedNetwork, channel_slices
from plan.layer import InputSegment


def masked(traced: TracedNetwork, group_masks: Sequence[BoolArray]) -> fx.GraphModule:
    """Returns a copy of the dense network with removed filters, and what reads them, at zero."""
    module = copy.deepcopy(traced.module)
    kept = kept_channels(traced.network, group_masks)
    with torch.no_grad():
        for layer, target, left in zip(traced.network.layers, weight_layers(module, traced), kept, strict=True):
            target.weight[torch.from_numpy(~left.outputs)] = 0
            if layer.groups == 1:
                target.weight[:, torch.from_numpy(~left.inputs)] = 0
    return module


def materialized(traced: TracedNetwork, module: fx.GraphModule, group_masks: Sequence[BoolArray]) -> fx.GraphModule:
    """Returns a copy of a masked network without the removed channels; its output is the same.

    Args:
        traced: the dense network
        module: a copy of its module whose layers do not use removed channels
        group_masks: per channel group, bool (channels,), True = kept
    """
    smaller = copy.deepcopy(module)
    biased = {f"{target}.bias" for target in traced.layer_targets}
    done: set[tuple[str, int]] = set()
    for cut in channel_slices(traced):
        _cut(smaller, cut.path, cut.dim, _kept_entries(cut.segments, group_masks))
        done.add((cut.path, cut.dim))
    for layer, target in zip(traced.network.layers, traced.layer_targets, strict=True):
        path = f"{target}.bias"
        if path in biased and (path, 0) not in done and (f"{target}.weight", 0) in done:
            _cut(smaller, path, 0, torch.from_numpy(np.flatnonzero(group_masks[layer.output_group])))
    for part in smaller.modules():
        fit_attributes(part)
    return smaller


def materialize(compressed: Compressed) -> Compressed:
    """Returns the compressed network without the removed channels."""
    return replace(compressed, module=materialized(compressed.traced, compressed.module, compressed.group_masks))


def _kept_entries(segments: Sequence[InputSegment], group_masks: Sequence[BoolArray]) -> Tensor:
    keep = np.concatenate([np.repeat(group_masks[part.group], part.repeat) for part in segments])
    return torch.from_numpy(np.flatnonzero(keep))


def _cut(module: nn.Module, path: str, dim: int, entries: Tensor) -> None:
    """Replaces a parameter or buffer by the chosen entries along one dimension; a missing bias is left missing."""
    prefix, _, name = path.rpartition(".")
    owner = module.get_submodule(prefix)
    tensor = getattr(owner, name)
    if tensor is None:
        return
    smaller = tensor.detach().index_select(dim, entries).clone()
    setattr(owner, name, nn.Parameter(smaller, requires_grad=False) if isinstance(tensor, nn.Parameter) else smaller)


def fit_attributes(part: nn.Module) -> None:
    """Makes the sizes that a module states about itself fit its tensors."""
    if isinstance(part, nn.Conv2d):
        depthwise = part.groups > 1 and part.weight.shape[1] == 1 and part.groups == part.in_channels
        part.groups = part.weight.shape[0] // (part.out_channels // part.groups) if depthwise else part.groups
        part.out_channels, part.in_channels = part.weight.shape[0], part.weight.shape[1] * part.groups
    elif isinstance(part, nn.Linear):
        part.out_features, part.in_features = part.weight.shape
    elif isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
        part.num_features = part.running_mean.shape[0]
