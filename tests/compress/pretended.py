"""A device that is not there: what is on it is computed on the processor, but mixes with nothing that is not on it.

Tensors on it say that they are on `meta`. As on CUDA, tensors of one dimension or more must all be on the same device,
generators of the processor draw nothing there, and numpy takes nothing from it. Results are the processor's to the last
bit, so that a network on it must compute what it does on the processor.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

PRETENDED, HERE = torch.device("meta"), torch.device("cpu")
ACROSS = ("aten::copy_", "aten::_to_copy")
"""Operations from one device to another."""


class Elsewhere(Tensor):
    """A tensor on the pretended device; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        with torch.inference_mode(False):  # what is made there cannot be a view of what was not
            made = Tensor._make_wrapper_subclass(
                cls,
                held.size(),
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                layout=held.layout,
                device=PRETENDED,
                requires_grad=False,
            )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{function} on the pretended device, but not under PretendedDevice")


class PretendedDevice(TorchDispatchMode):
    """While it is entered, `.to(PRETENDED)` and `device=PRETENDED` work."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        asked = kwargs.get("device")
        if asked is None and Elsewhere not in types:
            return function(*args, **kwargs)
        name, given = function._schema.name, list(_leaves((args, tuple(kwargs.values()))))
        if name not in ACROSS:
            _check(name, given)
        on = Elsewhere in types if asked is None else torch.device(asked).type == PRETENDED.type
        if name == "aten::copy_":
            on = isinstance(args[0], Elsewhere)
        plain = {key: _held(value) for key, value in kwargs.items()} | ({} if asked is None else {"device": HERE})
        result = function(*_held(args), **plain)
        known = {id(item.held): item for item in given if isinstance(item, Elsewhere)}
        return _returned(result, known) if on else result


def _leaves(given: Any) -> Iterator[Any]:
    if isinstance(given, list | tuple):
        for item in given:
            yield from _leaves(item)
    else:
        yield given


def _held(given: Any) -> Any:
    """Returns arguments with tensors of the processor in the place of those elsewhere."""
    if isinstance(given, Elsewhere):
        return given.held
    return type(given)(_held(item) for item in given) if isinstance(given, list | tuple) else given


def _returned(result: Any, known: dict[int, Elsewhere]) -> Any:
    """Returns results as tensors elsewhere; what works in place returns what it was given."""
    if isinstance(result, Tensor):
        return known[id(result)] if id(result) in known else Elsewhere(result)
    return type(result)(_returned(item, known) for item in result) if isinstance(result, list | tuple) else result


def _check(name: str, given: list[Any]) -> None:
    if not any(isinstance(item, Elsewhere) for item in given):
        return
    here = [item for item in given if isinstance(item, Tensor) and not isinstance(item, Elsewhere) and item.dim() > 0]
    if here:
        raise RuntimeError(f"{name}: tensors on the processor, {[tuple(item.shape) for item in here]}, meet others")
    if any(isinstance(item, torch.Generator) for item in given):
        raise RuntimeError(f"{name}: a generator of the processor")


def at_home(function: Any) -> Any:
    """Returns a function that runs as if there were no other device, and fails on tensors that are elsewhere."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return function(*args, **kwargs)

    return run
