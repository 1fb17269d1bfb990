"""The copy of a network that measurements load plans into and run, on a device."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from compress.device import CPU, moved, placed
from compress.fake_quant import with_quantisers
from compress.in_place import work_apart, work_in_place
from compress.modules import fast_layout, weight_layers
from networks.trace import TracedNetwork


class WorkingNetwork:
    """A copy of a network that rounds every stored tensor, and whose weights change from plan to plan.

    Args:
        traced: the dense network
        images: some that it takes, float32 (N, C, H, W)
        device: where it is to run
        in_place: whether its activations may overwrite what they read
    """

    def __init__(self, traced: TracedNetwork, images: Tensor, device: torch.device, *, in_place: bool) -> None:
        self.device = device
        self.module, self.quantisers = with_quantisers(placed(traced, device))
        if in_place:
            work_in_place(self.module)
        self.memory_format = fast_layout(self.module, images)
        self.module.to(memory_format=self.memory_format)
        self.layers = weight_layers(self.module, traced)
        self.dense_weights = [layer.weight.detach().clone() for layer in self.layers]

    def arranged(self, batch: Tensor) -> Tensor:
        """Returns images on the device and in the layout that the network is fast with."""
        return batch.to(self.device).contiguous(memory_format=self.memory_format)

    def run(self, batch: Tensor) -> Tensor:
        """Returns the outputs for images (N, C, H, W), on the device, (N, classes)."""
        outputs: Tensor = self.module(self.arranged(batch))
        return outputs

    def write(self, index: int, weight: NDArray[np.float32]) -> None:
        """Gives the layer at an index other weights, (K, D)."""
        own = self.layers[index].weight
        with torch.inference_mode():
            own.copy_(torch.from_numpy(weight).reshape(own.shape))

    def write_dense(self, index: int) -> None:
        """Gives the layer at an index its own weights back."""
        with torch.inference_mode():
            self.layers[index].weight.copy_(self.dense_weights[index])

    def exported(self) -> fx.GraphModule:
        """Returns a copy on the processor, in the default layout, that overwrites nothing."""
        module = moved(copy.deepcopy(self.module), CPU).to(memory_format=torch.contiguous_format)
        work_apart(module)
        return module
