"""Compressed networks as ONNX models with QuantizeLinear and DequantizeLinear.

Weights stand as int4 (up to 4 bits), int8 or int16 levels with one scale per output; activations as uint8 or uint16,
clipped to their own range first where they have fewer bits. Opset 21 is the first with int4 and 16-bit quantisation.
Integer runtimes round the bias inside a convolution to whole multiples of input scale times weight scale. Where that
is coarse against the step of the output, which few bits make it, the bias stands in an addition of its own.
Needs the `onnx` extra; import this module only where it is used.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxscript.optimizer
import torch
from numpy.typing import NDArray
from onnxscript import opset21 as onnx_operators
from torch import Tensor, fx, library, nn

from compress.apply import Compressed
from compress.fake_quant import FakeQuantiser
from compress.folding import IntegerLayer, fold
from compress.quantize import ActivationRange, fake_quantised
from networks.trace import TracedNetwork
from plan.errors import UnsupportedNetworkError

OPSET = 21
INPUT, OUTPUT = "images", "scores"
FINE_BIAS = 1 / 64
"""A bias may stay inside its layer where its rounding step is at most this share of the output's step."""
_OPERATORS: Any = onnx_operators
_INTEGERS = {4: onnx.TensorProto.INT4, 8: onnx.TensorProto.INT8, 16: onnx.TensorProto.INT16}


