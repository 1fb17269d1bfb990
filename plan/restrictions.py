"""What the search may touch: include and exclude patterns, and pinned layers."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

from plan.errors import InvalidValueError
from plan.registry import close_names

PIN = re.compile(r"w(?P<weight>\d+)a(?P<activation>\d+)")


@dataclass(frozen=True)
class Pin:
    """A layer held at given bits, and unpruned when `dense`. Written LAYER:w8a8 or LAYER:w8a8,dense."""

    layer: str
    weight_bits: int
    activation_bits: int
    dense: bool

    @classmethod
    def parse(cls, text: str) -> Pin:
        """Returns the pin that a text like `conv1:w8a8,dense` describes.

        Raises:
            InvalidValueError: the text has another form.
        """
        layer, _, rest = text.rpartition(":")
        bits, _, flag = rest.partition(",")
        match = PIN.fullmatch(bits)
        if not layer or not match or flag not in ("", "dense"):
            raise InvalidValueError(f"--pin '{text}' is not LAYER:w<bits>a<bits>[,dense], for example conv1:w8a8,dense")
        return cls(layer, int(match["weight"]), int(match["activation"]), flag == "dense")


@dataclass(frozen=True)
class Restrictions:
    """Layers that the search may touch: those matching an include pattern and no exclude pattern."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pins: tuple[Pin, ...] = ()

    def free(self, name: str) -> bool:
        """Returns whether the search may compress the layer of that name."""
        included = not self.include or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.include)
        return included and not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.exclude)

    def pin(self, name: str) -> Pin | None:
        """Returns the pin of a layer, None when it has none."""
        return next((pin for pin in self.pins if pin.layer == name), None)

    def check(self, names: list[str]) -> None:
        """Checks that every pattern and pin names a layer.

        Raises:
            InvalidValueError: lists patterns that match nothing and pinned layers that do not exist.
        """
        problems = [
            f"pattern '{pattern}' matches no layer"
            for pattern in self.include + self.exclude
            if not fnmatch.filter(names, pattern)
        ]
        problems += [
            f"pinned layer '{pin.layer}' does not exist{close_names(pin.layer, names)}"
            for pin in self.pins
            if pin.layer not in names
        ]
        if problems:
            raise InvalidValueError("; ".join(problems) + f" (layers: {', '.join(names)})")


NO_RESTRICTIONS = Restrictions()
