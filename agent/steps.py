"""Single-layer changes of a plan that keep it legal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from agent.menu import CHANNELS, FILTERS, FREE, Menu, build_menus, hull
from envs.problem import Problem
from plan.assignment import IntArray
from plan.space import ACTIVATION_BITS, DENSITY, METHOD, WEIGHT_BITS, Choices

NEIGHBOURS = (
    (DENSITY, -2),
    (DENSITY, -1),
    (DENSITY, 1),
    (DENSITY, 2),
    (WEIGHT_BITS, -1),
    (WEIGHT_BITS, 1),
    (ACTIVATION_BITS, -1),
    (ACTIVATION_BITS, 1),
)

BITS = 15
SHIFTS = BITS * np.arange(3, -1, -1)
"""Where the numbers of a choice stand in one number."""
REMEMBERED = 16384
"""Lists of a layer's alternatives, some 100 of four numbers each."""


@dataclass(frozen=True, eq=False)
class Steps:
    """Changes of one plan: the layer changed (n,), its new choice int16 (n, 4), and the group it starts to prune.

    `group` is -1 for changes that prune no channel group.
    """

    layer: IntArray
    choice: Choices
    group: IntArray

    def __len__(self) -> int:
        return len(self.layer)


class Stepper:
    """Proposes steps: to every alternative that is best at some exchange rate, and to neighbours on the grids.

    Args:
        problem: gives space and table.
        limited: costs with limits of their own, columns of energy_uj, latency_ms, size_kb.
    """

    def __init__(self, problem: Problem, limited: Sequence[int] = ()) -> None:
        self.space = problem.space
        self.menus = tuple(_shortened(menu, limited) for menu in build_menus(problem, limited))
        self._rows = lru_cache(REMEMBERED)(self._alternatives)

    def steps(self, choice: Choices) -> Steps:
        """Returns the changes of a plan int16 (L, 4) that are worth judging, all legal on their own."""
        parts = [self._layer_steps(choice, layer) for layer in range(self.space.n_layers)]
        layers = np.repeat(np.arange(len(parts)), [len(rows) for rows in parts])
        rows = np.concatenate(parts)
        return Steps(layers, rows, self._pruned_group(layers, rows))

    def _layer_steps(self, choice: Choices, layer: int) -> Choices:
        return self._rows(layer, tuple(choice[layer].tolist()), *self._taken(choice, layer))

    def _alternatives(self, layer: int, chosen: tuple[int, ...], filters: bool, channels: bool) -> Choices:
        """Returns the changes of a layer that chose this, int16 (n, 4), without filters or channels that are taken."""
        own = np.array(chosen, dtype=np.int16)
        rows = np.concatenate((self.menus[layer].choices, self._neighbours(own, layer)))
        if self.space.deciders.reader[layer] != layer:
            rows[:, ACTIVATION_BITS] = own[ACTIVATION_BITS]
        rows = _distinct(rows)
        geometry, method = self.space.geometry, rows[:, METHOD]
        conflicts = (filters & geometry.is_filter[method]) | (channels & geometry.is_channel[method])
        kept: Choices = rows[(rows != own).any(axis=1) & ~conflicts]
        return kept

    def _neighbours(self, own: Choices, layer: int) -> Choices:
        """Returns the legal choices one or two places from a layer's own on one of its grids."""
        space = self.space
        rows = np.repeat(own[None], len(NEIGHBOURS), axis=0)
        for row, (column, change) in zip(rows, NEIGHBOURS, strict=True):
            row[column] += change
        sizes = np.array((len(space.methods), space.legal.shape[2], len(space.weight_bits), len(space.activation_bits)))
        rows = rows[((rows >= 0) & (rows < sizes)).all(axis=1)]
        legal = space.legal[layer, rows[:, METHOD], rows[:, DENSITY]]
        legal &= space.weight_bits_legal[layer, rows[:, WEIGHT_BITS]]
        legal &= space.activation_bits_legal[layer, rows[:, ACTIVATION_BITS]]
        found: Choices = rows[legal]
        return found

    def _taken(self, choice: Choices, layer: int) -> tuple[bool, bool]:
        """Returns whether the group that a layer writes, and the one that it reads, is pruned by its other decider."""
        deciders, geometry = self.space.deciders, self.space.geometry
        produced, read = int(deciders.producer_group[layer]), int(deciders.consumer_group[layer])
        consumer = int(deciders.consumer[produced]) if produced >= 0 else -1
        filters = consumer >= 0 and bool(geometry.is_channel[choice[consumer, METHOD]])
        channels = read >= 0 and bool(geometry.is_filter[choice[deciders.producer[read], METHOD]])
        return filters, channels

    def _pruned_group(self, layers: IntArray, rows: Choices) -> IntArray:
        deciders, geometry = self.space.deciders, self.space.geometry
        filters, channels = geometry.is_filter[rows[:, METHOD]], geometry.is_channel[rows[:, METHOD]]
        read = np.where(channels, deciders.consumer_group[layers], -1)
        return np.where(filters, deciders.producer_group[layers], read)

    def compatible(self, order: IntArray, steps: Steps) -> IntArray:
        """Returns the steps in that order without those that touch a layer or a group which an earlier one took."""
        layers: set[int] = set()
        groups: set[int] = set()
        kept = []
        listed = (each.tolist() for each in (order, steps.layer[order], steps.group[order]))
        for step, layer, group in zip(*listed, strict=True):
            if layer not in layers and group not in groups:
                kept.append(step)
                layers.add(layer)
                groups |= {group} - {-1}
        return np.array(kept, dtype=np.int64)

    def applied(self, choice: Choices, steps: Steps) -> Choices:
        """Returns the plan after each step alone, int16 (n, L, 4)."""
        plans = np.repeat(choice[None], len(steps), axis=0)
        plans[np.arange(len(steps)), steps.layer] = steps.choice
        return self._settled(plans)

    def runs(self, choice: Choices, steps: Steps, order: IntArray) -> Choices:
        """Returns the plan after the first, the first two, ... steps of an order, int16 (len(order), L, 4)."""
        plans = np.repeat(choice[None], len(order), axis=0)
        for position, step in enumerate(order.tolist()):
            plans[position:, steps.layer[step]] = steps.choice[step]
        return self._settled(plans)

    def both(self, choice: Choices, steps: Steps, pairs: IntArray) -> Choices:
        """Returns the plan after each pair of steps (n, 2) of two layers, int16 (n, L, 4).

        A second step that prunes the group of the first is left out.
        """
        plans = np.repeat(choice[None], len(pairs), axis=0)
        group, (first, second) = steps.group[pairs], pairs.T
        plans[np.arange(len(pairs)), steps.layer[first]] = steps.choice[first]
        free = np.flatnonzero((group[:, 1] != group[:, 0]) | (group[:, 1] < 0))
        plans[free, steps.layer[second[free]]] = steps.choice[second[free]]
        return self._settled(plans)

    def _settled(self, plans: Choices) -> Choices:
        plans[..., ACTIVATION_BITS] = plans[:, self.space.deciders.reader, ACTIVATION_BITS]
        return plans


def _distinct(rows: Choices) -> Choices:
    """Returns the rows, int16 (n, 4), each once and in order of their numbers from left to right."""
    keys = np.unique(rows.astype(np.int64) @ (1 << SHIFTS))
    return (keys[:, None] >> SHIFTS & (1 << BITS) - 1).astype(np.int16)


def _shortened(menu: Menu, limited: Sequence[int]) -> Menu:
    """Returns the alternatives of a menu that are best at some exchange rate."""
    criteria = (menu.objective, *(menu.costs[:, column] for column in limited))
    rows = [
        part[hull(criterion[part], menu.error[part])]
        for part in (np.flatnonzero(menu.kind == kind) for kind in (FREE, FILTERS, CHANNELS))
        for criterion in criteria
    ]
    return menu.only(np.unique(np.concatenate(rows)))
