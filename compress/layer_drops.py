"""What each scheme costs when a single layer has it: measured, the rest of the network at 16 bits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.divergence import divergence, log_probabilities
from compress.measure import UNTOUCHED_BITS, Measurer
from plan.deciders import Deciders, find_deciders
from plan.errors import InvalidValueError
from plan.layer import Network
from plan.methods import algorithms_of, why_illegal, why_not_offered
from plan.scheme import DENSE, GRANULARITIES, Method, Scheme, granularity_from_json, own_density

DEFAULT_SCHEMES = (
    "w8a16", "w6a16", "w5a16", "w4a16", "w3a16", "w2a16", "w16a8", "w16a6", "w16a5", "w16a4", "w16a3",
    "w8a8,element:0.5", "w8a8,element:0.25", "w8a8,n:m(2,4)", "w8a8,pattern(4)", "w8a8,filter:0.75",
)  # fmt: skip
FORM = re.compile(
    r"w(?P<weight>\d+)a(?P<activation>\d+)"
    r"(,(?P<kind>[a-z:-]+?)(\((?P<numbers>\d+(,\d+)*)\))?(:(?P<density>[\d.]+))?(/(?P<algorithm>[a-z0-9-]+))?)?"
)


def parse_scheme(text: str) -> Scheme:
    """Returns the scheme of a text such as w4a8, "w8a8,element:0.5", "w4a6,n:m(2,4)" or "w8a8,filter:0.75/l1".

    The algorithm is second-order where none is named.

    Raises:
        InvalidValueError: a text of another form, or values that no scheme has.
    """
    found = FORM.fullmatch(text)
    if found is None:
        raise InvalidValueError(f"scheme '{text}' is not w<bits>a<bits>[,granularity[(numbers)][:density][/algorithm]]")
    weight_bits, activation_bits = int(found["weight"]), int(found["activation"])
    if not (2 <= weight_bits <= UNTOUCHED_BITS and 2 <= activation_bits <= UNTOUCHED_BITS):
        raise InvalidValueError(f"scheme '{text}': bits must lie in 2 to {UNTOUCHED_BITS}")
    if found["kind"] is None:
        return Scheme(DENSE, 1.0, weight_bits, activation_bits)
    method = _method(text, found["kind"], found["numbers"] or "", found["algorithm"] or "second-order")
    density = own_density(method.granularity)
    if density is None:
        density = float(found["density"] or 0)
        if not 0 < density < 1:
            raise InvalidValueError(f"scheme '{text}' needs a density between 0 and 1, for example {found['kind']}:0.5")
    return Scheme(method, density, weight_bits, activation_bits)


def _method(text: str, kind: str, numbers: str, algorithm: str) -> Method:
    if kind not in GRANULARITIES or kind == DENSE.granularity.kind:
        raise InvalidValueError(
            f"scheme '{text}': granularity '{kind}' is unknown (allowed: {', '.join(GRANULARITIES)})"
        )
    names = [item.name for item in fields(GRANULARITIES[kind])]
    values = [int(number) for number in numbers.split(",")] if numbers else []
    if len(values) != len(names):
        raise InvalidValueError(f"scheme '{text}': {kind} takes {len(names)} numbers ({', '.join(names) or 'none'})")
    granularity = granularity_from_json({"type": kind, **dict(zip(names, values, strict=True))})
    reason = why_not_offered(granularity, algorithm)
    if reason:
        allowed = ", ".join(algorithms_of(granularity))
        raise InvalidValueError(f"scheme '{text}': {algorithm} {reason} (allowed: {allowed})")
    return Method(granularity, algorithm)


@dataclass(frozen=True)
class LayerDrop:
    """What one scheme on one layer costs.

    illegal: why the layer cannot have the scheme, empty where it can; the figures are NaN otherwise
    drop_points: accuracy lost; divergence_nats: mean KL divergence of the outputs from the dense network's
    """

    layer: str
    scheme: str
    illegal: str
    drop_points: float
    divergence_nats: float


class LayerDrops:
    """Measures one layer at a time.

    Args:
        measurer: of the network.
        images: float32 (N, C, H, W), measured.
        labels: int64 (N,).
    """

    def __init__(self, measurer: Measurer, images: Tensor, labels: NDArray[np.int64]) -> None:
        self.measurer, self.images, self.labels = measurer, images, labels
        self.network: Network = measurer.traced.network
        self.deciders: Deciders = find_deciders(self.network, [True] * len(self.network.layers))
        outputs = measurer.dense_outputs(images)
        self.dense_right = outputs.argmax(1) == labels
        self.dense = log_probabilities(torch.from_numpy(outputs))

    def every(self, schemes: Sequence[str], done: Sequence[LayerDrop]) -> Iterator[LayerDrop]:
        """Yields the drop of every layer under every scheme text that is not done yet, layer by layer."""
        known = {(drop.layer, drop.scheme) for drop in done}
        parsed = [(text, parse_scheme(text)) for text in schemes]
        for index, layer in enumerate(self.network.layers):
            for text, scheme in parsed:
                if (layer.name, text) not in known:
                    yield self.drop(index, text, scheme)

    def drop(self, index: int, text: str, scheme: Scheme) -> LayerDrop:
        """Returns the drop of one layer under one scheme, named by a text."""
        layer = self.network.layers[index]
        illegal = self._why_illegal(index, scheme)
        if illegal:
            return LayerDrop(layer.name, text, illegal, float("nan"), float("nan"))
        plan = [Scheme(DENSE, 1.0, UNTOUCHED_BITS, UNTOUCHED_BITS) for _ in self.network.layers]
        plan[index] = scheme
        outputs = self.measurer.outputs(plan, self.images)
        right = outputs.argmax(1) == self.labels
        drop_points = 100.0 * float(self.dense_right.mean() - right.mean())
        return LayerDrop(layer.name, text, "", drop_points, divergence(torch.from_numpy(outputs), self.dense))

    def _why_illegal(self, index: int, scheme: Scheme) -> str:
        layer, reader = self.network.layers[index], int(self.deciders.reader[index])
        if scheme.activation_bits != UNTOUCHED_BITS and reader != index:
            return f"its input's bits are decided by {self.network.layers[reader].name}"
        return why_illegal(
            layer,
            scheme.method.granularity,
            decides_outputs=bool(self.deciders.producer_group[index] >= 0),
            decides_inputs=bool(self.deciders.consumer_group[index] >= 0),
        )
