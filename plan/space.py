"""The legal alternatives of every layer on a hardware, and the mapping between indices, schemes and arrays.

A choice is int16 (B, L, 4): method, density, weight bits, activation bits, all indices into this space's lists. -1
means not decided yet and counts as `Space.start`.

Coupling. A channel group is decided by its first producer choosing `filter`; if it chose anything else, by its first
consumer choosing `channel`; otherwise the group stays whole. Activation bits belong to the tensor read: its first
reader decides, later readers carry the same index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plan.assignment import Assignment, FloatArray, IntArray
from plan.capabilities import Capabilities
from plan.deciders import Deciders, find_deciders
from plan.errors import IllegalChoiceError, InvalidValueError, UnsupportedNetworkError
from plan.geometry import Geometry, LayerChoice, assign, units_in
from plan.layer import Network
from plan.methods import legal_densities, methods_of, why_illegal, why_not_offered
from plan.restrictions import NO_RESTRICTIONS, Restrictions
from plan.scheme import Method, Scheme, own_density
from plan.storage import check_formats
from plan.touching import Touching

Choices = NDArray[np.int16]
METHOD, DENSITY, WEIGHT_BITS, ACTIVATION_BITS = range(4)
DENSITIES: FloatArray = np.arange(1, 33) / 32
UNDECIDED = -1


@dataclass(frozen=True, eq=False)
class Space:
    """Every legal plan of a network on a hardware. Built by `build_space`.

    Attributes:
        methods: all (granularity, algorithm) pairs, M of them; index 0 is dense.
        legal: bool (L, M, 32), whether a layer may use a method at a density of `DENSITIES`.
        weight_bits_legal, activation_bits_legal: bool (L, W) and (L, A).
        deciders: who decides channel groups and activation tensors.
        baseline_bits: width of the dense network that reductions are quoted against.
    """

    network: Network
    capabilities: Capabilities
    baseline_bits: int
    methods: tuple[Method, ...]
    deciders: Deciders
    legal: NDArray[np.bool_]
    weight_bits_legal: NDArray[np.bool_]
    activation_bits_legal: NDArray[np.bool_]

    @property
    def n_layers(self) -> int:
        """Number of layers, L."""
        return len(self.network.layers)

    @property
    def weight_bits(self) -> tuple[int, ...]:
        """Stored widths of weights, ascending."""
        return self.capabilities.weight_bits

    @property
    def activation_bits(self) -> tuple[int, ...]:
        """Stored widths of activations, ascending."""
        return self.capabilities.activation_bits

    @cached_property
    def geometry(self) -> Geometry:
        """Shapes and units of all layers and methods as arrays."""
        return Geometry.of(self.network, self.methods)

    @cached_property
    def baseline(self) -> Choices:
        """The dense network at the baseline bits, int16 (L, 4)."""
        bits = self.weight_bits.index(self.baseline_bits), self.activation_bits.index(self.baseline_bits)
        return np.tile(np.array((0, len(DENSITIES) - 1, *bits), dtype=np.int16), (self.n_layers, 1))

    @cached_property
    def start(self) -> Choices:
        """The baseline with pinned layers at their pins, int16 (L, 4)."""
        choices = self.baseline.copy()
        for column, mask in ((WEIGHT_BITS, self.weight_bits_legal), (ACTIVATION_BITS, self.activation_bits_legal)):
            forced = np.flatnonzero(~mask[np.arange(self.n_layers), choices[:, column]])
            choices[forced, column] = [np.flatnonzero(mask[layer])[-1] for layer in forced]
        return choices

    @cached_property
    def log10_size(self) -> float:
        """Decimal logarithm of the number of plans, coupling between layers not subtracted."""
        own = self.legal.sum((1, 2)) * self.weight_bits_legal.sum(1)
        decides = self.deciders.reader == np.arange(self.n_layers)
        bits = np.where(decides, self.activation_bits_legal.sum(1), 1)
        return float(np.log10(own * bits).sum())

    def filled(self, choices: Choices) -> Choices:
        """Returns the choices with undecided entries taken from `start`: the array itself where there are none."""
        return choices if choices.min(initial=0) >= 0 else np.where(choices < 0, self.start, choices)

    def method_mask(self, choices: Choices, layer: int) -> NDArray[np.bool_]:
        """Returns which methods a layer may use given what earlier layers chose, bool (B, M)."""
        mask = np.repeat(self.legal[layer].any(axis=1)[None], len(choices), axis=0)
        group = int(self.deciders.consumer_group[layer])
        if group >= 0:
            filtered = self.geometry.is_filter[choices[:, self.deciders.producer[group], METHOD]]
            mask &= ~(filtered[:, None] & self.geometry.is_channel)
        return mask

    def why_masked(self, layer: int, method: Method) -> str:
        """Returns why a layer may not use a method at any density, an empty text when it may."""
        if method in self.methods and self.legal[layer, self.methods.index(method)].any():
            return ""
        if method.granularity not in self.capabilities.granularities:
            return "the hardware does not offer this granularity"
        reason = why_not_offered(method.granularity, method.algorithm) or why_illegal(
            self.network.layers[layer],
            method.granularity,
            decides_outputs=bool(self.deciders.producer_group[layer] >= 0),
            decides_inputs=bool(self.deciders.consumer_group[layer] >= 0),
        )
        few = units_in(method.granularity, self.network.layers[layer]) < 2
        return reason or ("it has a single unit" if few else "it is held dense by a pin or an excluding pattern")

    def from_unit(self, layer: int, methods: IntArray, values: NDArray[np.floating], choices: Choices) -> Choices:
        """Returns a layer's choice for a method and three numbers in [0, 1], int16 (B, 4).

        Each number falls into equal-width bins over the legal values of that layer and method, in ascending order:
        density, weight bits, activation bits. Inherited activation bits ignore their number.

        Args:
            layer: index of the layer.
            methods: (B,) legal indices into `methods`.
            values: (B, 3) in [0, 1].
            choices: int16 (B, L, 4), decided in front of `layer`.
        """
        table, counts = self._density_bins
        out = np.empty((len(methods), 4), dtype=np.int16)
        out[:, METHOD] = methods
        out[:, DENSITY] = table[layer, methods, _bin(values[:, 0], counts[layer, methods])]
        for column, mask in ((WEIGHT_BITS, self.weight_bits_legal), (ACTIVATION_BITS, self.activation_bits_legal)):
            legal = np.flatnonzero(mask[layer])
            out[:, column] = legal[_bin(values[:, column - 1], np.int64(len(legal)))]
        reader = int(self.deciders.reader[layer])
        if reader != layer:
            out[:, ACTIVATION_BITS] = choices[:, reader, ACTIVATION_BITS]
        return out

    @cached_property
    def _density_bins(self) -> tuple[IntArray, IntArray]:
        """Legal density indices packed to the front, int64 (L, M, 32), and how many there are, (L, M)."""
        order = np.argsort(~self.legal, axis=2, kind="stable")
        return order, self.legal.sum(axis=2)

    def kept_channels(self, choices: Choices) -> IntArray:
        """Returns how many channels each group keeps, int64 (B, G)."""
        kept = np.repeat(self._counts[None, :, -1], len(choices), axis=0)
        for who, flags in self._pruners:
            groups = np.flatnonzero(who >= 0)
            decided = choices.take(who[groups], axis=1).reshape(-1, choices.shape[2])
            pruned = np.flatnonzero(flags.take(decided[:, METHOD]))
            plan, group = pruned // max(len(groups), 1), groups[pruned % max(len(groups), 1)]
            kept[plan, group] = self._counts[group, decided[pruned, DENSITY]]
        return kept

    def channels_of(self, choices: Choices, plans: IntArray, groups: IntArray) -> IntArray:
        """Returns how many channels single groups of single plans keep, int64 (n,), as `kept_channels` does."""
        kept: IntArray = self._counts[groups, -1]
        for who, flags in self._pruners:
            decided = choices[plans, who[groups]]
            pruned = (who[groups] >= 0) & flags.take(decided[:, METHOD])
            kept = np.where(pruned, self._counts[groups, decided[:, DENSITY]], kept)
        return kept

    @cached_property
    def _pruners(self) -> tuple[tuple[IntArray, NDArray[np.bool_]], ...]:
        """Who may prune every group, (G,), by which methods, (M,); the later goes before the earlier."""
        deciders, geometry = self.deciders, self.geometry
        return (deciders.consumer, geometry.is_channel), (deciders.producer, geometry.is_filter)

    @cached_property
    def _counts(self) -> IntArray:
        """Channels that a group keeps when it is pruned to every density, the last of which is 1, int64 (G, 32)."""
        sizes = np.array([group.channels for group in self.network.groups])
        return np.asarray(np.maximum(np.rint(DENSITIES * sizes[:, None]), 1), dtype=np.int64)

    @cached_property
    def _reads(self) -> FloatArray:
        """Input features that one channel of group g gives layer l, (G, L); float64, whose products are fast."""
        reads = np.zeros((len(self.network.groups), self.n_layers))
        for index, layer in enumerate(self.network.layers):
            for segment in layer.inputs:
                reads[segment.group, index] += segment.repeat
        return reads

    @cached_property
    def _written(self) -> IntArray:
        """The group of channels that each layer writes, int64 (L,)."""
        return np.array([layer.output_group for layer in self.network.layers])

    @cached_property
    def touching(self) -> Touching:
        """Which layers a layer's choice reaches."""
        return Touching.of(self.deciders, self._reads, self._written)

    def kept_features(self, kept: IntArray) -> tuple[IntArray, IntArray]:
        """Returns how many input features and output channels every layer keeps, int64 (B, L), for groups' (B, G)."""
        return (kept.astype(np.float64) @ self._reads).astype(np.int64), kept.take(self._written, axis=1)

    def resolve(self, choices: Choices) -> Assignment:
        """Returns what every layer becomes, coupling and inheritance resolved, arrays (B, L)."""
        filled = self.filled(choices)
        kept_inputs, kept_outputs = self.kept_features(self.kept_channels(filled))
        read = filled[..., ACTIVATION_BITS].take(self.deciders.reader, axis=1)
        bits = np.asarray(self.activation_bits).take(read)
        writer = self.deciders.writer
        choice = LayerChoice(
            methods=filled[..., METHOD].astype(np.int64),
            densities=DENSITIES.take(filled[..., DENSITY]),
            weight_bits=np.asarray(self.weight_bits).take(filled[..., WEIGHT_BITS]),
            input_bits=bits,
            output_bits=np.where(writer >= 0, bits.take(writer, axis=1), self.baseline_bits),
            kept_inputs=kept_inputs,
            kept_outputs=kept_outputs,
        )
        return assign(self.geometry, self.capabilities.storage_formats, choice, range(self.n_layers))

    def schemes(self, choice: Choices) -> tuple[Scheme, ...]:
        """Returns the schemes of one plan, int16 (L, 4), inherited activation bits filled in."""
        filled = self.filled(choice[None])[0]
        return tuple(
            Scheme(
                self.methods[row[METHOD]],
                own_density(self.methods[row[METHOD]].granularity) or float(DENSITIES[row[DENSITY]]),
                self.weight_bits[row[WEIGHT_BITS]],
                self.activation_bits[filled[reader, ACTIVATION_BITS]],
            )
            for row, reader in zip(filled, self.deciders.reader, strict=True)
        )

    def choice(self, schemes: Sequence[Scheme]) -> Choices:
        """Returns the indices of one plan, int16 (L, 4), the inverse of `schemes`.

        Raises:
            IllegalChoiceError: a scheme that this space does not hold, or an illegal combination.
        """
        rows = np.array([self._index(layer, scheme) for layer, scheme in enumerate(schemes)], dtype=np.int16)
        self.check(rows)
        return rows

    def _index(self, layer: int, scheme: Scheme) -> tuple[int, ...]:
        name = self.network.layers[layer].name
        fields: dict[str, tuple[object, Sequence[object]]] = {
            "method": (scheme.method, self.methods),
            "density": (scheme.density, offered_densities(scheme.method)),
            "weight_bits": (scheme.weight_bits, self.weight_bits),
            "activation_bits": (scheme.activation_bits, self.activation_bits),
        }
        for field, (value, allowed) in fields.items():
            if value not in allowed:
                known = ", ".join(str(item) for item in allowed)
                raise IllegalChoiceError(f"layer {name}: {field} {value} is not offered here (allowed: {known})")
        return tuple(allowed.index(value) for value, allowed in fields.values())

    def check(self, choice: Choices) -> None:
        """Checks that one decided plan, int16 (L, 4), is legal.

        Raises:
            IllegalChoiceError: lists every layer whose method, density or bits are masked.
        """
        problems = [problem for layer in range(self.n_layers) for problem in self._problems(choice, layer)]
        if problems:
            raise IllegalChoiceError("; ".join(problems))

    def _problems(self, choice: Choices, layer: int) -> list[str]:
        method, density, weight, activation = choice[layer]
        name, reader = self.network.layers[layer].name, self.deciders.reader[layer]
        problems = []
        if not (self.method_mask(choice[None], layer)[0, method] and self.legal[layer, method, density]):
            problems.append(f"layer {name}: {self.methods[method]} at density {DENSITIES[density]} is not legal here")
        if not (self.weight_bits_legal[layer, weight] and self.activation_bits_legal[layer, activation]):
            problems.append(f"layer {name}: its bits are pinned to others")
        if activation != choice[reader, ACTIVATION_BITS]:
            other = self.network.layers[reader].name
            problems.append(f"layer {name}: reads the same tensor as {other} at other activation bits")
        return problems

    def sample(self, rng: np.random.Generator, plans: int) -> Choices:
        """Returns random legal plans, int16 (plans, L, 4): methods uniform, then densities and bits uniform."""
        choices = np.full((plans, self.n_layers, 4), UNDECIDED, dtype=np.int16)
        for layer in range(self.n_layers):
            mask = self.method_mask(choices, layer)
            methods = np.argmax(rng.random(mask.shape) * mask, axis=1)
            choices[:, layer] = self.from_unit(layer, methods, rng.random((plans, 3)), choices)
        return choices


