"""Rounding of a stored activation tensor inside a network, as a module."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from compress.quantize import ActivationRange, steps_of
from networks.trace import TracedNetwork


class FakeQuantiser(nn.Module):
    """Rounds what passes to the levels of its range; passes everything on while it has none.

    With `rectifies` set it also does the work of a rectifier that was taken out before it. Levels that begin at zero
    rectify by themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.chosen: ActivationRange | None = None
        self.in_place = False
        self.rectifies = False

    @property
    def bits(self) -> int | None:
        """Width to which values are rounded, None while they are not."""
        return None if self.chosen is None else self.chosen.bits

    def forward(self, values: Tensor) -> Tensor:
        """Returns the values on their levels, float32; in the memory of `values` when `in_place` is set."""
        if self.chosen is None:
            return self._rectified(values) if self.rectifies else values
        return self.steps(values, self.chosen).mul_(self.chosen.scale)

    def steps(self, values: Tensor, chosen: ActivationRange) -> Tensor:
        """Returns how many steps of a range from zero the rounded values are, whole numbers as float32; likewise."""
        if self.rectifies and chosen.zero_point != 0:
            values = self._rectified(values)
        return steps_of(values, chosen, in_place=self.in_place)

    def _rectified(self, values: Tensor) -> Tensor:
        return functional.relu(values, inplace=self.in_place)


class PlainQuantiser(nn.Module):
    """The same rounding in elementary operations, which every exporter knows; equal to the last bit."""

    def __init__(self, chosen: ActivationRange) -> None:
        super().__init__()
        self.chosen = chosen

    @property
    def bits(self) -> int:
        """Width to which values are rounded."""
        return self.chosen.bits

    def forward(self, values: Tensor) -> Tensor:
        """Returns the values on their levels, float32."""
        lowest = -self.chosen.zero_point
        level = torch.clamp(torch.round(values * self.chosen.inverse), lowest, self.chosen.top + lowest)
        return level * self.chosen.scale


def with_quantisers(traced: TracedNetwork) -> tuple[fx.GraphModule, dict[str, FakeQuantiser]]:
    """Returns a copy of the network that rounds every stored tensor, and the quantisers by tensor name.

    Everything that reads the tensor, residual adds included, reads the rounded values.
    """
    module = copy.deepcopy(traced.module).eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    nodes = {node.name: node for node in module.graph.nodes}
    quantisers: dict[str, FakeQuantiser] = {}
    for i, (tensor, name) in enumerate(traced.tensor_nodes.items()):
        quantisers[tensor] = FakeQuantiser()
        target = f"quantiser_{i}"
        module.add_submodule(target, quantisers[tensor])
        with module.graph.inserting_after(nodes[name]):
            rounding = module.graph.call_module(target, (nodes[name],))
        nodes[name].replace_all_uses_with(rounding, delete_user_cb=lambda user, own=rounding: user is not own)
    module.recompile()
    return module, quantisers
