"""Rounding of one layer's weights, up or down, chosen by descent on what its outputs become behind their activation.

Source: Nagel et al., Up or Down? Adaptive Rounding (arXiv 2004.10568), equations 21 to 25: the layer's inputs are
those of the compressed network, the outputs to reach are those of the refitted weights before rounding, no labels.
Means are repaired elsewhere, so they are taken out. An output keeps the levels that it had where descent finds none
that lose less on the samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from compress.quantize import weight_levels
from compress.repair import RepairedLayer

ROWS = 256
RATE = 1e-2
STRETCH, SHIFT = 1.2, -0.1
"""A rounding variable is a sigmoid times 1.2 less 0.1, cut to [0, 1] (equation 23)."""
WARM = 0.2
"""Share of the steps before rounding variables are drawn to 0 and 1."""
STEEPEST, FLATTEST = 20.0, 2.0
"""Exponents of the pull at its beginning and its end (equation 24)."""
PULL = 1.0
"""Weight of the pull against an error in shares of the error that rounding in order leaves."""


@dataclass(frozen=True)
class Samples:
    """Sampled inputs of one layer, and what becomes of its outputs.

    inputs: float32 (G, n, D), of the compressed network
    activation: takes outputs without bias (n, K) to what stands behind the layer's batch norm and activation, (n, K)
    """

    inputs: Tensor
    activation: Callable[[Tensor], Tensor]


def adarounded(weight: Tensor, found: RepairedLayer, samples: Samples, *, steps: int, seed: int) -> RepairedLayer:
    """Returns a repaired layer with levels that lose no more on the samples than those that it has.

    Computed where the samples are.

    Args:
        weight: (K, D), the refitted weights before they were rounded
        found: how they were rounded
        samples: of the layer
        steps: of descent
        seed: draws the samples of every step
    """
    with torch.enable_grad():
        task = _Task.of(weight, found, samples)
        levels = task.descended(steps, torch.Generator().manual_seed(seed))
        old = torch.from_numpy(found.levels.astype(np.float32)).to(levels.device)
        better = task.losses(levels) < task.losses(old)
        chosen = torch.where(better[:, None], levels, old)
    return replace(found, levels=chosen.cpu().to(torch.int8 if found.levels.dtype == np.int8 else torch.int16).numpy())


@dataclass(frozen=True)
class _Task:
    """What is minimised: weights between `floor` and `floor + 1` times the scale, (K, D); samples centred."""

    weight: Tensor
    scale: Tensor
    mask: Tensor
    limits: tuple[Tensor, Tensor]
    inputs: Tensor
    wanted: Tensor
    mean: Tensor
    activation: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, weight: Tensor, found: RepairedLayer, samples: Samples) -> _Task:
        weight, device = weight.to(samples.inputs.device), samples.inputs.device
        zero = torch.zeros(len(found.scale)) if found.zero_point is None else torch.from_numpy(found.zero_point).float()
        zero, (low, high) = zero.to(device), weight_levels(found.bits)
        inputs = samples.inputs - samples.inputs.mean(1, keepdim=True)
        outputs = _by_output(samples.inputs @ _by_group(weight, len(inputs)))
        return cls(
            weight=weight,
            scale=torch.from_numpy(found.scale).to(device)[:, None],
            mask=torch.from_numpy(found.mask).float().to(device),
            limits=((low - zero)[:, None], (high - zero)[:, None]),
            inputs=inputs,
            wanted=samples.activation(outputs),
            mean=outputs.mean(0),
            activation=samples.activation,
        )

    def descended(self, steps: int, generator: torch.Generator) -> Tensor:
        """Returns whole-numbered levels (K, D)."""
        exact = self.weight / self.scale
        floor = exact.floor()
        share = ((exact - floor - SHIFT) / STRETCH).clamp(1e-3, 1 - 1e-3)
        variables = torch.log(share / (1 - share)).requires_grad_(True)
        unit = float(self.losses(exact.round().clamp(*self.limits) * self.mask).sum().clamp_min(1e-20))
        optimiser = torch.optim.Adam([variables], lr=RATE)
        count = self.wanted.shape[0]
        for step in range(steps):
            rows = torch.randint(count, (min(ROWS, count),), generator=generator).to(exact.device)
            up = _rectified(variables)
            loss = self._errors((floor + up).clamp(*self.limits) * self.mask, rows).sum() / unit
            if step >= WARM * steps:
                left = 1 - (step / steps - WARM) / (1 - WARM)
                exponent = FLATTEST + (STEEPEST - FLATTEST) * left
                loss = loss + PULL * (1 - (2 * up - 1).abs().pow(exponent)).mul(self.mask).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        up = (_rectified(variables.detach()) >= 0.5).float()
        return (floor + up).clamp(*self.limits) * self.mask

    @torch.no_grad()
    def losses(self, levels: Tensor) -> Tensor:
        """Returns every output's mean squared error over all samples, (K,)."""
        return self._errors(levels, torch.arange(self.wanted.shape[0], device=levels.device))

    def _errors(self, levels: Tensor, rows: Tensor) -> Tensor:
        weight = _by_group(levels * self.scale, len(self.inputs))
        outputs = _by_output(self.inputs[:, rows] @ weight) + self.mean
        return (self.activation(outputs) - self.wanted[rows]).square().mean(0)


def _by_group(weight: Tensor, groups: int) -> Tensor:
    """Returns weights (K, D) by convolution group, (G, D, K / G)."""
    return weight.reshape(groups, -1, weight.shape[1]).transpose(1, 2)


def _by_output(values: Tensor) -> Tensor:
    """Returns (n, K) of values by convolution group, (G, n, K / G)."""
    return values.permute(1, 0, 2).reshape(values.shape[1], -1)


def _rectified(variables: Tensor) -> Tensor:
    return (torch.sigmoid(variables) * STRETCH + SHIFT).clamp(0, 1)
