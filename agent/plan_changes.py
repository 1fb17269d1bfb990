"""What two plans of one network choose differently, and what each difference costs on its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.rebuild import inherited
from hwmodels.accelerator import Accelerator
from plan.assignment import FloatArray
from plan.document import Document, schemes_of
from plan.errors import MismatchError
from plan.layer import Network
from plan.scheme import Scheme
from plan.space import ACTIVATION_BITS, DENSITY, METHOD, WEIGHT_BITS, Choices, Space, build_space

PARTS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("pruning", (METHOD, DENSITY)),
    ("weight bits", (WEIGHT_BITS,)),
    ("activation bits", (ACTIVATION_BITS,)),
)
COSTS = ("energy_uj", "latency_ms", "size_kb")


@dataclass(frozen=True)
class Change:
    """One part of one layer that the second plan chooses differently.

    energy_uj, latency_ms and size_kb: what the whole network costs more (or less, negative) when the first plan takes
    over this change alone; readers that inherit activation bits follow.
    """

    layer: str
    part: str
    first: str
    second: str
    energy_uj: float
    latency_ms: float
    size_kb: float


@dataclass(frozen=True)
class Changes:
    """All changes in order of layers; totals of both plans, and what the changes cost together beyond their sum."""

    changes: tuple[Change, ...]
    first: dict[str, float]
    second: dict[str, float]
    together: dict[str, float]


def check_comparable(first: Document, second: Document) -> None:
    """Checks that two plans are of one network on one hardware.

    Raises:
        MismatchError: they are not; the text says which differs.
    """
    for what in ("network", "hardware"):
        if first[what]["fingerprint"] != second[what]["fingerprint"]:
            names = f"'{first[what]['name']}' and '{second[what]['name']}'"
            hint = "; agent.recost prices a plan on another" if what == "hardware" else ""
            raise MismatchError(f"the plans are of different {what}s, {names}; give two plans of the same{hint}")


def changes(network: Network, accelerator: Accelerator, first: Document, second: Document) -> Changes:
    """Returns what the second plan chooses differently from the first.

    Args:
        network: of both, with the zero fractions that the first plan states.
        accelerator: of both.
        first: a checked document.
        second: another.

    Raises:
        MismatchError: different networks or hardware.
        IllegalChoiceError: something that the hardware or the network forbids.
    """
    check_comparable(first, second)
    space = build_space(network, accelerator.capabilities, first["baseline"]["weight_bits"])
    schemes = [inherited(schemes_of(document), space) for document in (first, second)]
    choices = [space.choice(each) for each in schemes]
    found = _different(space, choices[0], choices[1])
    plans = np.stack((*choices, *(_with(choices[0], choices[1], space, layer, part) for layer, part in found)))
    costs = _costs(network, accelerator, space, plans)
    each = costs[2:] - costs[0]
    listed = tuple(
        _change(schemes, network.layers[layer].name, (layer, part), row)
        for (layer, part), row in zip(found, each, strict=True)
    )
    together = costs[1] - costs[0] - each.sum(axis=0)
    return Changes(listed, _named(costs[0]), _named(costs[1]), _named(together))


def _different(space: Space, first: Choices, second: Choices) -> list[tuple[int, int]]:
    """Returns layers and parts whose choices differ; inherited activation bits are the first reader's alone."""
    found = []
    for layer in range(space.n_layers):
        for part, (_, columns) in enumerate(PARTS):
            own = columns != (ACTIVATION_BITS,) or space.deciders.reader[layer] == layer
            if own and (first[layer, columns] != second[layer, columns]).any():
                found.append((layer, part))
    return found


def _with(first: Choices, second: Choices, space: Space, layer: int, part: int) -> Choices:
    """Returns the first plan with one part of one layer as the second has it."""
    plan = first.copy()
    columns = PARTS[part][1]
    plan[layer, columns] = second[layer, columns]
    plan[:, ACTIVATION_BITS] = plan[space.deciders.reader, ACTIVATION_BITS]
    return plan


def _costs(network: Network, accelerator: Accelerator, space: Space, plans: Choices) -> FloatArray:
    """Returns energy, latency and size of plans, (B, 3)."""
    cost = accelerator.evaluate(network, space.resolve(plans))
    return np.stack([getattr(cost, name) for name in COSTS], axis=1)


def _named(values: FloatArray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(COSTS, values, strict=True)}


def _change(schemes: list[tuple[Scheme, ...]], name: str, at: tuple[int, int], costs: FloatArray) -> Change:
    layer, part = at
    before, after = (_text(each[layer], part) for each in schemes)
    return Change(name, PARTS[part][0], before, after, **_named(costs))


def _text(scheme: Scheme, part: int) -> str:
    """Returns a part of a scheme in words."""
    if part == 0:
        dense = scheme.method.granularity.kind == "dense"
        return str(scheme.method) if dense else f"{scheme.method} at {scheme.density:g}"
    return str(scheme.weight_bits if part == 1 else scheme.activation_bits)
