"""The dense network run up to a node, so that a change behind it costs only the rest of the network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn


class Prefix:
    """Values of a network in front of a node, moved forward node by node.

    Asked for nodes in rising order, the whole sweep costs one pass in front and half a pass behind each on average.

    Args:
        module: the network; its modules must be as in the dense network whenever the prefix is moved forward
        images: float32 (N, C, H, W), one batch
    """

    def __init__(self, module: fx.GraphModule, images: Tensor) -> None:
        self.images = images
        self._interpreter = fx.Interpreter(module)
        self._nodes = list(module.graph.nodes)
        self._order = {node.name: place for place, node in enumerate(self._nodes)}
        self._ends = last_uses(self._nodes)
        self._place = 0
        self._values: dict[fx.Node, Any] = {}

    def place(self, node_name: str) -> int:
        """Returns where a node stands in the order of execution."""
        return self._order[node_name]

    def place_of(self, module: nn.Module) -> int:
        """Returns where a module is called first."""
        targets = {name for name, own in self._interpreter.module.named_modules() if own is module}
        return next(
            place for place, node in enumerate(self._nodes) if node.op == "call_module" and node.target in targets
        )

    def advance(self, place: int) -> None:
        """Runs the network up to the node at a place, that one left out; begins anew where it is already past."""
        if place < self._place:
            self._place, self._values = 0, {}
        with torch.inference_mode():
            self._run(self._values, self._place, place)
        self._place = place

    def outputs(self) -> Tensor:
        """Returns what the rest of the network makes of the values, with its modules as they are now."""
        with torch.inference_mode():
            values = {node: _copied(value) for node, value in self._values.items()}
            found: Tensor = self._run(values, self._place, len(self._nodes))
        return found

    def _run(self, values: dict[fx.Node, Any], start: int, end: int) -> Any:
        """Runs nodes in [start, end) on values, in place; returns the network's output when it is among them."""
        self._interpreter.env = values
        for place in range(start, end):
            node = self._nodes[place]
            if node.op == "output":
                return values[node.args[0]]
            values[node] = self.images if node.op == "placeholder" else self._interpreter.run_node(node)
            for done in self._ends[place]:
                values.pop(done, None)
        return None


def _copied(value: Any) -> Any:
    """Returns a copy of a tensor, which operations in place may overwrite; anything else as it is."""
    return value.clone() if isinstance(value, Tensor) else value


def last_uses(nodes: list[fx.Node]) -> list[list[fx.Node]]:
    """Returns for every place the nodes whose values nobody needs behind it."""
    last: dict[fx.Node, int] = {}
    for place, node in enumerate(nodes):
        for used in (*node.all_input_nodes, node):
            last[used] = place
    ends: list[list[fx.Node]] = [[] for _ in nodes]
    for node, place in last.items():
        ends[place].append(node)
    return ends
