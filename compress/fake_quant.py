"""Rounding of a stored activation tensor inside a network, as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.quantize import ActivationRange, fake_quantised


class FakeQuantiser(nn.Module):
    """Rounds what passes to the levels of its range; passes everything on while it has none."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen: ActivationRange | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Returns the values on their levels, float32."""
        return values if self.chosen is None else fake_quantised(values, self.chosen)


class PlainQuantiser(nn.Module):
    """The same rounding in elementary operations, which every exporter knows."""

    def __init__(self, chosen: ActivationRange) -> None:
        super().__init__()
        self.top = chosen.top
        self.zero_point = chosen.zero_point
        self.scale = chosen.scale

    def forward(self, values: Tensor) -> Tensor:
        """Returns the values on their levels, float32."""
        inverse = float(torch.tensor(1.0, dtype=torch.float32) / torch.tensor(self.scale, dtype=torch.float32))
        level = torch.clamp(torch.round(values * inverse) + self.zero_point, 0, self.top)
        return (level - self.zero_point) * self.scale
