"""Where networks run: on a CUDA device where there is one, else on the processor."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import fx, nn

from compress.eight_bits import integers_are_exact
from networks.trace import TracedNetwork
from plan.errors import InvalidValueError, UnsupportedNetworkError

CPU = torch.device("cpu")
CHOICES = ("auto", "cpu", "cuda")


def chosen_device(name: str) -> torch.device:
    """Returns the device that a name of `CHOICES` asks for; auto is CUDA where there is any.

    Raises:
        InvalidValueError: another name, or CUDA where there is none.
    """
    if name not in CHOICES:
        raise InvalidValueError(f"device '{name}' is unknown (allowed: {', '.join(CHOICES)})")
    there = name != "cpu" and torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InvalidValueError(
            "--device cuda: torch finds no CUDA device here; give --device cpu or auto, or install a torch built for "
            "CUDA and its driver"
        )
    return torch.device("cuda", torch.cuda.current_device()) if there else CPU


def device_title(device: torch.device) -> str:
    """Returns what a device is called: cuda with the name of the hardware, cpu with what compressed networks run on."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return "cpu (8-bit integers)" if device == CPU and integers_are_exact() else device.type


def device_of(module: nn.Module) -> torch.device:
    """Returns where the parameters of a network are."""
    return next(module.parameters()).device


def placed(traced: TracedNetwork, device: torch.device) -> TracedNetwork:
    """Returns a network whose parameters are on a device: itself where they are there, else a copy.

    Raises:
        UnsupportedNetworkError: it runs on processors alone.
    """
    here = device_of(traced.module)
    if here.type == device.type and device.index in (None, here.index):
        return traced
    module = moved(copy.deepcopy(traced.module), device)
    try:
        with torch.inference_mode():
            module(torch.zeros(2, *traced.network.input_shape, device=device))
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise UnsupportedNetworkError(
            f"network '{traced.network.name}' does not run on {device.type} ({reason}); give --device cpu"
        ) from error
    return replace(traced, module=module)


def moved(module: fx.GraphModule, device: torch.device) -> fx.GraphModule:
    """Returns a network after moving its parameters, and the tensors that its graph makes, to a device."""
    for node in module.graph.nodes:
        if "device" in node.kwargs:
            node.update_kwarg("device", device)
    module.recompile()
    return module.to(device)
