"""A plan taken to another accelerator: the same choices, but for those that it cannot execute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.rebuild import inherited
from agent.record import SAVED
from hwmodels.accelerator import Accelerator
from plan.capabilities import Capabilities
from plan.document import Document, schemes_of
from plan.layer import Network
from plan.scheme import DENSE, Scheme
from plan.space import METHOD, Choices, Space, build_space, offered_densities


@dataclass(frozen=True)
class Masked:
    """A choice of a layer that the other hardware cannot execute, and what is priced in its place."""

    layer: str
    field: str
    chosen: str
    priced: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.field} {self.chosen} is not executable there, priced as {self.priced}"


@dataclass(frozen=True, eq=False)
class Transferred:
    """The plan in the space of the other hardware, int16 (L, 4), and what had to be replaced in it."""

    space: Space
    choice: Choices
    masked: tuple[Masked, ...]


@dataclass(frozen=True)
class Prices:
    """Costs of the dense network and of the plan per quantity of `agent.record.SAVED`, and what had to be replaced."""

    dense: dict[str, float]
    plan: dict[str, float]
    masked: tuple[Masked, ...]

    def saving(self, quantity: str) -> float:
        """Returns the fraction saved, 0.53 for 53 % less."""
        return 1.0 - self.plan[quantity] / self.dense[quantity]


def transfer(
    network: Network, schemes: Sequence[Scheme], capabilities: Capabilities, baseline_bits: int
) -> Transferred:
    """Returns a plan on another hardware.

    A granularity that the hardware lacks becomes dense (its zeros are kept, but nothing profits from them); a width
    that it lacks becomes the next wider one, or the widest where there is none. The dense network that savings are
    quoted against gets its bits by the same rule.

    Args:
        network: the plan's network.
        schemes: one per layer.
        capabilities: of the other hardware.
        baseline_bits: the plan's.
    """
    shared = [bits for bits in capabilities.weight_bits if bits in capabilities.activation_bits]
    space = build_space(network, capabilities, nearest_width(baseline_bits, shared))
    found: list[Masked] = []
    fitting = tuple(_fitting(space, index, scheme, found) for index, scheme in enumerate(schemes))
    choice = space.choice(inherited(_allowed(space, fitting, found), space))
    return Transferred(space, choice, tuple(found))


def priced(network: Network, document: Document, accelerator: Accelerator, view: str) -> Prices:
    """Returns what a plan and its dense network cost on a hardware, in an energy view."""
    moved = transfer(network, schemes_of(document), accelerator.capabilities, document["baseline"]["weight_bits"])
    assignment = moved.space.resolve(np.stack((moved.space.baseline, moved.choice)))
    cost = accelerator.evaluate(network, assignment, view=view)
    totals = {name: getattr(cost, field) for name, field in SAVED.items()}
    return Prices(
        dense={name: float(values[0]) for name, values in totals.items()},
        plan={name: float(values[1]) for name, values in totals.items()},
        masked=moved.masked,
    )


def nearest_width(bits: int, widths: Sequence[int]) -> int:
    """Returns the narrowest of ascending widths that holds so many bits, else the widest."""
    return next((width for width in widths if width >= bits), widths[-1])


def _fitting(space: Space, index: int, scheme: Scheme, found: list[Masked]) -> Scheme:
    """Returns a layer's scheme with what the hardware lacks replaced; appends to `found` what that is."""
    name = space.network.layers[index].name
    wider = replace(
        scheme,
        weight_bits=nearest_width(scheme.weight_bits, space.weight_bits),
        activation_bits=nearest_width(scheme.activation_bits, space.activation_bits),
    )
    for field in ("weight_bits", "activation_bits"):
        before, after = getattr(scheme, field), getattr(wider, field)
        if before != after:
            found.append(Masked(name, field.replace("_", " "), str(before), str(after)))
    if _offered(space, index, wider):
        return wider
    found.append(Masked(name, "pruning", f"{scheme.method} at density {scheme.density:g}", "dense"))
    return replace(wider, method=DENSE, density=1.0)


def _offered(space: Space, index: int, scheme: Scheme) -> bool:
    offered = offered_densities(scheme.method)
    if scheme.method not in space.methods or scheme.density not in offered:
        return False
    density = offered.index(scheme.density)
    return bool(space.legal[index, space.methods.index(scheme.method), density])


def _allowed(space: Space, schemes: tuple[Scheme, ...], found: list[Masked]) -> tuple[Scheme, ...]:
    """Returns the schemes with channels left whole where an earlier layer has pruned the same group already."""
    allowed = list(schemes)
    choices = space.start[None].copy()
    for index, scheme in enumerate(schemes):
        method = space.methods.index(scheme.method)
        if not space.method_mask(choices, index)[0, method]:
            found.append(Masked(space.network.layers[index].name, "pruning", str(scheme.method), "dense"))
            allowed[index], method = replace(scheme, method=DENSE, density=1.0), 0
        choices[0, index, METHOD] = method
    return tuple(allowed)
