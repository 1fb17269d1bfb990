"""What a layer costs against its density, per granularity and storage format, relative to the same layer dense."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hwmodels.accelerator import Accelerator, FloatArray
from plan.capabilities import Capabilities
from plan.errors import InvalidValueError
from plan.layer import ChannelGroup, InputSegment, Layer, Network
from plan.scheme import DENSE, BlockColumn, BlockRow, Dense, Granularity, granularity_to_json
from plan.space import DENSITIES, DENSITY, METHOD, Space, build_space
from plan.storage import applicable

QUANTITIES = ("energy", "latency", "size")
FIRST, SECOND = 0, 1


@dataclass(frozen=True)
class Curve:
    """Costs of one layer on one hardware relative to dense, float64 (n,), at n ascending densities."""

    hardware: str
    granularity: str
    storage: str
    layer: str
    densities: FloatArray
    energy: FloatArray
    latency: FloatArray
    size: FloatArray

    def break_even(self, quantity: str, least_saving: float) -> float | None:
        """Returns the density from which on downwards the layer saves at least so much, None where it never does."""
        pays = getattr(self, quantity) <= 1.0 - least_saving
        if not pays[0]:
            return None
        return float(self.densities[np.argmin(pays) - 1 if not pays.all() else -1])


def reference_network(kernel: int, zeros: float) -> Network:
    """Returns two equal layers of 256 channels and filters on 14 x 14 pixels with a prunable group between them."""
    groups = (
        ChannelGroup("in", 256, (), (FIRST,), "the input"),
        ChannelGroup("between", 256, (FIRST,), (SECOND,)),
        ChannelGroup("out", 256, (SECOND,), (), "the output"),
    )
    layers = tuple(_reference_layer(at, kernel, zeros) for at in (FIRST, SECOND))
    return Network(f"{kernel} x {kernel}", (256, 14, 14), layers, groups, ((FIRST, SECOND),))


def _reference_layer(at: int, kernel: int, zeros: float) -> Layer:
    return Layer(
        name=f"layer{at}",
        op="conv",
        K=256,
        C=256,
        R=kernel,
        S=kernel,
        P=14,
        Q=14,
        H=14,
        W=14,
        stride=1,
        groups=1,
        input_tensor=f"tensor{at}",
        output_tensor=f"tensor{at + 1}" if at == FIRST else None,
        inputs=(InputSegment(at, 256),),
        output_group=at + 1,
        input_zero_fraction=zeros,
        output_zero_fraction=zeros,
    )


def curves(accelerator: Accelerator, bits: int, zeros: float) -> Iterator[Curve]:
    """Yields a curve per granularity and storage format that the hardware has.

    Args:
        accelerator: the hardware.
        bits: of weights and activations, dense and pruned.
        zeros: fraction of zeros in inputs and outputs.

    Raises:
        InvalidValueError: a width that the hardware lacks.
    """
    known = accelerator.capabilities
    if bits not in known.weight_bits or bits not in known.activation_bits:
        both = [width for width in known.weight_bits if width in known.activation_bits]
        raise InvalidValueError(
            f"{bits} bits are not supported by '{accelerator.name}' (supported: {', '.join(map(str, both))})"
        )
    for granularity in known.granularities:
        if isinstance(granularity, Dense):
            continue
        formats = [name for name in known.storage_formats if applicable(name, granularity.kind)]
        for storage in ["dense", *(formats if granularity.kind not in ("channel", "filter") else [])]:
            yield _curve(accelerator, granularity, storage, bits, zeros)


def _curve(accelerator: Accelerator, granularity: Granularity, storage: str, bits: int, zeros: float) -> Curve:
    kernel = 1 if isinstance(granularity, BlockRow | BlockColumn) else 3
    network = reference_network(kernel, zeros)
    known = accelerator.capabilities
    formats = tuple(dict.fromkeys(("dense", storage)))
    offered = Capabilities((Dense(), granularity), known.weight_bits, known.activation_bits, formats)
    space = build_space(network, offered, bits)
    layer = FIRST if granularity.kind == "filter" else SECOND
    densities, relative = _relative_costs(accelerator, space, layer)
    return Curve(accelerator.name, _words(granularity), storage, f"{kernel} x {kernel}", densities, *relative)


def _relative_costs(accelerator: Accelerator, space: Space, layer: int) -> tuple[FloatArray, list[FloatArray]]:
    """Returns the legal densities of the space's one method, and energy, latency and size over those of dense."""
    method = next(at for at, offered in enumerate(space.methods) if offered != DENSE)
    legal = np.flatnonzero(space.legal[layer, method])
    choices = np.repeat(space.baseline[None], legal.size + 1, axis=0)
    choices[1:, layer, METHOD], choices[1:, layer, DENSITY] = method, legal
    cost = accelerator.evaluate(space.network, space.resolve(choices))
    totals = (cost.energy_pj[:, layer], cost.latency_cycles[:, layer], cost.size_bits[:, layer])
    return DENSITIES[legal], [np.asarray(total[1:] / total[0]) for total in totals]


def _words(granularity: Granularity) -> str:
    """Returns a granularity with its numbers. Example: block-punched 4 x 1."""
    numbers = [str(value) for name, value in granularity_to_json(granularity).items() if name != "type"]
    return " ".join([granularity.kind, " x ".join(numbers)]).strip()


def best_formats(found: Sequence[Curve]) -> list[Curve]:
    """Returns of every hardware and granularity the curve with the least energy at its lowest density."""
    best: dict[tuple[str, str], Curve] = {}
    for curve in found:
        key = curve.hardware, curve.granularity
        if key not in best or curve.energy[0] < best[key].energy[0]:
            best[key] = curve
    return list(best.values())
