"""A compressed network as a thing: its module, and a record of what was done to every layer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import fx

from compress.fake_quant import FakeQuantiser, PlainQuantiser
from compress.masks import BoolArray, KeptChannels
from compress.quantize import ActivationRange
from compress.repair import RepairedLayer
from networks.trace import TracedNetwork
from plan.layer import Layer
from plan.scheme import Scheme


def left_rows_and_columns(layer: Layer, kept: KeptChannels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the dense rows (K',) and, per row, the dense columns (K', D') that are left of a layer's matrix."""
    rows = np.flatnonzero(kept.outputs)
    per_group = np.ones((layer.groups, 1), bool) if layer.depthwise else kept.inputs.reshape(layer.groups, -1)
    columns = np.nonzero(np.repeat(per_group, layer.R * layer.S, axis=1))[1].reshape(layer.groups, -1)
    return rows, columns[rows // (layer.K // layer.groups)]


def levels_sha256(levels: NDArray[np.int64]) -> str:
    """Returns the hash of a matrix of levels."""
    content = np.ascontiguousarray(levels.astype("<i4"))
    return hashlib.sha256(str(content.shape).encode() + content.tobytes()).hexdigest()


@dataclass(frozen=True)
class LayerRecord:
    """What one layer of a compressed network must look like.

    scale: float32 (K,), weights are whole multiples of it; levels_sha256: of these multiples (K', D') that are left,
    their order that of the dense tensor; zero_point: int64 (K,), what is added where they are stored, None for 0.
    """

    target: str
    scheme: Scheme
    kept: KeptChannels
    scale: NDArray[np.float32]
    levels_sha256: str
    zero_point: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls, layer: Layer, target: str, *, scheme: Scheme, kept: KeptChannels, repaired: RepairedLayer
    ) -> LayerRecord:
        """Returns the record of a repaired layer."""
        rows, columns = left_rows_and_columns(layer, kept)
        left = repaired.levels[rows[:, None], columns].astype(np.int64)
        return cls(target, scheme, kept, repaired.scale, levels_sha256(left), repaired.zero_point)


@dataclass(frozen=True, eq=False)
class Compressed:
    """A compressed network.

    module: dense shapes with zeros where channels are removed, or physically smaller (`materialize`)
    group_masks: per channel group, bool (channels,), True = kept
    records: one per layer, in plan order
    """

    traced: TracedNetwork
    module: fx.GraphModule
    group_masks: tuple[BoolArray, ...]
    records: tuple[LayerRecord, ...]

    @property
    def ranges(self) -> dict[str, ActivationRange]:
        """How each stored tensor is rounded, by tensor name; tensors that are not rounded are left out."""
        found = {
            tensor: self.module.get_submodule(f"quantiser_{i}") for i, tensor in enumerate(self.traced.tensor_nodes)
        }
        return {
            tensor: part.chosen
            for tensor, part in found.items()
            if isinstance(part, FakeQuantiser | PlainQuantiser) and part.chosen is not None
        }
