"""Integer weights of a compressed network with its batch norms folded in, as integer runtimes take them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from compress.apply import Compressed, LayerRecord
from compress.modules import weight_layer

CONTAINERS = (4, 8, 16)
"""Widths of the signed integers that hold levels."""


@dataclass(frozen=True, eq=False)
class IntegerLayer:
    """A layer's weights as integers: weight = (levels - zero_point) * scale.

    levels: int16, shape of the weight tensor, within `container_bits`
    zero_point: int16 (K',), within `container_bits`, 0 where weights are rounded symmetrically
    scale: float32 (K',), one per output; negative only where the container does not hold the negated levels
    container_bits: 4, 8 or 16, the narrowest that holds every level of the layer's width
    """

    levels: NDArray[np.int16]
    zero_point: NDArray[np.int16]
    scale: NDArray[np.float32]
    container_bits: int


@dataclass(frozen=True, eq=False)
class Folded:
    """A network without the batch norms that its layers could take in, and the layers' integer weights by path."""

    module: fx.GraphModule
    layers: dict[str, IntegerLayer]


def fold(compressed: Compressed) -> Folded:
    """Returns a copy whose layers take in the batch norm that follows them; its output is the same but for rounding.

    A batch norm multiplies the scale of every output, never its levels. A batch norm stays where a layer is called more
    than once.
    """
    module = copy.deepcopy(compressed.module)
    layers = {}
    for record in compressed.records:
        found = _integer(module, record)
        norm = _norm_behind(module, record.target)
        layers[record.target] = found if norm is None else _fold_one(module, record.target, found, norm)
    module.recompile()
    return Folded(module, layers)


def container_bits(bits: int) -> int:
    """Returns the narrowest width of `CONTAINERS` that holds levels of that width."""
    return next(width for width in CONTAINERS if bits <= width)


def _integer(module: fx.GraphModule, record: LayerRecord) -> IntegerLayer:
    weight = weight_layer(module, record.target).weight.detach().numpy()
    kept = record.kept.outputs if len(weight) == np.count_nonzero(record.kept.outputs) else slice(None)
    scale = record.scale[kept].astype(np.float32)
    zero_point = np.zeros(len(weight), np.int64) if record.zero_point is None else record.zero_point[kept]
    levels = np.rint(weight / _per_output(scale, weight.ndim)) + _per_output(zero_point, weight.ndim)
    bits = container_bits(record.scheme.weight_bits)
    return _upright(IntegerLayer(levels.astype(np.int16), zero_point.astype(np.int16), scale, bits))


def _upright(found: IntegerLayer) -> IntegerLayer:
    """Returns the same weights with positive scales wherever the container holds the levels of the other sign.

    Not every runtime takes negative scales; level -8 in four bits has no counterpart.
    """
    most = 2 ** (found.container_bits - 1) - 1
    lowest = np.minimum(found.levels.reshape(len(found.levels), -1).min(1, initial=0), found.zero_point)
    sign = np.where((found.scale < 0) & (-lowest <= most), -1, 1).astype(np.int16)
    levels = found.levels * _per_output(sign, found.levels.ndim)
    return IntegerLayer(levels, found.zero_point * sign, found.scale * sign.astype(np.float32), found.container_bits)


def _per_output(values: NDArray[Any], dims: int) -> NDArray[Any]:
    return values.reshape(-1, *([1] * (dims - 1)))


def _norm_behind(module: fx.GraphModule, target: str) -> fx.Node | None:
    """Returns the call of the batch norm that alone reads a layer called once."""
    calls = [node for node in module.graph.nodes if node.op == "call_module" and node.target == target]
    readers = list(calls[0].users) if len(calls) == 1 else []
    if len(readers) != 1 or readers[0].op != "call_module":
        return None
    norm = module.get_submodule(str(readers[0].target))
    shared = sum(node.target == readers[0].target for node in module.graph.nodes) > 1
    return None if shared or not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None else readers[0]


def _fold_one(module: fx.GraphModule, target: str, found: IntegerLayer, node: fx.Node) -> IntegerLayer:
    """Folds one batch norm into its layer; returns the layer's integers."""
    layer, norm = weight_layer(module, target), module.get_submodule(str(node.target))
    factor, shift = affine(norm)
    dims, left = found.levels.ndim, (factor != 0).astype(np.int16)  # the norm erases outputs of factor 0
    levels, zero_point = found.levels * _per_output(left, dims), found.zero_point * left
    scale = np.where(factor == 0, found.scale, found.scale * factor).astype(np.float32)
    folded = _upright(IntegerLayer(levels, zero_point, scale, found.container_bits))
    weight = (folded.levels - _per_output(folded.zero_point, dims)) * _per_output(folded.scale, dims)
    bias = 0.0 if layer.bias is None else layer.bias.detach().numpy().astype(np.float64)
    layer.weight = nn.Parameter(torch.from_numpy(weight), requires_grad=False)
    layer.bias = nn.Parameter(torch.from_numpy((bias * factor + shift).astype(np.float32)), requires_grad=False)
    node.replace_all_uses_with(node.all_input_nodes[0])
    module.graph.erase_node(node)
    return folded


def affine(norm: nn.Module) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns factor and shift (channels,) of a batch norm in evaluation mode."""
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError(f"{type(norm).__name__} is no batch norm with running statistics")
    mean, variance = norm.running_mean.cpu().double(), norm.running_var.cpu().double()
    factor = 1.0 / torch.sqrt(variance + norm.eps)
    if norm.affine:
        factor = factor * norm.weight.detach().cpu().double()
    shift = -mean * factor + (norm.bias.detach().cpu().double() if norm.affine else 0.0)
    return factor.numpy(), shift.numpy()
