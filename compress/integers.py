"""A compressed network run on integers, as an accelerator runs it: levels times levels, summed exactly, scaled once.

Convolutions that read a rounded tensor take its levels as they are stored, and oneDNN's 8-bit products, of which a
processor does four in the time of one float product. Batch norms behind them are folded into the scales, and where
convolutions alone read what is rounded next, its levels come straight out of the sums. The float network computes the
same sums in float32, so answers differ where a value lies as good as half-way between two levels.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from compress.behind import norm_behind, only_reader
from compress.eight_bits import Packed
from compress.fake_quant import FakeQuantiser
from compress.folding import affine
from compress.in_place import called
from compress.quantize import ActivationRange
from compress.repair import RepairedLayer

CAPS: dict[object, float] = {functional.relu6: 6.0, nn.ReLU6: 6.0}
"""Rectifiers that also cut values off, and where."""


@dataclass
class Site:
    """A convolution that can run on integers.

    layer: place in the plan; reads: what rounds its input
    norm, norm_node: the batch norm that alone reads it; writes: what rounds the values after that, or its own, if only
    sites read those; cap_node, cap: what cuts values off in between, and where; infinite where nothing does
    """

    layer: int
    conv: nn.Conv2d
    reads: FakeQuantiser
    norm: nn.BatchNorm2d | None
    norm_node: fx.Node | None
    writes: FakeQuantiser | None = None
    cap_node: fx.Node | None = None
    cap: float = math.inf
    repaired: RepairedLayer | None = None
    packed: Packed | None = None
    scale: Tensor | None = None
    shifted: bool = False
    folded: tuple[Tensor, Tensor] | None = None

    @property
    def runs(self) -> bool:
        """Whether it runs on integers now: it has levels, reads levels, and nobody watches it who is to see it run."""
        return self.packed is not None and self.reads.chosen is not None and not _watched(self.conv)

    @property
    def folds(self) -> bool:
        """Whether the batch norm behind it may be folded in: it is there, and nobody watches it."""
        return self.norm is not None and not _watched(self.norm)

    @property
    def target(self) -> ActivationRange | None:
        """The range to which its sums are rounded at once, None where they stay values.

        Levels from zero up rectify by themselves, and cut off where the highest of them stands for the cap.
        """
        chosen = None if self.writes is None else self.writes.chosen
        if self.writes is None or chosen is None or (self.norm is not None and not self.folds):
            return None
        rectified = self.writes.rectifies or self.cap < math.inf
        alike = chosen.zero_point == 0 or not rectified
        return chosen if alike and chosen.scale * (chosen.top - 0.5) < self.cap else None

    def scales(self) -> tuple[Tensor, Tensor | None]:
        """Returns what sums are multiplied by and what is added, (K,) each, the batch norm's where it folds."""
        if self.scale is None:
            raise RuntimeError("a convolution without levels")
        if self.norm is None or not self.folds:
            return self.scale, self.conv.bias
        self.folded = self.folded or _folded(self.scale, self.conv.bias, self.norm)
        return self.folded


@dataclass(frozen=True)
class _Rounding:
    """A rounding whose levels sites read: they alone, or others as well, who read values."""

    quantiser: FakeQuantiser
    readers: tuple[Site, ...]
    alone: bool

    @classmethod
    def of(cls, node: fx.Node, quantiser: FakeQuantiser, sites: dict[fx.Node, Site]) -> _Rounding:
        """Returns the rounding that a node computes."""
        readers = tuple(sites[user] for user in node.users if user in sites)
        return cls(quantiser, readers, len(readers) == len(node.users))

    @property
    def levels(self) -> bool:
        """Whether somebody reads levels now."""
        return any(site.runs for site in self.readers)

    @property
    def values(self) -> bool:
        """Whether somebody reads values now."""
        return not self.alone or not all(site.runs for site in self.readers)


