"""What can be wrong with a request and is cheap to find, looked at before anything is loaded or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hwmodels.accelerator import Accelerator
from hwmodels.loader import load
from plan.errors import EspalierError, InvalidValueError, MissingFileError, UnknownNameError
from plan.registry import close_names

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth")
EMBEDDED = ("digits",)


def check_hardware(hw: str, bits: int) -> Accelerator:
    """Returns the accelerator after a check that it knows the baseline's width.

    Raises:
        EspalierError: no such hardware, a faulty file, or a width that it lacks.
    """
    accelerator = load(hw)
    known = accelerator.capabilities
    both = [width for width in known.weight_bits if width in known.activation_bits]
    if bits not in both:
        raise InvalidValueError(
            f"--baseline-bits {bits} is not supported by '{accelerator.name}' (supported: "
            f"{', '.join(map(str, both))}); choose one of these or another --hw"
        )
    return accelerator


def check_sources(net: str, weights: str, data: str) -> None:
    """Checks names and paths of network, weights and data.

    Raises:
        EspalierError: the only problem, or all of them in one text.
    """
    problems = [error for error in (_caught(_check_data, data), _caught(_check_weights, weights)) if error is not None]
    if not problems:
        _check_network(net)
    elif len(problems) == 1:
        raise problems[0]
    else:
        raise InvalidValueError("; ".join(str(error) for error in problems))


def check_device(name: str) -> None:
    """Checks that a device that is asked for is there.

    Raises:
        InvalidValueError: CUDA where there is none.
    """
    if name != "cuda":
        return
    from compress.device import chosen_device  # imported here: it brings torch, which other mistakes need not wait for

    chosen_device(name)


def check_agent_file(path: str, algorithm: str) -> None:
    """Checks that a run of the composite agent can begin with the agent of a file.

    Raises:
        InvalidValueError: a learner whose files are none.
        MissingFileError: no such file.
    """
    if algorithm not in ("composite", "ppo"):
        raise InvalidValueError(f"--init-from does not go with --algo {algorithm} (allowed: composite, ppo)")
    if not Path(path).is_file():
        raise MissingFileError(f"--init-from {path} does not exist; give the agent.zip of a run")


def _caught(check: Callable[[str], None], value: str) -> EspalierError | None:
    try:
        check(value)
    except EspalierError as error:
        return error
    return None


def _check_data(data: str) -> None:
    if data in EMBEDDED:
        return
    path = Path(data.removeprefix("cifar10:"))
    if not path.exists():
        hint = close_names(data, list(EMBEDDED))
        kind = MissingFileError if "/" in data or path.suffix else UnknownNameError
        raise kind(
            f"data '{data}' do not exist{hint}; give digits, cifar10:DIR, an image folder, a .zip or an .npz file"
        )


def _check_weights(weights: str) -> None:
    if weights in ("auto", "none"):
        return
    if Path(weights).suffix not in WEIGHT_SUFFIXES:
        raise InvalidValueError(f"weights '{weights}' are not auto, none, or a {', '.join(WEIGHT_SUFFIXES)} file")
    if not Path(weights).is_file():
        raise MissingFileError(f"weights file '{weights}' does not exist; give auto, none, or an existing file")


def _check_network(net: str) -> None:
    from networks.zoo import check_name  # imported here: it brings torch, which other mistakes need not wait for

    check_name(net)
