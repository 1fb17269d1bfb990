"""What differs between a plan and its recomputation, and by how much it may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from plan.document import Document

COST_TOLERANCE = 1e-9
"""Relative, for every cost: they follow from whole numbers by the same formulas everywhere."""
ACCURACY_TOLERANCE_POINTS = 0.3
"""On another machine or with other versions; none where both are the same."""
ZERO_TOLERANCE = 0.01
"""Of measured zero fractions, likewise."""
ACCURACY_FIELDS = ("accuracy",)
ZERO_FIELDS = ("input_zero_fraction", "output_zero_fraction")
NOT_COMPARED = ("made_by",)
NAMES = (("network", "name"), ("network", "source"), ("network", "weights"), ("hardware", "source"))
NAMES_OF_DATA = (("data", "name"), ("data", "source"))
"""How the sources were named; their hashes are compared instead."""

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Difference:
    """A field whose value in the plan is not what was recomputed."""

    field: str
    stated: object
    recomputed: object

    def __str__(self) -> str:
        return f"{self.field}: the plan says {self.stated!r}, recomputed {self.recomputed!r}"


@dataclass(frozen=True)
class Comparison:
    """How many values were compared, which differ, and what was tolerated."""

    compared: int
    differences: tuple[Difference, ...]
    exact: bool

    @property
    def tolerance(self) -> str:
        """The tolerances in words."""
        accuracy = "exactly" if self.exact else f"within {ACCURACY_TOLERANCE_POINTS} points (other machine or versions)"
        return f"costs within {COST_TOLERANCE:g} relative, accuracy {accuracy}"

    def to_json(self) -> dict[str, Any]:
        """Returns the comparison as one object."""
        return {
            "equal": not self.differences,
            "compared": self.compared,
            "differences": [asdict(difference) for difference in self.differences],
            "tolerance": self.tolerance,
        }


def compare(stated: Document, recomputed: Document, *, exact: bool) -> Comparison:
    """Returns what differs, field by field; `exact` when machine and versions are those that made the plan."""
    compared, differences = 0, []
    for path, here, there in _pairs(stated, recomputed, ()):
        compared += 1
        if not _equal(path, here, there, exact=exact):
            differences.append(Difference(_name(path), here, there))
    return Comparison(compared, tuple(differences), exact)


def _pairs(stated: Any, recomputed: Any, path: Path) -> Iterator[tuple[Path, object, object]]:
    """Yields every value of the plan with the one at the same place of the recomputation."""
    if path in (*NAMES, *NAMES_OF_DATA) or path[:1] == NOT_COMPARED:
        return
    if isinstance(stated, dict) and isinstance(recomputed, dict):
        for name in sorted(stated.keys() | recomputed.keys()):
            yield from _pairs(stated.get(name), recomputed.get(name), (*path, name))
    elif isinstance(stated, list) and isinstance(recomputed, list) and len(stated) == len(recomputed):
        for index, (here, there) in enumerate(zip(stated, recomputed, strict=True)):
            yield from _pairs(here, there, (*path, index))
    else:
        yield path, stated, recomputed


def _equal(path: Path, stated: object, recomputed: object, *, exact: bool) -> bool:
    numbers = isinstance(stated, int | float) and isinstance(recomputed, int | float)
    if not numbers or isinstance(stated, bool) or isinstance(recomputed, bool):
        return stated == recomputed
    here, there = float(str(stated)), float(str(recomputed))
    if any(name in path for name in ACCURACY_FIELDS):
        return abs(here - there) <= (0.0 if exact else ACCURACY_TOLERANCE_POINTS)
    if path[-1] in ZERO_FIELDS:
        return abs(here - there) <= (0.0 if exact else ZERO_TOLERANCE)
    return abs(here - there) <= COST_TOLERANCE * max(abs(here), abs(there))


def _name(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