class IntegerInterpreter(fx.Interpreter):
    """Runs a network node by node, those convolutions on integers that have been given levels.

    Args:
        module: the network with its roundings, on the processor
        layers: nodes of the layers in plan order
    """

    def __init__(self, module: fx.GraphModule, layers: Sequence[fx.Node]) -> None:
        super().__init__(module)
        self.sites = _sites(module, layers)
        self._norms = {site.norm_node: site for site in self.sites.values() if site.norm_node is not None}
        self._roundings = {
            read: _Rounding.of(read, site.reads, self.sites)
            for node, site in self.sites.items()
            for read in node.all_input_nodes[:1]
        }
        self._caps = {site.cap_node for site in self.sites.values() if site.cap_node is not None}
        self._levels: dict[fx.Node, tuple[weakref.ref[Tensor], Tensor]] = {}

    def take(self, repaired: Sequence[RepairedLayer]) -> None:
        """Takes the levels of a plan's layers, with the ranges and statistics that the network has now."""
        for site in self.sites.values():
            site.folded = None
            found, chosen = repaired[site.layer], site.reads.chosen
            shifted = chosen is not None and chosen.zero_point != 0
            if site.repaired is not found or site.shifted != shifted:
                site.repaired, site.shifted = found, shifted
                site.scale, site.packed = _packed(site.conv, found, shifted)

    def run_node(self, n: fx.Node) -> object:
        """Returns what a node gives: float32 values, or uint8 levels where only sites read them."""
        if n in self.sites:
            return self._convolved(n, self.sites[n])
        if n in self._norms and self._norms[n].runs and self._norms[n].folds:
            return self._read(n)
        if n in self._caps and self._read(n).dtype == torch.uint8:
            return self._read(n)
        rounding = self._roundings.get(n)
        if rounding is not None and rounding.quantiser.chosen is not None and rounding.levels:
            return self._rounded(n, rounding, rounding.quantiser.chosen)
        return super().run_node(n)

    def _read(self, node: fx.Node) -> Tensor:
        """Returns the value that a node reads first."""
        found: Tensor = self.env[node.all_input_nodes[0]]
        return found

    def _rounded(self, node: fx.Node, rounding: _Rounding, chosen: ActivationRange) -> Tensor:
        """Returns levels where sites alone read them, else values, whose levels are kept for sites while they live."""
        read = self._read(node)
        if read.dtype == torch.uint8:  # the convolution in front has rounded
            return read
        steps = rounding.quantiser.steps(read, chosen)
        levels = _levels_of(steps, chosen)
        if not rounding.values:
            return levels
        values = steps.mul_(chosen.scale)
        self._levels = {key: pair for key, pair in self._levels.items() if pair[0]() is not None}
        self._levels[node] = weakref.ref(values), levels
        return values

    def _convolved(self, node: fx.Node, site: Site) -> Tensor:
        read, chosen = self._read(node), site.reads.chosen
        if chosen is None or site.packed is None or not site.runs:
            found: Tensor = site.conv(read if chosen is None else _values_of(read, chosen))
            return found
        kept = self._levels.get(node.all_input_nodes[0])
        if kept is not None and kept[0]() is read:
            read = kept[1]
        elif read.dtype != torch.uint8:  # values that were kept of a run before
            read = _levels_of((read * chosen.inverse).round_(), chosen)
        scale, bias = site.scales()
        found = site.packed.convolved(read, chosen, scale, bias, site.target)
        return found if site.target is None else found.clamp_(max=site.target.top)


def _levels_of(steps: Tensor, chosen: ActivationRange) -> Tensor:
    """Returns levels as they are stored, uint8, of whole steps from zero; by way of int16, whose cast is vectorised."""
    return steps.to(torch.int16).add_(chosen.zero_point).to(torch.uint8)


def _values_of(read: Tensor, chosen: ActivationRange) -> Tensor:
    """Returns what levels stand for, float32; values as they are."""
    return (read.to(torch.float32) - chosen.zero_point) * chosen.scale if read.dtype == torch.uint8 else read


def _sites(module: fx.GraphModule, layers: Sequence[fx.Node]) -> dict[fx.Node, Site]:
    """Returns the convolutions that can run on integers, by their nodes."""
    found: dict[fx.Node, Site] = {}
    for index, node in enumerate(layers):
        conv, reads = called(module, node), called(module, next(iter(node.all_input_nodes), None))
        if isinstance(conv, nn.Conv2d) and isinstance(reads, FakeQuantiser) and _suits(conv):
            norm, last = norm_behind(module, node)
            found[node] = Site(index, conv, reads, norm, last if norm is not None else None)
    for node, site in found.items():
        follows = only_reader(site.norm_node or node)
        site.cap = _cap_of(called(module, follows))
        if follows is not None and site.cap < math.inf:
            site.cap_node, follows = follows, only_reader(follows)
        writes = called(module, follows)
        if follows is not None and isinstance(writes, FakeQuantiser) and all(user in found for user in follows.users):
            site.writes = writes
    return found


def _cap_of(rectifier: object) -> float:
    """Returns where a module or function cuts values off, infinity where it does not."""
    return CAPS.get(type(rectifier) if isinstance(rectifier, nn.Module) else rectifier, math.inf)


def _suits(conv: nn.Conv2d) -> bool:
    """Returns whether a convolution is one that oneDNN runs fast: whole or depthwise, padded by zeros."""
    plain = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return plain and conv.groups in (1, conv.in_channels)


def _packed(conv: nn.Conv2d, found: RepairedLayer, shifted: bool) -> tuple[Tensor | None, Packed | None]:
    """Returns the scales of a layer's outputs and its levels, packed; None where they are too wide."""
    if found.zero_point is not None or found.levels.dtype != np.int8:
        return None, None
    sign = np.where(found.scale < 0, -1, 1).astype(np.int8)
    levels = torch.from_numpy(found.levels * sign[:, None]).reshape(conv.weight.shape)
    return torch.from_numpy(np.abs(found.scale)), Packed.of(conv, levels, shifted=shifted)


def _folded(scale: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Returns scales and biases (K,) that do a batch norm's work as well."""
    factor, shift = (torch.from_numpy(part) for part in affine(norm))
    moved = shift if bias is None else shift + factor * bias.double()
    return (factor * scale).float(), moved.float()


def _watched(module: nn.Module) -> bool:
    """Returns whether hooks stand on a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks)
