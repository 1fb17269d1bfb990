"""What is left of a layer's weights once channels are gone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.masks import KeptChannels
from compress.prune import Partition, WeightShape
from plan.errors import MismatchError
from plan.layer import Layer


@dataclass(frozen=True)
class Left:
    """The tensor that is left of a layer after inherited removals, and where it sits in the dense one.

    rows: int64 (K',); columns: int64 (G, D'), dense columns kept in each convolution group.
    """

    layer: Layer
    shape: WeightShape
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    @classmethod
    def of(cls, layer: Layer, kept: KeptChannels) -> Left:
        """Returns what a layer keeps.

        Raises:
            MismatchError: a convolution with several groups keeps unequal numbers of channels in them.
        """
        rows = np.flatnonzero(kept.outputs)
        per_group = kept.inputs.reshape(layer.groups, -1)
        if layer.depthwise:
            per_group = np.ones_like(per_group)
        counts = per_group.sum(1)
        if (counts != counts[0]).any():
            raise MismatchError(
                f"layer {layer.name}: its {layer.groups} convolution groups keep {counts.min()} to {counts.max()} "
                "channels; each must keep as many"
            )
        columns = np.nonzero(np.repeat(per_group, layer.R * layer.S, axis=1))[1].reshape(layer.groups, -1)
        return cls(layer, WeightShape(len(rows), int(counts[0]), layer.R, layer.S), rows, columns)

    def _row_columns(self) -> NDArray[np.int64]:
        group = self.rows // (self.layer.K // self.layer.groups)
        return self.columns[group]

    def take(self, weight: Tensor) -> Tensor:
        """Returns the part that is left, (K', D'), of a dense matrix (K, D)."""
        return weight[torch.from_numpy(self.rows)[:, None], torch.from_numpy(self._row_columns())]

    def spread(self, mask: Tensor) -> Tensor:
        """Returns the dense mask, bool (K, D), of a mask on what is left, bool (K', D')."""
        dense = torch.zeros(self.layer.K, self.layer.weights // self.layer.K, dtype=torch.bool)
        dense[torch.from_numpy(self.rows)[:, None], torch.from_numpy(self._row_columns())] = mask
        return dense

    def sets(self, group: int, cut: Partition) -> NDArray[np.int64]:
        """Returns the column set of every dense column of a convolution group; removed columns get one of their own."""
        sets = np.full(self.layer.weights // self.layer.K, cut.n_sets)
        sets[self.columns[group]] = cut.column_set
        return sets
