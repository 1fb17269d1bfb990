"""Command: is a filter-pruned network smaller and faster in onnxruntime, and by how much the model of a CPU says.

python -m experiments.bench.onnx_speed [--net resnet50] [--image 224] [--density 0.5] [--repeats 15] [--csv F]

The dense network and one that keeps the filters of largest L2 norm in every group that may be pruned are written as
ONNX in float32 and with 8-bit weights and activations, and run on one image by one thread of onnxruntime. The four
models take turns; medians of the process's own processor time are compared, so other load counts little. Beside the
measured ratio stands that of the preset `mobile_cpu`, at 16 bits for float32, its widest. Weights are random: speed
does not depend on them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from compress import onnx_file, onnx_session
from compress.masks import BoolArray, kept_channels
from compress.materialize import masked, materialize, materialized
from compress.modules import weight_layers
from compress.observers import TensorNotes, Watcher
from compress.prune import best, kept_count
from compress.quantize import ActivationRange
from compress.reference import rounded_network, whole
from hwmodels.assignments import dense
from hwmodels.loader import load
from networks.trace import TracedNetwork, trace
from networks.zoo import build
from plan.assignment import Assignment
from plan.command import DONE, Parser, run_command

HARDWARE = "mobile_cpu"
BITS, WIDEST = 8, 16
SAMPLE = 4096


@dataclass(frozen=True)
class Speed:
    """One model: file, bytes; processor time for one image, ms; what the preset's model says, ms."""

    model: str
    file_bytes: int
    measured_ms: float
    modelled_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 0, or 2 when a network or size cannot be used."""
    parser = Parser(prog="python -m experiments.bench.onnx_speed", description=__doc__)
    parser.add_argument("--net", default="resnet50", help="a named network (default: resnet50)")
    parser.add_argument("--image", type=int, default=224, help="height and width of the image (default: 224)")
    parser.add_argument("--density", type=float, default=0.5, help="filters kept / all of a group (default: 0.5)")
    parser.add_argument("--repeats", type=int, default=15, help="runs of every model (default: 15)")
    parser.add_argument("--csv", type=Path, help="file for the table")
    return run_command(lambda: _bench(parser.parse_args(arguments)))


def _bench(options: argparse.Namespace) -> int:
    source = build(options.net, 1000, (3, options.image, options.image))
    traced = trace(source.module, source.input_size, source.name)
    speeds = measure(traced, strongest(traced, options.density), options.repeats)
    _print(speeds, f"{options.net}, {options.image} x {options.image}, density {options.density}, one thread")
    if options.csv:
        pd.DataFrame([asdict(speed) for speed in speeds]).to_csv(options.csv, index=False)
    return DONE


def strongest(traced: TracedNetwork, density: float) -> tuple[BoolArray, ...]:
    """Returns masks that keep, of every prunable group, the filters of largest L2 norm in its first producer."""
    masks = list(whole(traced.network))
    layers = weight_layers(traced.module, traced)
    for index, group in enumerate(traced.network.groups):
        if group.prunable:
            weight = layers[group.producers[0]].weight.detach()
            norms = weight.reshape(len(weight), -1).norm(dim=1).double().numpy()
            masks[index] = best(norms, kept_count(density, group.channels))
    return tuple(masks)


def measure(traced: TracedNetwork, masks: Sequence[BoolArray], repeats: int) -> list[Speed]:
    """Returns size and speed of the dense and the pruned network, in float32 and at 8 bits."""
    ranges = _ranges(traced)
    dense_8, pruned_8 = (
        materialize(rounded_network(traced, ranges, BITS, kept)) for kept in (whole(traced.network), masks)
    )
    cut = replace(traced, module=materialized(traced, masked(traced, masks), masks))
    models = {
        "dense, float32": (onnx_file.float_model(traced), _modelled(traced, None, WIDEST)),
        "pruned, float32": (onnx_file.float_model(cut), _modelled(traced, masks, WIDEST)),
        f"dense, {BITS} bits": (onnx_file.compressed_model(dense_8), _modelled(traced, None, BITS)),
        f"pruned, {BITS} bits": (onnx_file.compressed_model(pruned_8), _modelled(traced, masks, BITS)),
    }
    files = {name: model.SerializeToString() for name, (model, _) in models.items()}
    times = _times(files, traced.network.input_shape, repeats)
    return [Speed(name, len(files[name]), times[name], models[name][1]) for name in models]


def _times(files: dict[str, bytes], shape: tuple[int, int, int], repeats: int) -> dict[str, float]:
    """Returns the median processor time of one run of every model, ms; the models take turns."""
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    sessions = {name: onnx_session.open_session(content) for name, content in files.items()}
    found: dict[str, list[float]] = {name: [] for name in sessions}
    for session in sessions.values():
        onnx_session.run(session, image)
    for _ in range(repeats):
        for name, session in sessions.items():
            start = time.process_time()
            onnx_session.run(session, image)
            found[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(values)) for name, values in found.items()}


@torch.inference_mode()
def _ranges(traced: TracedNetwork) -> dict[str, ActivationRange]:
    """Returns 8-bit ranges of all stored tensors that hold what a random image gives."""
    notes = {name: TensorNotes() for name in traced.tensor_nodes}

    def watch(name: str, value: torch.Tensor) -> torch.Tensor:
        notes[name].add(value, SAMPLE)
        return value

    Watcher(traced, watch).run(torch.rand(1, *traced.network.input_shape))
    steps = {name: max((note.high - note.low) / (2**BITS - 1), 1e-6) for name, note in notes.items()}
    return {
        name: ActivationRange(BITS, float(np.float32(steps[name])), round(-note.low / steps[name]))
        for name, note in notes.items()
    }


def _modelled(traced: TracedNetwork, masks: Sequence[BoolArray] | None, bits: int) -> float:
    """Returns the latency that the preset's model gives, ms."""
    assignment = dense(traced.network, bits)
    if masks is not None:
        assignment = _cut(traced, assignment, masks, bits)
    return float(load(HARDWARE).evaluate(traced.network, assignment).latency_ms[0])


def _cut(traced: TracedNetwork, assignment: Assignment, masks: Sequence[BoolArray], bits: int) -> Assignment:
    kept = kept_channels(traced.network, masks)
    inputs, outputs = (
        np.array([[int(getattr(left, side).sum()) for left in kept]], np.int64) for side in ("inputs", "outputs")
    )
    per_output = [
        layer.R * layer.S * (count // layer.groups if not layer.depthwise else 1)
        for layer, count in zip(traced.network.layers, inputs[0], strict=True)
    ]
    stored = (outputs * np.array(per_output) * bits).astype(np.float64)
    return replace(assignment, kept_inputs=inputs, kept_outputs=outputs, stored_bits=stored)


def _print(speeds: Sequence[Speed], title: str) -> None:
    table = Table(title=title)
    for heading in ("model", "file, MB", "measured, ms", "of dense", f"{HARDWARE}, ms", "of dense"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for place, speed in enumerate(speeds):
        base = speeds[place - place % 2]
        table.add_row(
            speed.model,
            f"{speed.file_bytes / 1e6:.2f}",
            f"{speed.measured_ms:.2f}",
            f"{speed.measured_ms / base.measured_ms:.2f}",
            f"{speed.modelled_ms:.2f}",
            f"{speed.modelled_ms / base.modelled_ms:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
