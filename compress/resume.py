"""A working network run batch by batch, from where it last differs: what stands in front is kept from the run before.

At a few places where a single tensor is alive its value is kept per batch, as far as memory allows. Once a layer has
changed, what stands behind it is forgotten; a run then begins at the last place that is left. The results are those of
a whole run to the last bit.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from compress.prefix import last_uses

SHARES = (0.25, 0.5, 0.75)
"""Values are kept where about so much of the network's work lies behind them."""


class Resumption:
    """Runs a network on batches of images and keeps values on the way.

    Args:
        interpreter: of the network, which its owner changes between runs.
        work: multiplications of the nodes that have any, by node name.
        limit_bytes: memory that the kept values may take; 0 keeps none.
    """

    def __init__(self, interpreter: fx.Interpreter, work: Mapping[str, float], limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self.nodes_run = 0
        self._interpreter = interpreter
        self._nodes = list(interpreter.graph.nodes)
        self._order = {node.name: place for place, node in enumerate(self._nodes)}
        self._ends = last_uses(self._nodes)
        self._cuts = cuts_of(self._nodes, work)
        self._values: dict[tuple[int, int], dict[int, Tensor]] = {}
        self._spare: dict[tuple[int, int], dict[int, Tensor]] = {}
        self._owners: dict[int, weakref.ref[Tensor]] = {}

    @property
    def end(self) -> int:
        """The place behind the last node: nothing stands there."""
        return len(self._nodes)

    def place(self, node_name: str) -> int:
        """Returns where a node stands in the order of execution."""
        return self._order[node_name]

    def forget_from(self, place: int) -> None:
        """Forgets every value that the node at a place, or one behind it, has gone into."""
        for key, values in self._values.items():
            for cut in [cut for cut in values if cut > place]:
                self._spare.setdefault(key, {})[cut] = values.pop(cut)  # its memory takes the next plan's value

    def start(self, images: Tensor, batches: int) -> int:
        """Returns the furthest place from which all of the first batches of images can go on, 0 if there is none."""
        known = [self._known(images, number) for number in range(batches)]
        return max((cut for cut in self._cuts if all(cut in values for values in known)), default=0)

    def run(self, images: Tensor, number: int, batch: Tensor, start: int | None = None) -> Tensor:
        """Returns the network's output for a batch.

        Args:
            images: what the batch is part of; values are kept as long as this tensor lives.
            number: of the batch among the images' batches.
            batch: as the network takes it.
            start: the place from which to go on, the furthest one that is kept when None.
        """
        known = self._known(images, number)
        place = max(known, default=0) if start is None else start
        values: dict[fx.Node, Any] = {self._cuts[place]: known[place].clone()} if place else {}
        for cut in (*(cut for cut in self._cuts if cut > place), len(self._nodes)):
            output = self._run(values, place, cut, batch)
            if cut in self._cuts:
                self._keep((id(images), number), cut, values[self._cuts[cut]])
            place = cut
        return output

    def _known(self, images: Tensor, number: int) -> dict[int, Tensor]:
        """Returns the values kept of a batch, by place; those of tensors that are gone are forgotten."""
        owner = self._owners.get(id(images))
        if owner is None or owner() is not images:
            gone = {key for key, tensor in self._owners.items() if tensor() is None} | {id(images)}
            for key in [key for key in self._values if key[0] in gone]:
                held = (*self._values.pop(key).values(), *self._spare.pop(key, {}).values())
                self.bytes -= sum(value.nbytes for value in held)
            self._owners = {key: tensor for key, tensor in self._owners.items() if key not in gone}
            self._owners[id(images)] = weakref.ref(images)
        return self._values.setdefault((id(images), number), {})

    def _keep(self, key: tuple[int, int], cut: int, value: Tensor) -> None:
        known, spare = self._values[key], self._spare.get(key, {}).pop(cut, None)
        if spare is not None and spare.dtype == value.dtype:
            known[cut] = spare.copy_(value)
        elif cut not in known and self.bytes + value.nbytes <= self.limit_bytes:
            known[cut] = value.clone()
            self.bytes += value.nbytes

    def _run(self, values: dict[fx.Node, Any], start: int, end: int, batch: Tensor) -> Tensor:
        """Runs nodes in [start, end) on values, in place; returns what the last of them gives."""
        self._interpreter.env = values
        result: Tensor = batch
        with torch.inference_mode():
            for place in range(start, end):
                node = self._nodes[place]
                if node.op == "output":
                    result = values[node.args[0]]
                    break
                result = batch if node.op == "placeholder" else self._interpreter.run_node(node)
                values[node] = result
                self.nodes_run += 1
                for done in self._ends[place]:
                    values.pop(done, None)
        return result


def cuts_of(nodes: Sequence[fx.Node], work: Mapping[str, float]) -> dict[int, fx.Node]:
    """Returns the places at which values are kept, ascending, with the one node that is alive in front of each.

    Args:
        nodes: of a network, in order.
        work: multiplications by node name.
    """
    alive: set[fx.Node] = set()
    ends, done, total = last_uses(list(nodes)), 0.0, max(sum(work.values()), 1.0)
    candidates: list[tuple[int, float, fx.Node]] = []
    for place, node in enumerate(nodes):
        alive = (alive | {node}) - set(ends[place])
        done += work.get(node.name, 0.0)
        if len(alive) == 1 and 0 < done < total:
            candidates.append((place + 1, done / total, next(iter(alive))))
    nearest = {min(candidates, key=lambda found: abs(found[1] - share)) for share in SHARES if candidates}
    return {place: node for place, _, node in sorted(nearest, key=lambda found: found[0])}
