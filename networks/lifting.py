"""Convolutions, linear layers and batch norms that a graph calls as functions, turned into the modules they are.

Exported programs hold nothing but function calls on parameters; layers of other libraries that derive from torch's are
traced through to such calls. The module takes the place of whatever holds the weight, so that names of layers and keys
of the state dict stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from networks.flow import argument, operation
from plan.errors import UnsupportedNetworkError

Built = nn.Module | None
"""A module that stands for a call, None where there is none."""


def lift(module: fx.GraphModule) -> None:
    """Turns calls into modules, in place.

    Raises:
        UnsupportedNetworkError: a convolution whose weights are computed, or that torch.nn.Conv2d does not stand for.
    """
    for node in list(module.graph.nodes):
        if node.op == "call_function" and operation(node) in _BUILDERS:
            _lift_one(module, node)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()


def _lift_one(module: fx.GraphModule, node: fx.Node) -> None:
    kind = operation(node)
    name, place = ("running_mean", _norm_places(node)["running_mean"]) if kind == "batch_norm" else ("weight", 1)
    named = argument(node, place, name)
    path = str(named.target) if isinstance(named, fx.Node) and named.op == "get_attr" else ""
    built = _BUILDERS[kind](module, node) if path else None
    if built is None:
        if kind == "conv2d":
            raise UnsupportedNetworkError(
                f"convolution '{node.name}' computes its weights or sizes as it runs; only fixed ones can be compressed"
            )
        return
    owner, _, last = path.rpartition(".")
    target = owner if owner and last == name else f"{path}_layer".lstrip(".")
    _place(module, target, built)
    with module.graph.inserting_before(node):
        call = module.graph.call_module(target, (node.args[0] if node.args else node.kwargs["input"],))
    call.meta = dict(node.meta)
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)


def _place(module: fx.GraphModule, target: str, built: nn.Module) -> None:
    """Puts a module at a path; modules that the former one held stay reachable."""
    parent, _, name = target.rpartition(".")
    holder = module.get_submodule(parent)
    for child, part in getattr(holder, name, nn.Module()).named_children():
        built.add_module(child, part)
    setattr(holder, name, built.eval())


def _value(module: fx.GraphModule, given: Any) -> Any:
    """Returns the tensor that an argument names, any plain value as it is."""
    if isinstance(given, fx.Node):
        if given.op != "get_attr":
            return given
        owner, _, name = str(given.target).rpartition(".")
        return getattr(module.get_submodule(owner), name)
    return given


def _is_known(*values: Any) -> bool:
    return not any(isinstance(value, fx.Node) for value in values)


def _hold(layer: nn.Module, weight: Tensor | None, bias: Tensor | None) -> None:
    """Makes a module hold these very tensors."""
    for name, tensor in (("weight", weight), ("bias", bias)):
        plain = tensor is None or isinstance(tensor, nn.Parameter)
        layer.register_parameter(name, tensor if plain else nn.Parameter(tensor, requires_grad=False))  # type: ignore[arg-type]


def _pair(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(value) * (2 if len(value) == 1 else 1)
    return value if isinstance(value, str) else (value, value)


def _conv(module: fx.GraphModule, node: fx.Node) -> Built:
    weight, bias = (_value(module, argument(node, place, name)) for place, name in ((1, "weight"), (2, "bias")))
    stride, padding, dilation = (
        argument(node, place, name, default)
        for place, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))
    )
    groups = argument(node, 6, "groups", 1)
    if not _is_known(weight, bias, groups) or not isinstance(weight, Tensor) or weight.ndim != 4:
        return None
    with torch.device("meta"):
        layer = nn.Conv2d(
            weight.shape[1] * groups,
            weight.shape[0],
            (weight.shape[2], weight.shape[3]),
            _pair(stride),
            _pair(padding),
            _pair(dilation),
            groups,
            bias is not None,
        )
    _hold(layer, weight, bias)
    return layer


def _linear(module: fx.GraphModule, node: fx.Node) -> Built:
    weight, bias = (_value(module, argument(node, place, name)) for place, name in ((1, "weight"), (2, "bias")))
    if not _is_known(weight, bias) or not isinstance(weight, Tensor) or weight.ndim != 2:
        return None
    with torch.device("meta"):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    _hold(layer, weight, bias)
    return layer


def _norm(module: fx.GraphModule, node: fx.Node) -> Built:
    given = {name: _value(module, argument(node, place, name)) for name, place in _norm_places(node).items()}
    mean, variance, weight, bias = given["running_mean"], given["running_var"], given["weight"], given["bias"]
    eps = argument(node, 7, "eps", 1e-5)
    if (
        not _is_known(mean, variance, weight, bias, eps)
        or mean is None
        or variance is None
        or (weight is None) != (bias is None)
    ):
        return None
    with torch.device("meta"):
        norm = nn.BatchNorm2d(len(mean), eps=eps, affine=weight is not None)
    norm.running_mean, norm.running_var = mean.detach(), variance.detach()
    norm.num_batches_tracked = torch.zeros((), dtype=torch.long)
    _hold(norm, weight, bias)
    return norm


def _norm_places(node: fx.Node) -> dict[str, int]:
    """Returns where a batch norm's tensors stand; torch.nn.functional has them in another order than the operator."""
    functional = node.target is torch.nn.functional.batch_norm
    order = ("running_mean", "running_var", "weight", "bias") if functional else _OPERATOR_ORDER
    return {name: place for place, name in enumerate(order, start=1)}


_OPERATOR_ORDER = ("weight", "bias", "running_mean", "running_var")
_BUILDERS: dict[str, Callable[[fx.GraphModule, fx.Node], Built]] = {
    "conv2d": _conv,
    "linear": _linear,
    "batch_norm": _norm,
}