def offered_densities(method: Method) -> list[float]:
    """Returns the density at every grid point: the grid's, or the method's own all along its nearest grid point."""
    own = own_density(method.granularity)
    at = -1 if own is None else int(np.argmin(np.abs(DENSITIES - own)))
    return [own if own is not None and index == at else value for index, value in enumerate(DENSITIES.tolist())]


def _bin(values: NDArray[np.floating], counts: IntArray | np.int64) -> IntArray:
    """Returns the equal-width bin of numbers in [0, 1], int64, the last bin closed."""
    return np.minimum((values * counts).astype(np.int64), counts - 1)


def build_space(
    network: Network, capabilities: Capabilities, baseline_bits: int = 8, restrictions: Restrictions = NO_RESTRICTIONS
) -> Space:
    """Returns the space of legal plans.

    Raises:
        UnsupportedNetworkError: the network has no layer to compress.
        InvalidValueError: baseline or pinned bits that the hardware lacks, patterns or pins that match no layer.
    """
    if not network.layers:
        raise UnsupportedNetworkError(f"network '{network.name}' has no convolution or linear layer to compress")
    check_formats(capabilities.storage_formats)
    _check_bits("--baseline-bits", baseline_bits, baseline_bits, capabilities)
    names = [layer.name for layer in network.layers]
    restrictions.check(names)
    pins = [restrictions.pin(name) for name in names]
    for pin in filter(None, pins):
        _check_bits(f"--pin {pin.layer}", pin.weight_bits, pin.activation_bits, capabilities)
    free = [restrictions.free(name) for name in names]
    prunable = [open_ and not (pin and pin.dense) for open_, pin in zip(free, pins, strict=True)]
    methods = methods_of(capabilities)
    deciders = find_deciders(network, prunable)
    held = [None if open_ else baseline_bits for open_ in free]
    weight_bits = [pin.weight_bits if pin else bits for pin, bits in zip(pins, held, strict=True)]
    input_bits = [pin.activation_bits if pin else bits for pin, bits in zip(pins, held, strict=True)]
    return Space(
        network=network,
        capabilities=capabilities,
        baseline_bits=baseline_bits,
        methods=methods,
        deciders=deciders,
        legal=_legal_methods(network, methods, deciders, prunable),
        weight_bits_legal=_legal_bits(capabilities.weight_bits, weight_bits),
        activation_bits_legal=_legal_bits(capabilities.activation_bits, _shared_bits(names, deciders, input_bits)),
    )