def compressed_model(compressed: Compressed, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """Returns the network as an ONNX model, checked.

    Args:
        compressed: masked or physically smaller
        metadata: stored as the model's properties

    Raises:
        UnsupportedNetworkError: an operation that ONNX lacks.
    """
    folded = fold(compressed)
    for name, part in list(folded.module.named_children()):
        if isinstance(part, FakeQuantiser):
            setattr(folded.module, name, nn.Identity() if part.chosen is None else _Rounding(part.chosen))
    model = _converted(folded.module, compressed.traced)
    for target in _coarse_biases(compressed, folded.layers):
        _set_apart(model.graph, f"{target}.weight", f"{target}.bias")
    for target, layer in folded.layers.items():
        _store_integers(model.graph, f"{target}.weight", layer)
    return _finished(model, compressed.traced, metadata or {})


def float_model(traced: TracedNetwork) -> onnx.ModelProto:
    """Returns the network as given as an ONNX model in float32, checked.

    Raises:
        UnsupportedNetworkError: an operation that ONNX lacks.
    """
    return _finished(_converted(copy.deepcopy(traced.module), traced), traced, {})


@library.custom_op("espalier::round_to_levels", mutates_args=())
def round_to_levels(values: Tensor, bits: int, scale: float, zero_point: int) -> Tensor:
    """Returns the values on the levels of a range; one node that the translation below recognises."""
    return fake_quantised(values, ActivationRange(bits, scale, zero_point))


@round_to_levels.register_fake
def _shape_of_rounded(values: Tensor, bits: int, scale: float, zero_point: int) -> Tensor:
    return torch.empty_like(values)


class _Rounding(nn.Module):
    def __init__(self, chosen: ActivationRange) -> None:
        super().__init__()
        self.chosen = chosen

    def forward(self, values: Tensor) -> Tensor:
        rounded: Tensor = round_to_levels(values, self.chosen.bits, self.chosen.scale, self.chosen.zero_point)
        return rounded


def _translate_rounding(values: onnx_ir.Value, bits: int, scale: float, zero_point: int) -> Any:
    """Writes Clip (below the container's width), QuantizeLinear and DequantizeLinear."""
    chosen, narrow = ActivationRange(bits, scale, zero_point), bits <= 8
    if bits not in (8, 16):
        low = _OPERATORS.Constant(value_float=-zero_point * scale)
        values = _OPERATORS.Clip(values, low, _OPERATORS.Constant(value_float=(chosen.top - zero_point) * scale))
    step = _OPERATORS.Constant(value_float=scale)
    zero = _OPERATORS.Constant(value=onnx_ir.tensor(np.array(zero_point, np.uint8 if narrow else np.uint16)))
    return _OPERATORS.DequantizeLinear(_OPERATORS.QuantizeLinear(values, step, zero), step, zero)


def _converted(module: fx.GraphModule, traced: TracedNetwork) -> onnx.ModelProto:
    example = torch.zeros(2, *traced.network.input_shape)
    try:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                verbose=False,
                optimize=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                custom_translation_table={torch.ops.espalier.round_to_levels.default: _translate_rounding},
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise UnsupportedNetworkError(f"network '{traced.network.name}' cannot be written as ONNX: {reason}") from error
    if program is None:
        raise UnsupportedNetworkError(f"network '{traced.network.name}' gave no ONNX model")
    model: onnx.ModelProto = program.model_proto
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter's own warnings off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _store_integers(graph: onnx.GraphProto, name: str, layer: IntegerLayer) -> None:
    """Replaces a float weight by its levels and the node that multiplies them by their scales.

    A linear layer on maps reads its weight through a transposition, which the levels take in.
    """
    tensor = _initializer(graph, name)
    readers = [node for node in graph.node if name in node.input]
    transposed = len(layer.levels.shape) == 2 and {node.op_type for node in readers} == {"Transpose"}
    outputs = [node.output[0] for node in readers] if transposed else [name]
    parts = [f"{name}.levels", f"{name}.scale", f"{name}.zero_point"]
    levels = layer.levels.T if transposed else layer.levels
    tensor.CopyFrom(_integer_tensor(parts[0], levels, layer.container_bits))
    graph.initializer.append(onnx.numpy_helper.from_array(layer.scale, parts[1]))
    graph.initializer.append(_integer_tensor(parts[2], layer.zero_point, layer.container_bits))
    for node in readers if transposed else []:
        graph.node.remove(node)
    for i, output in enumerate(outputs):
        label = f"{name}.dequantise{i or ''}"
        node = onnx.helper.make_node("DequantizeLinear", parts, [output], name=label, axis=int(transposed))
        graph.node.insert(0, node)


def _initializer(graph: onnx.GraphProto, name: str) -> Any:
    for tensor in graph.initializer:
        if tensor.name == name:
            return tensor
    raise UnsupportedNetworkError(f"the ONNX model has no parameter '{name}': the exporter rewrote its layer")


def _integer_tensor(name: str, levels: NDArray[np.int16], bits: int) -> onnx.TensorProto:
    if bits == 4:
        pairs = np.pad(levels.ravel(), (0, levels.size % 2)).astype(np.uint8) & 0xF
        content = pairs[0::2] | pairs[1::2] << 4
    else:
        content = levels.astype("i1" if bits == 8 else "<i2")
    return onnx.helper.make_tensor(name, _INTEGERS[bits], levels.shape, content.tobytes(), raw=True)


def _coarse_biases(compressed: Compressed, layers: Mapping[str, IntegerLayer]) -> list[str]:
    """Returns the layers whose bias would be rounded too coarsely inside them."""
    ranges, found = compressed.ranges, []
    for layer, record in zip(compressed.traced.network.layers, compressed.records, strict=True):
        read, written = ranges.get(layer.input_tensor), ranges.get(layer.output_tensor or "")
        step = 0.0 if read is None else read.scale * float(np.abs(layers[record.target].scale).max(initial=0.0))
        if written is not None and step > FINE_BIAS * written.scale:
            found.append(record.target)
    return found


def _set_apart(graph: onnx.GraphProto, weight: str, bias: str) -> None:
    """Moves a bias out of every Conv and Gemm that adds it, into an addition behind it."""
    readers = [node for node in graph.node if list(node.input[1:]) == [weight, bias]]
    if not readers:  # a batch norm that could not be folded adds it
        return
    for node in readers:
        total, node.output[0] = node.output[0], f"{node.output[0]}.sum"
        del node.input[2]
        place = list(graph.node).index(node) + 1
        graph.node.insert(place, onnx.helper.make_node("Add", [node.output[0], bias], [total], name=f"{bias}.add"))
    tensor = _initializer(graph, bias)
    if any(node.op_type == "Conv" for node in readers):
        tensor.dims.extend([1, 1])


def _own_zero_points(graph: onnx.GraphProto) -> None:
    """Gives every weight zero points of its own again: where they are shared, onnxruntime cannot make int8 uint8."""
    taken: set[str] = set()
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0].endswith(".levels"):
            shared = node.input[2]
            if shared in taken:
                copied = onnx.TensorProto()
                copied.CopyFrom(_initializer(graph, shared))
                copied.name = f"{node.name}.zero_point"
                graph.initializer.append(copied)
                node.input[2] = copied.name
            taken.add(node.input[2])


def _finished(model: onnx.ModelProto, traced: TracedNetwork, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Returns the model simplified, without the exporter's notes, checked."""
    with _quiet():
        model = onnxscript.optimizer.optimize(model)
    _own_zero_points(model.graph)
    for node in model.graph.node:
        del node.metadata_props[:]
    del model.graph.value_info[:], model.graph.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UnsupportedNetworkError(f"network '{traced.network.name}' gave a faulty ONNX model: {error}") from error
    return model
