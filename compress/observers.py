"""The two passes over the calibration images: forward for moments and values, backward for sensitivities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from compress.device import device_of
from compress.modules import fast_layout, weight_layers
from compress.moments import MomentSum
from networks.trace import TracedNetwork

FORWARD_BATCH = 64
BACKWARD_BATCH = 32
BACKWARD_IMAGES = 256
VALUES_PER_TENSOR = 1 << 18

Progress = Callable[[str, int, int], None]
TensorCallback = Callable[[str, Tensor], Tensor]


@dataclass
class TensorNotes:
    """A sample of one stored activation tensor's values, its zeros, size and limits."""

    values: list[NDArray[np.float32]] = field(default_factory=list)
    zeros: int = 0
    count: int = 0
    low: float = 0.0
    high: float = 0.0

    def add(self, tensor: Tensor, wanted: int) -> None:
        """Counts zeros and keeps evenly spaced values."""
        flat = tensor.detach().reshape(-1)
        low, high = torch.aminmax(flat)
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
        self.zeros += flat.numel() - int(torch.count_nonzero(flat))
        self.count += flat.numel()
        self.values.append(flat[:: spacing(flat.numel(), wanted)].cpu().numpy().copy())

    def sample(self) -> NDArray[np.float32]:
        """Returns the kept values."""
        return np.concatenate(self.values)

    @property
    def zero_fraction(self) -> float:
        """Share of exact zeros, in [0, 1]."""
        return self.zeros / max(1, self.count)


def spacing(size: int, wanted: int) -> int:
    """Returns the step that leaves about `wanted` of `size` values; odd, so as not to alias with image widths."""
    step = max(1, size // max(1, wanted))
    return step + 1 - step % 2


@dataclass
class GradientNotes:
    """A sample of one tensor's values with the squared gradient of the loss there, and how much it stands for."""

    values: list[NDArray[np.float32]] = field(default_factory=list)
    squares: list[NDArray[np.float32]] = field(default_factory=list)
    count: int = 0

    def sample(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns the kept values and squared gradients."""
        return np.concatenate(self.values), np.concatenate(self.squares)

    def sum_of_squares(self, images: int) -> float:
        """Returns the squared gradients summed over the tensor, per image."""
        squares = np.concatenate(self.squares)
        return float(squares.mean(dtype=np.float64)) * self.count / max(1, images)


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

        device, layout = device_of(self.traced.module), fast_layout(self.traced.module, images)
        hooks = [_watch_inputs(module, notes.sums) for module, notes in zip(modules, layers, strict=True)]
        try:
            watcher = Watcher(self.traced, watch)
            with torch.inference_mode():
                for start in range(0, count, FORWARD_BATCH):
                    batch = images[start : start + FORWARD_BATCH].to(device)
                    watcher.run(batch.contiguous(memory_format=layout))
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
    """fisher: per layer float32 (K,); tensors: notes by tensor name; images: how many were seen.

    coherence: per layer, by how much the squared sum of an output channel's gradients over positions exceeds the sum of
    their squares, relative to it, at least 0. Errors at different positions then add up: with gradients g_p of
    covariance f (delta_pq + rho), an error e_p costs f/2 (sum e_p^2 + rho (sum e_p)^2), and P positions have
    coherence rho P.
    """

    fisher: list[NDArray[np.float32]]
    coherence: list[float]
    tensors: dict[str, GradientNotes]
    images: int


class BackwardPass:
    """Collects squared gradients of the loss, labels drawn from the network's own predictions.

    Source: the Fisher information with model labels, an unbiased estimate of the Gauss-Newton matrix of cross entropy
    (Kunstner et al., arXiv 1905.12558, section 2).
    """

    def __init__(self, traced: TracedNetwork, seed: int) -> None:
        self.traced = traced
        self.device = device_of(traced.module)
        self.generator = torch.Generator().manual_seed(seed)
        zeros = [torch.zeros(layer.K, dtype=torch.float64, device=self.device) for layer in traced.network.layers]
        self.fisher, self.summed = zeros, [total.clone() for total in zeros]
        self.tensors = {name: GradientNotes() for name in traced.tensor_nodes}
        self.wanted = 0

    def run(self, images: Tensor, progress: Progress) -> Sensitivities:
        """Returns the sensitivities, per image."""
        images = images[:BACKWARD_IMAGES]
        count = images.shape[0]
        self.wanted = -(-VALUES_PER_TENSOR * min(BACKWARD_BATCH, count) // count)
        modules = weight_layers(self.traced.module, self.traced)
        layout = fast_layout(self.traced.module, images)
        hooks = [_watch_gradient(*watched) for watched in zip(modules, self.fisher, self.summed, strict=True)]
        watcher = Watcher(self.traced, self._watch)
        trained = [parameter for parameter in self.traced.module.parameters() if parameter.requires_grad]
        try:
            for parameter in trained:
                parameter.requires_grad_(False)
            for start in range(0, count, BACKWARD_BATCH):
                batch = images[start : start + BACKWARD_BATCH].to(self.device)
                self._backward(watcher, batch.contiguous(memory_format=layout))
                progress("sensitivity", min(start + BACKWARD_BATCH, count), count)
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
            for hook in hooks:
                hook.remove()
        fisher = [(total / count).float().cpu().numpy() for total in self.fisher]
        pairs = zip(self.summed, self.fisher, strict=True)
        coherence = [max(float(summed.sum() / total.sum().clamp_min(1e-300)) - 1.0, 0.0) for summed, total in pairs]
        return Sensitivities(fisher, coherence, self.tensors, count)

    def _backward(self, watcher: Watcher, images: Tensor) -> None:
        with torch.enable_grad():
            logits = watcher.run(images.clone().requires_grad_(True))
            with torch.no_grad():
                odds = torch.softmax(logits, 1).cpu()  # where the generator is
                labels = torch.multinomial(odds, 1, generator=self.generator)[:, 0].to(self.device)
            loss = F.cross_entropy(logits, labels, reduction="sum")
            torch.autograd.backward(loss)

    def _watch(self, name: str, value: Tensor) -> Tensor:
        notes = self.tensors[name]
        step = spacing(value.numel(), self.wanted)
        before = value.detach().reshape(-1)[::step].cpu().numpy().copy()

        def add(gradient: Tensor) -> None:
            notes.values.append(before)
            notes.squares.append(gradient.reshape(-1)[::step].square().cpu().numpy().copy())
            notes.count += gradient.numel()

        value.register_hook(add)  # type: ignore[no-untyped-call]
        return value


def _watch_gradient(module: nn.Module, total: Tensor, summed: Tensor) -> torch.utils.hooks.RemovableHandle:
    """Adds squared gradients to `total` and squares of their sums over positions to `summed`, float64 (K,) both."""
    axis = 1 if isinstance(module, nn.Conv2d) else -1

    def collect(called: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        def add(gradient: Tensor) -> None:
            by_channel = gradient.detach().movedim(axis, 0).reshape(total.shape[0], len(gradient), -1)
            total.add_(by_channel.square().sum((1, 2), dtype=torch.float64))
            summed.add_(by_channel.sum(2).square().sum(1, dtype=torch.float64))

        output.register_hook(add)  # type: ignore[no-untyped-call]

    return module.register_forward_hook(collect)
