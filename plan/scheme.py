"""How one layer is compressed: what is pruned, by which rule, how much is kept, and at how many bits it is stored.

One frozen dataclass per granularity. A `unit` is what is kept or removed as a whole; "hits the density within one
unit" is meant in it. Shapes in the examples are (K, C, R, S).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from typing import Any, ClassVar, Union

from plan.errors import InvalidValueError
from plan.patterns import patterns_of


@dataclass(frozen=True)
class Dense:
    """Keeps everything. weight (64, 32, 3, 3) -> one unit."""

    kind: ClassVar[str] = "dense"


@dataclass(frozen=True)
class Element:
    """Removes single weights. weight (64, 32, 3, 3) -> 18,432 units."""

    kind: ClassVar[str] = "element"


@dataclass(frozen=True)
class NofM:
    """Keeps `n_keep` of every `m` consecutive input channels. weight (64, 32, 3, 3), 2 of 4 -> density 0.5 exactly."""

    n_keep: int
    m: int
    kind: ClassVar[str] = "n:m"


@dataclass(frozen=True)
class Kernel:
    """Removes whole R x S kernels. weight (64, 32, 3, 3) -> 2,048 units."""

    kind: ClassVar[str] = "kernel"


@dataclass(frozen=True)
class Pattern:
    """Keeps `keep` positions of every 3 x 3 kernel, one of the shapes in `plan.patterns`.

    weight (64, 32, 3, 3), keep 4 -> 2,048 units, density 4/9 exactly. The density says what stays, not what goes.
    """

    keep: int
    kind: ClassVar[str] = "pattern"


@dataclass(frozen=True)
class BlockPunched:
    """Removes one kernel position across `filters` x `channels`. weight (64, 32, 3, 3), 4 x 1 -> 16 * 32 * 9 units."""

    filters: int
    channels: int
    kind: ClassVar[str] = "block-punched"


@dataclass(frozen=True)
class BlockRow:
    """Removes rows (one output) inside `rows` x `columns` blocks of a matrix. (64, 32), 8 x 8 -> 64 * 4 units."""

    rows: int
    columns: int
    kind: ClassVar[str] = "block-row"


@dataclass(frozen=True)
class BlockColumn:
    """Removes columns (one input) inside `rows` x `columns` blocks of a matrix. (64, 32), 8 x 8 -> 8 * 32 units."""

    rows: int
    columns: int
    kind: ClassVar[str] = "block-column"


@dataclass(frozen=True)
class Channel:
    """Removes input channels through their group: the producers lose the filters, all consumers the inputs.

    weight (64, 32, 3, 3) -> 32 units.
    """

    kind: ClassVar[str] = "channel"


@dataclass(frozen=True)
class Filter:
    """Removes filters through their group: co-producers lose the same filters, consumers the inputs.

    weight (64, 32, 3, 3) -> 64 units.
    """

    kind: ClassVar[str] = "filter"


Granularity = Union[Dense, Element, NofM, Kernel, Pattern, BlockPunched, BlockRow, BlockColumn, Channel, Filter]
GRANULARITIES: dict[str, type[Any]] = {
    kind.kind: kind
    for kind in (Dense, Element, NofM, Kernel, Pattern, BlockPunched, BlockRow, BlockColumn, Channel, Filter)
}
STRUCTURED = ("channel", "filter")
KERNEL_POSITIONS = 9
"""Of the 3 x 3 kernels that patterns are made for."""
ALGORITHMS = (
    "none",
    "level",
    "sensitivity",
    "splicing",
    "l1",
    "l2",
    "bernoulli",
    "fm-reconstruction",
    "second-order",
)
"""`none` goes with dense only. Which granularity takes which of the others, and what each does: `plan.methods`."""


@dataclass(frozen=True)
class Method:
    """A granularity with its block size, and the rule that ranks its units."""

    granularity: Granularity
    algorithm: str

    def __str__(self) -> str:
        numbers = "x".join(str(value) for value in asdict(self.granularity).values())
        return "/".join(part for part in (self.granularity.kind, numbers, self.algorithm) if part and part != "none")


@dataclass(frozen=True)
class Scheme:
    """What happens to one layer.

    `density` is kept/total in (0, 1] of what the layer has left after its inputs and outputs were shrunk by their
    groups; for channel and filter the kept fraction of the group. Bits are stored widths.
    """

    method: Method
    density: float
    weight_bits: int
    activation_bits: int


DENSE = Method(Dense(), "none")


def own_density(granularity: Granularity) -> float | None:
    """Returns the only density of a granularity that has just one (dense, n:m, pattern), None for the others."""
    match granularity:
        case Dense():
            return 1.0
        case NofM(n_keep, m):
            return n_keep / m
        case Pattern(keep):
            return keep / KERNEL_POSITIONS
        case _:
            return None


def granularity_to_json(granularity: Granularity) -> dict[str, Any]:
    """Returns {"type": kind, ...fields}, the form that plan.json holds."""
    return {"type": granularity.kind, **asdict(granularity)}


def granularity_from_json(content: dict[str, Any]) -> Granularity:
    """Returns the granularity that `granularity_to_json` wrote.

    Raises:
        InvalidValueError: unknown type, missing, extra or non-positive fields, a pattern size without patterns.
    """
    fields = dict(content)
    kind = fields.pop("type", None)
    if kind not in GRANULARITIES:
        raise InvalidValueError(f"granularity type {kind!r} is unknown (allowed: {', '.join(GRANULARITIES)})")
    wanted = [field.name for field in dataclass_fields(GRANULARITIES[kind])]
    if sorted(fields) != sorted(wanted) or not all(type(value) is int and value > 0 for value in fields.values()):
        raise InvalidValueError(f"granularity {kind} takes positive whole numbers {wanted}, found {fields}")
    if kind == Pattern.kind:
        patterns_of(fields["keep"])
    granularity: Granularity = GRANULARITIES[kind](**fields)
    return granularity
