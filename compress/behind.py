"""What stands behind a layer in its network: bias, batch norm and activation, as one function of its outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from compress.folding import affine
from compress.modules import WeightLayer

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.GELU, nn.Hardsigmoid, nn.Sigmoid, nn.LeakyReLU, nn.ELU)
Function = Callable[[Tensor], Tensor]
FUNCTIONS: dict[object, Function] = {
    F.relu: torch.relu,
    torch.relu: torch.relu,
    F.relu6: F.relu6,
    F.hardswish: F.hardswish,
    F.silu: F.silu,
}
METHODS: dict[object, Function] = {"relu": torch.relu, "sigmoid": torch.sigmoid}


def behind(module: nn.Module, node: fx.Node, layer: WeightLayer) -> Function:
    """Returns what takes outputs without bias (n, K) through bias, batch norm and activation, where these follow alone.

    Args:
        module: the network
        node: the call of the layer
        layer: the layer itself
    """
    outputs, device = layer.weight.shape[0], layer.weight.device
    factor, shift = torch.ones(outputs, device=device), torch.zeros(outputs, device=device)
    if layer.bias is not None:
        shift = layer.bias.detach().clone()
    norm, last = norm_behind(module, node)
    if norm is not None:
        factor, offset = (torch.from_numpy(part).float().to(device) for part in affine(norm))
        shift = shift * factor + offset
    activate = _activation(module, only_reader(last))

    def through(outputs: Tensor) -> Tensor:
        return activate(outputs * factor + shift)

    return through


def norm_behind(module: nn.Module, node: fx.Node) -> tuple[nn.BatchNorm2d | None, fx.Node]:
    """Returns the batch norm that alone reads a node's value, and its call; None and the node where there is none."""
    reader = only_reader(node)
    found = module.get_submodule(str(reader.target)) if reader is not None and reader.op == "call_module" else None
    if reader is not None and isinstance(found, nn.BatchNorm2d) and found.running_mean is not None:
        return found, reader
    return None, node


def only_reader(node: fx.Node) -> fx.Node | None:
    """Returns what reads a value if nothing else does, else None."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def _activation(module: nn.Module, node: fx.Node | None) -> Function:
    """Returns the activation that a node computes, never in place; nothing happens where it is none."""
    if node is not None and node.op == "call_module":
        found = module.get_submodule(str(node.target))
        if isinstance(found, ACTIVATIONS):
            found = copy.copy(found)
            if hasattr(found, "inplace"):
                found.inplace = False
            return found
    if node is not None and node.op == "call_function" and node.target in FUNCTIONS:
        return FUNCTIONS[node.target]
    if node is not None and node.op == "call_method" and node.target in METHODS:
        return METHODS[node.target]
    return _unchanged


def _unchanged(outputs: Tensor) -> Tensor:
    return outputs
