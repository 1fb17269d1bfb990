"""Graphs of exported programs as ordinary modules: one tensor of images in, one of scores out, any number of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from networks.flow import operation
from plan.errors import UnsupportedNetworkError

VIEWS = ("view", "reshape", "unsafe_view")


@dataclass(frozen=True, eq=False)
class PlainGraph:
    """A graph of torch's operators and its (C, H, W), -1 where a size is free; parameters keep their names."""

    module: fx.GraphModule
    input_size: tuple[int, int, int]


def plain_graph(exported: torch.export.ExportedProgram, name: str) -> PlainGraph:
    """Returns the program's graph without checks of its inputs.

    Raises:
        UnsupportedNetworkError: it takes or returns something else than one tensor of images and one of scores.
    """
    module = exported.module()
    if not isinstance(module, fx.GraphModule):
        raise UnsupportedNetworkError(f"program '{name}' holds no graph")
    graph = module.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    results = list(output.args[0]) if isinstance(output.args[0], list | tuple) else [output.args[0]]
    shape = getattr(inputs[0].meta.get("val"), "shape", ()) if inputs else ()
    if len(inputs) != 1 or len(results) != 1 or len(shape) != 4:
        raise UnsupportedNetworkError(
            f"program '{name}' has {len(inputs)} inputs, the first of {len(shape)} dimensions, and {len(results)} "
            "results; it must take images (N, C, H, W) and return one tensor of scores"
        )
    output.args = (results[0],)
    for node in list(graph.nodes):
        if node.op == "call_module" and not node.users:
            graph.erase_node(node)  # checks of the inputs
    graph.set_codegen(fx.graph.CodeGen())
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if sizes[0] > 0:
        _free_batch(graph, sizes[0])
    return PlainGraph(fx.GraphModule(module, graph).eval(), (sizes[1], sizes[2], sizes[3]))


def _free_batch(graph: fx.Graph, batch: int) -> None:
    """Frees the number of images where a program that was exported for one number names it in a change of shape."""
    for node in graph.nodes:
        sizes = node.args[1] if node.op == "call_function" and operation(node) in VIEWS else ()
        if isinstance(sizes, list | tuple) and sizes and sizes[0] == batch:
            shape = node.meta["val"].shape  # of the program's own example: it says what -1 stands for
            if len(shape) == 2:
                node.target, node.args = torch.ops.aten.flatten.using_ints, (node.args[0], 1)
            else:
                node.args = (node.args[0], [-1, *(int(size) for size in shape[1:])])
