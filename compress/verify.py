"""Whether a network is what its plan says: kept units, their shapes, widths and every single level, layer by layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.apply import Compressed, LayerRecord, left_rows_and_columns, levels_sha256
from compress.fake_quant import FakeQuantiser, PlainQuantiser
from compress.modules import weight_layer
from compress.prune import Partition, WeightShape, kept_count, partition
from compress.prune.patterns import fits_pattern
from compress.quantize import weight_levels
from plan.errors import MismatchError
from plan.layer import Layer
from plan.scheme import KERNEL_POSITIONS, STRUCTURED, Dense, NofM, Pattern

LevelArray = NDArray[np.int64]


def verify(compressed: Compressed) -> tuple[str, ...]:
    """Returns what does not fit between the module and the records, one text per finding, empty when all fits.

    Works on masked and on physically smaller modules.
    """
    problems: list[str] = []
    for layer, record in zip(compressed.traced.network.layers, compressed.records, strict=True):
        problems += [f"layer {layer.name}: {problem}" for problem in _layer_problems(compressed, layer, record)]
    return (*problems, *_activation_problems(compressed))


def check(compressed: Compressed) -> None:
    """Checks a compressed network.

    Raises:
        MismatchError: lists everything that does not fit.
    """
    problems = verify(compressed)
    if problems:
        raise MismatchError("; ".join(problems))


def _layer_problems(compressed: Compressed, layer: Layer, record: LayerRecord) -> list[str]:
    weight = weight_layer(compressed.module, record.target).weight.detach().numpy()
    matrix = weight.reshape(weight.shape[0], -1)
    rows, columns = left_rows_and_columns(layer, record.kept)
    if matrix.shape == (layer.K, layer.weights // layer.K):
        outside = matrix.copy()
        outside[rows[:, None], columns] = 0
        if np.any(outside):
            return [f"{np.count_nonzero(outside)} weights of removed channels are not zero"]
        matrix = matrix[rows[:, None], columns]
    if matrix.shape != columns.shape:
        return [f"its weights are {matrix.shape[0]} x {matrix.shape[1]}, the plan leaves {columns.shape}"]
    shape = WeightShape(len(rows), columns.shape[1] // (layer.R * layer.S), layer.R, layer.S)
    return _matrix_problems(matrix, record, shape)


def _matrix_problems(matrix: NDArray[np.float32], record: LayerRecord, shape: WeightShape) -> list[str]:
    scale = record.scale[record.kept.outputs][:, None]
    levels = np.rint(matrix / scale).astype(np.int64)
    low, high = weight_levels(record.scheme.weight_bits)
    problems = []
    if np.any(levels.astype(np.float32) * scale != matrix):
        off = int(np.count_nonzero(levels.astype(np.float32) * scale != matrix))
        problems.append(f"{off} weights lie on no level of their output's scale")
    stored = levels if record.zero_point is None else levels + record.zero_point[record.kept.outputs][:, None]
    if stored.min(initial=0) < low or stored.max(initial=0) > high:
        problems.append(f"levels {stored.min()} to {stored.max()} do not fit {record.scheme.weight_bits} bits")
    problems += _density_problems(levels, record, shape)
    if levels_sha256(levels) != record.levels_sha256:
        problems.append("its levels are not those that were recorded when the plan was applied")
    return problems


def _density_problems(levels: LevelArray, record: LayerRecord, shape: WeightShape) -> list[str]:
    """Returns problems with the number of units that hold anything: no more than the plan keeps.

    Fewer is no fault: a kept weight may round to level 0.
    """
    granularity = record.scheme.method.granularity
    if isinstance(granularity, Dense) or granularity.kind in STRUCTURED:
        return []
    if isinstance(granularity, NofM):
        worst = _most_in_a_group(levels, shape, granularity)
        return [f"{worst} of {granularity.m} weights are kept in a group"] if worst > granularity.n_keep else []
    if isinstance(granularity, Pattern):
        fits = fits_pattern((levels != 0).reshape(-1, KERNEL_POSITIONS), granularity)
        return [] if fits.all() else [f"{np.count_nonzero(~fits)} kernels fit none of the patterns"]
    cut = partition(granularity, shape)
    used, allowed = _used_units(levels, cut), kept_count(record.scheme.density, cut.units)
    return [f"{used} units of {cut.units} are kept, the plan keeps {allowed}"] if used > allowed else []


def _used_units(levels: LevelArray, cut: Partition) -> int:
    rows, columns = np.nonzero(levels)
    return len(np.unique(cut.row_block[rows] * cut.n_sets + cut.column_set[columns]))


def _most_in_a_group(levels: LevelArray, shape: WeightShape, granularity: NofM) -> int:
    missing = -shape.channels % granularity.m
    used = (levels != 0).reshape(shape.rows, shape.channels, shape.positions)
    padded = np.pad(used, ((0, 0), (0, missing), (0, 0)))
    return int(padded.reshape(shape.rows, -1, granularity.m, shape.positions).sum(2).max())


def _activation_problems(compressed: Compressed) -> list[str]:
    """Returns tensors whose rounding has another width than their first reader's plan."""
    problems = []
    bits: dict[str, int] = {}
    for layer, record in zip(compressed.traced.network.layers, compressed.records, strict=True):
        bits.setdefault(layer.input_tensor, record.scheme.activation_bits)
    for i, tensor in enumerate(compressed.traced.tensor_nodes):
        found = compressed.module.get_submodule(f"quantiser_{i}")
        if not isinstance(found, FakeQuantiser | PlainQuantiser):
            problems.append(f"tensor {tensor}: it is not rounded")
        elif tensor in bits and found.bits != bits[tensor]:
            problems.append(f"tensor {tensor}: it is rounded to {found.bits} bits, the plan says {bits[tensor]}")
    return problems
