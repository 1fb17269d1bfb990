"""The modules that hold weights."""

from __future__ import annotations

from typing import Union

import torch
from torch import Tensor, nn

from compress.device import device_of
from networks.trace import TracedNetwork

WeightLayer = Union[nn.Conv2d, nn.Linear]


def weight_layer(module: nn.Module, target: str) -> WeightLayer:
    """Returns the convolution or linear layer at a module path.

    Raises:
        TypeError: another kind of module is there.
    """
    found = module.get_submodule(target)
    if not isinstance(found, nn.Conv2d | nn.Linear):
        raise TypeError(
            f"{target} is a {type(found).__name__}; only Conv2d and Linear hold weights that are compressed"
        )
    return found


def weight_layers(module: nn.Module, traced: TracedNetwork) -> list[WeightLayer]:
    """Returns the layers of a traced network, or of a copy of its module, in plan order."""
    return [weight_layer(module, target) for target in traced.layer_targets]


def fast_layout(module: nn.Module, images: Tensor) -> torch.memory_format:
    """Returns the layout in which images should be given: channels-last, about twice as fast on CPUs, where it runs.

    A network that views tensors in the default layout fails in the other and gets the default one, and so does CUDA,
    where the other is made for half precision.
    """
    device = device_of(module)
    if device.type == "cuda":
        return torch.contiguous_format
    try:
        with torch.inference_mode():
            module(images[:1].to(device).contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return torch.contiguous_format
    return torch.channels_last
