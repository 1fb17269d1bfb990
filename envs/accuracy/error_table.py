"""The predicted error of every alternative of every layer: the additive accuracy proxy.

An error is an expected increase of the loss, 0.5 * sum_k fisher_k * dW_k H dW_k^T, in nats.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from plan.assignment import FloatArray, IntArray
from plan.cells import Cells
from plan.errors import FileFormatError, MismatchError, MissingFileError
from plan.space import ACTIVATION_BITS, DENSITY, METHOD, WEIGHT_BITS, Choices, Space

ARRAYS = ("weight", "activation")


@dataclass(frozen=True, eq=False)
class ErrorTable:
    """Predicted loss increases, float64, in nats.

    Attributes:
        weight: (L, M, 32, W), a layer's own method, density and weight bits after repair; for filter and channel the
            effect on all consumers of the group. Infinite where the space forbids the cell.
        activation: (L, A), the layer's input tensor at those bits; 0 for layers that are not its first reader.
    """

    weight: FloatArray
    activation: FloatArray

    def error(self, space: Space, choices: Choices) -> FloatArray:
        """Returns the summed error of plans, (B,), for choices int16 (B, L, 4); undecided entries count as start."""
        total: FloatArray = self.parts(space, choices).sum(axis=1)
        return total

    def parts(self, space: Space, choices: Choices) -> FloatArray:
        """Returns the same in two parts, (B, 2): of all weights, of all activations."""
        filled = space.filled(choices)
        read = filled[..., ACTIVATION_BITS].take(space.deciders.reader, axis=1)
        own, bits = self._of_layers(np.arange(space.n_layers), filled, read)
        return np.stack((own.sum(axis=1), bits.sum(axis=1)), axis=1)

    def error_of(self, cells: Cells) -> FloatArray:
        """Returns what `error` does, (B,), for plans of which only some cells are given."""
        own, bits = self._of_layers(cells.layers, cells.choices, cells.read)
        total: FloatArray = np.stack((cells.added(own), cells.added(bits)), axis=1).sum(axis=1)
        return total

    def _of_layers(self, layers: IntArray, choices: Choices, read: NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        """Returns errors of weights and of activations, (..., n): choices (..., n, 4) of layers (n,) and bits read."""
        _, methods, densities, widths = self.weight.shape
        cell = choices[..., METHOD] + methods * layers
        cell = (cell * densities + choices[..., DENSITY]) * widths + choices[..., WEIGHT_BITS]
        return self.weight.take(cell), self.activation.take(read + self.activation.shape[1] * layers)

    def counting(self, activation_share: float) -> ErrorTable:
        """Returns the table in which activations' errors count for that share."""
        return ErrorTable(self.weight, activation_share * self.activation)

    def check(self, space: Space) -> None:
        """Checks that the table belongs to a space.

        Raises:
            MismatchError: other numbers of layers, methods, densities or bits.
        """
        wanted = (*space.legal.shape, len(space.weight_bits)), (space.n_layers, len(space.activation_bits))
        found = self.weight.shape, self.activation.shape
        if wanted != found:
            raise MismatchError(f"error table of shapes {found} does not fit a space of {wanted}; build it again")

    def save(self, path: Path) -> None:
        """Writes the table as .npz without pickled objects."""
        with path.open("wb") as file:
            np.savez_compressed(file, weight=self.weight, activation=self.activation)

    @classmethod
    def load(cls, path: Path) -> ErrorTable:
        """Returns the table that `save` wrote.

        Raises:
            MissingFileError: no such file.
            FileFormatError: not such a table.
        """
        if not path.is_file():
            raise MissingFileError(f"{path}: no such error table; leave the cache out to build it again")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                arrays: list[NDArray[np.float64]] = [content[name].astype(np.float64) for name in ARRAYS]
        except (ValueError, KeyError, OSError, EOFError, BadZipFile, zlib.error) as problem:
            raise FileFormatError(str(path), [f"not an error table ({problem}); delete it"]) from problem
        return cls(*arrays)
