"""The two passes over the calibration images: forward for moments and values, backward for sensitivities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from compress.modules import weight_layers
from compress.moments import MomentSum
from compress.quantize import ActivationRange, fake_quantised
from networks.trace import TracedNetwork

FORWARD_BATCH = 64
BACKWARD_BATCH = 32
BACKWARD_IMAGES = 256
VALUES_PER_TENSOR = 1 << 18
NOISE_VALUES = 3.2e7
"""Activation values (over all tensors) on which rounding noise is weighed by gradients."""

Progress = Callable[[str, int, int], None]
TensorCallback = Callable[[str, Tensor], Tensor]


@dataclass
class TensorNotes:
    """Values, zeros and size of one stored activation tensor."""

    values: list[NDArray[np.float32]] = field(default_factory=list)
    zeros: int = 0
    count: int = 0

    def add(self, tensor: Tensor, wanted: int) -> None:
        """Counts zeros and keeps evenly spaced values."""
        flat = tensor.detach().reshape(-1)
        self.zeros += flat.numel() - int(torch.count_nonzero(flat))
        self.count += flat.numel()
        step = max(1, flat.numel() // max(1, wanted))
        step += 1 - step % 2  # odd, so that a power-of-two image width does not alias with it
        self.values.append(flat[::step].numpy().copy())

    def sample(self) -> NDArray[np.float32]:
        """Returns the kept values."""
        return np.concatenate(self.values)

    @property
    def zero_fraction(self) -> float:
        """Share of exact zeros, in [0, 1]."""
        return self.zeros / max(1, self.count)


@dataclass
class LayerNotes:
    """Sums over the inputs of one layer."""

    sums: MomentSum


class Watcher(fx.Interpreter):
    """Runs a traced network and hands every stored tensor to a callback, whose return value takes its place."""

    def __init__(self, traced: TracedNetwork, callback: TensorCallback) -> None:
        super().__init__(traced.module)
        self.names: dict[str, list[str]] = {}
        for name, node in traced.tensor_nodes.items():
            self.names.setdefault(node, []).append(name)
        self.callback = callback

    def run_node(self, n: fx.Node) -> Any:
        """Runs one node, watching it where its output is stored."""
        value = super().run_node(n)
        for name in self.names.get(n.name, ()):
            value = self.callback(name, value)
        return value


class ForwardPass:
    """Collects second moments of every layer's inputs, and values and zeros of every stored tensor."""

    def __init__(self, traced: TracedNetwork, seed: int) -> None:
        self.traced = traced
        self.seed = seed

    def run(self, images: Tensor, progress: Progress) -> tuple[list[LayerNotes], dict[str, TensorNotes]]:
        """Returns notes per layer and per tensor."""
        count = images.shape[0]
        modules = weight_layers(self.traced.module, self.traced)
        layers = [LayerNotes(MomentSum(module, count, self.seed + i)) for i, module in enumerate(modules)]
        tensors = {name: TensorNotes() for name in self.traced.tensor_nodes}
        wanted = -(-VALUES_PER_TENSOR * min(FORWARD_BATCH, count) // count)

        def watch(name: str, value: Tensor) -> Tensor:
            tensors[name].add(value, wanted)
            return value

        hooks = [_watch_inputs(module, notes.sums) for module, notes in zip(modules, layers, strict=True)]
        try:
            watcher = Watcher(self.traced, watch)
            with torch.inference_mode():
                for start in range(0, count, FORWARD_BATCH):
                    watcher.run(images[start : start + FORWARD_BATCH])
                    progress("profile", min(start + FORWARD_BATCH, count), count)
        finally:
            for hook in hooks:
                hook.remove()
        return layers, tensors


def _watch_inputs(module: nn.Module, sums: MomentSum) -> torch.utils.hooks.RemovableHandle:
    def collect(called: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sums.add(inputs[0])

    return module.register_forward_pre_hook(collect)


@dataclass
class Sensitivities:
    """fisher: per layer float32 (K,); activation_error: tensor name -> float64 (bits,)."""

    fisher: list[NDArray[np.float32]]
    activation_error: dict[str, NDArray[np.float64]]


class BackwardPass:
    """Collects squared gradients of the loss, labels drawn from the network's own predictions.

    Source: the empirical Fisher with model labels, an unbiased estimate of the Gauss-Newton matrix of cross entropy
    (Kunstner et al., arXiv 1905.12558, section 2).
    """

    def __init__(self, traced: TracedNetwork, ranges: Mapping[str, tuple[ActivationRange, ...]], seed: int) -> None:
        self.traced = traced
        self.ranges = ranges
        self.generator = torch.Generator().manual_seed(seed)
        self.fisher = [torch.zeros(layer.K, dtype=torch.float64) for layer in traced.network.layers]
        self.noise = {name: torch.zeros(len(found), dtype=torch.float64) for name, found in ranges.items()}
        self.noisy = True

    def run(self, images: Tensor, progress: Progress) -> Sensitivities:
        """Returns the sensitivities, per image."""
        images = images[:BACKWARD_IMAGES]
        noisy_images = self._noisy_images(images)
        modules = weight_layers(self.traced.module, self.traced)
        hooks = [_watch_gradient(module, total) for module, total in zip(modules, self.fisher, strict=True)]
        watcher = Watcher(self.traced, self._watch)
        trained = [parameter for parameter in self.traced.module.parameters() if parameter.requires_grad]
        try:
            for parameter in trained:
                parameter.requires_grad_(False)
            for start in range(0, images.shape[0], BACKWARD_BATCH):
                self.noisy = start < noisy_images
                self._backward(watcher, images[start : start + BACKWARD_BATCH])
                progress("sensitivity", min(start + BACKWARD_BATCH, images.shape[0]), images.shape[0])
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
            for hook in hooks:
                hook.remove()
        used = min(images.shape[0], -(-noisy_images // BACKWARD_BATCH) * BACKWARD_BATCH)
        return Sensitivities(
            [(total / images.shape[0]).float().numpy() for total in self.fisher],
            {name: (0.5 * total / used).numpy() for name, total in self.noise.items()},
        )

    def _noisy_images(self, images: Tensor) -> int:
        layers = self.traced.network.layers
        values = sum(layer.C * layer.H * layer.W for layer in layers)
        return max(1, min(images.shape[0], int(NOISE_VALUES / max(1, values))))

    def _backward(self, watcher: Watcher, images: Tensor) -> None:
        with torch.enable_grad():
            logits = watcher.run(images.clone().requires_grad_(True))
            with torch.no_grad():
                odds = torch.softmax(logits, 1)
                labels = torch.multinomial(odds, 1, generator=self.generator)[:, 0]
            loss = F.cross_entropy(logits, labels, reduction="sum")
            torch.autograd.backward(loss)

    def _watch(self, name: str, value: Tensor) -> Tensor:
        if not self.noisy or not value.requires_grad:
            return value
        before = value.detach().clone()

        def weigh(gradient: Tensor) -> None:
            squared = gradient.square()
            for i, chosen in enumerate(self.ranges[name]):
                noise = (fake_quantised(before, chosen) - before).square_()
                self.noise[name][i] += float((noise * squared).sum(dtype=torch.float64))

        value.register_hook(weigh)  # type: ignore[no-untyped-call]
        return value


def _watch_gradient(module: nn.Module, total: Tensor) -> torch.utils.hooks.RemovableHandle:
    axis = 1 if isinstance(module, nn.Conv2d) else -1

    def collect(called: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        def add(gradient: Tensor) -> None:
            squared = gradient.detach().square().movedim(axis, 0).reshape(total.shape[0], -1)
            total.add_(squared.sum(1, dtype=torch.float64))

        output.register_hook(add)  # type: ignore[no-untyped-call]

    return module.register_forward_hook(collect)
