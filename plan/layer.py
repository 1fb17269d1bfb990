"""What a network is to the search: layers in execution order, who feeds whom, and which channels hang together.

Letters: K output channels, C input channels, R x S kernel, P x Q output, H x W unpadded input, G groups.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Literal

Op = Literal["conv", "linear"]


@dataclass(frozen=True)
class InputSegment:
    """A run of a layer's input channels that belongs to one channel group.

    A concatenation gives a layer several segments. `repeat` counts the input features that one channel becomes when a
    (C, H, W) tensor is flattened in front of a linear layer: H * W there, 1 elsewhere.
    Example: 512 channels of 7 x 7 flattened -> InputSegment(group=8, channels=512, repeat=49), 25,088 features.
    """

    group: int
    channels: int
    repeat: int = 1


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer at one place of execution.

    `input_tensor` names the stored activation tensor that is read (layers that read the same tensor share its bits);
    `output_tensor` the tensor that the output becomes after the element-wise operations that follow, None when no
    layer reads it. Zero fractions are measured on calibration images, 0 without data.
    """

    name: str
    op: Op
    K: int
    C: int
    R: int
    S: int
    P: int
    Q: int
    H: int
    W: int
    stride: int
    groups: int
    input_tensor: str
    output_tensor: str | None
    inputs: tuple[InputSegment, ...]
    output_group: int
    input_zero_fraction: float = 0.0
    output_zero_fraction: float = 0.0

    @property
    def depthwise(self) -> bool:
        """Whether every channel is filtered on its own (groups == C == K > 1)."""
        return self.groups == self.C == self.K and self.groups > 1

    @property
    def weights(self) -> int:
        """Number of weights, K * (C / groups) * R * S."""
        return self.K * (self.C // self.groups) * self.R * self.S

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.weights * self.P * self.Q

    def shape(self) -> dict[str, int]:
        """Returns the shape as plan.json holds it."""
        return {name: getattr(self, name) for name in ("K", "C", "R", "S", "P", "Q", "stride", "groups")}


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are removed together: outputs joined by residual adds, gates or depthwise layers.

    `producers` and `consumers` are layer indices in execution order; a depthwise layer is in both. `frozen` is empty
    when channels may be removed, else the reason why not.
    """

    name: str
    channels: int
    producers: tuple[int, ...]
    consumers: tuple[int, ...]
    frozen: str = ""

    @property
    def prunable(self) -> bool:
        """Whether channels of the group may be removed."""
        return not self.frozen


@dataclass(frozen=True)
class Network:
    """Layers in execution order with their dataflow edges (layer index pairs) and channel groups."""

    name: str
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    groups: tuple[ChannelGroup, ...]
    edges: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shapes, edges and groups; measured zero fractions and notes do not enter."""
        bare = [replace(layer, input_zero_fraction=0.0, output_zero_fraction=0.0) for layer in self.layers]
        content = {
            "input_shape": self.input_shape,
            "layers": [asdict(layer) for layer in bare],
            "groups": [asdict(group) for group in self.groups],
            "edges": self.edges,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers for one image."""
        return sum(layer.macs for layer in self.layers)

    def with_zero_fractions(self, inputs: list[float], outputs: list[float]) -> Network:
        """Returns the same network carrying measured zero fractions, one of each per layer, in [0, 1)."""
        layers = tuple(
            replace(layer, input_zero_fraction=float(zero_in), output_zero_fraction=float(zero_out))
            for layer, zero_in, zero_out in zip(self.layers, inputs, outputs, strict=True)
        )
        return replace(self, layers=layers)