def _shared_bits(names: list[str], deciders: Deciders, held: list[int | None]) -> list[int | None]:
    """Returns the bits at which each layer's input tensor is held by any of its readers, None when it is free."""
    of_tensor: dict[int, tuple[str, int]] = {}
    for name, reader, bits in zip(names, deciders.reader.tolist(), held, strict=True):
        if bits is None:
            continue
        other, before = of_tensor.setdefault(reader, (name, bits))
        if before != bits:
            raise InvalidValueError(
                f"{name} and {other} read the same tensor but are held at {bits} and {before} activation bits; "
                "give both the same with --pin"
            )
    return [of_tensor[reader][1] if reader in of_tensor else None for reader in deciders.reader.tolist()]


def _check_bits(what: str, weight_bits: int, activation_bits: int, capabilities: Capabilities) -> None:
    for kind, bits, allowed in (
        ("weights", weight_bits, capabilities.weight_bits),
        ("activations", activation_bits, capabilities.activation_bits),
    ):
        if bits not in allowed:
            raise InvalidValueError(
                f"{what}: {bits} bits for {kind} are not supported by this hardware (supported: "
                f"{', '.join(map(str, allowed))}); choose one of these or another --hw"
            )


def _legal_bits(widths: tuple[int, ...], held: list[int | None]) -> NDArray[np.bool_]:
    return np.array([[value is None or width == value for width in widths] for value in held])


def _legal_methods(
    network: Network, methods: tuple[Method, ...], deciders: Deciders, prunable: list[bool]
) -> NDArray[np.bool_]:
    legal = np.zeros((len(network.layers), len(methods), len(DENSITIES)), dtype=np.bool_)
    for index, layer in enumerate(network.layers):
        for column, method in enumerate(methods):
            reason = why_illegal(
                layer,
                method.granularity,
                decides_outputs=deciders.producer_group[index] >= 0,
                decides_inputs=deciders.consumer_group[index] >= 0,
            )
            if not reason and (prunable[index] or column == 0):
                units = units_in(method.granularity, layer)
                legal[index, column] = legal_densities(layer, method.granularity, units, DENSITIES)
    return legal
