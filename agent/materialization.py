"""The compressed network of a plan written to a file, or a written one compared with the plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from agent.exports import Exported, is_of_a_run, plan_hash, record_export
from agent.plan_network import network_of_plan
from agent.plan_sources import Overrides, check_sources_of, sources_of
from agent.progress import Display
from agent.rebuild import Rebuilt, rebuild
from agent.report_files import PAGE, write_report
from compress.apply import Compressed
from compress.export import export
from compress.loading import differences, read_compressed
from compress.materialize import materialize
from compress.verify import check
from hwmodels.loader import load as load_hardware
from plan.document import Document, load
from plan.errors import EspalierError, MismatchError

COMPARED_IMAGES = 100
"""Images, none of them calibration images, on which a written ONNX file is run and compared with torch."""


@dataclass(frozen=True, eq=False)
class Materialized:
    """A plan's network without the removed channels, verified, and what it was made from."""

    document: Document
    rebuilt: Rebuilt
    compressed: Compressed


@dataclass(frozen=True)
class Written:
    """What is told of a written file: lines for a person, and the same as JSON-safe figures."""

    lines: list[str]
    figures: dict[str, Any]


def write(document: Document, given: Overrides, out: Path, display: Display) -> Written:
    """Writes the network with removed channels cut out, verified against the plan; returns what was written.

    Raises:
        EspalierError: a source, a hash or a choice that does not fit.
    """
    made = _materialized(document, given, display)
    display.phase("write")
    export(made.compressed, out, _metadata(made, whole=out.suffix != ".onnx"))
    subject = made.rebuilt.assembly.subject
    dense = sum(parameter.numel() for parameter in subject.traced.module.parameters())
    left = sum(parameter.numel() for parameter in made.compressed.module.parameters())
    figures = {"file_bytes": out.stat().st_size, "parameters": left, "dense_parameters": dense}
    told = [
        f"{out}: {figures['file_bytes']:,} bytes, {left:,} of {dense:,} parameters; "
        f"{document['totals']['size_kb']:,.1f} kB stored on the accelerator"
    ]
    beside = _compared(made, out, display) if out.suffix == ".onnx" else _dense_tensors(made)
    usage = _usage(made, out)
    return Written([*told, *beside.lines, f"run it: {usage}"], {**figures, **beside.figures, "usage": usage})


def show_in_report(written: Written, out: Path, plan: Path, net: str | None) -> str | None:
    """Records a written file in the run that its plan belongs to and draws the run's report again.

    Returns:
        One line about that; None for a plan outside of a run.
    """
    if not is_of_a_run(plan):
        return None
    document, folder = load(plan), plan.parent
    dense = (written.figures["dense_float_bytes"], written.figures["dense_bytes"])
    try:
        record_export(folder, Exported(str(out), written.figures["file_bytes"], *dense, plan_hash(plan)))
        accelerator = load_hardware(document["hardware"]["source"])
        write_report(folder, document, network_of_plan(document, net), accelerator)
    except EspalierError as error:
        return f"the run's report does not show the file: {error}"
    return f"its size is in {folder / PAGE}"


def _dense_tensors(made: Materialized) -> Written:
    """Returns the size of the dense network's tensors, which a file of float32 tensors is to be compared with."""
    tensors = made.rebuilt.assembly.subject.traced.module.state_dict().values()
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return Written([f"the dense network's tensors: {size:,} bytes"], {"dense_float_bytes": size, "dense_bytes": 0})


def compare(document: Document, given: Overrides, path: Path, display: Display) -> list[str]:
    """Returns what differs between a written state dict and the plan's network, empty when nothing does.

    Raises:
        EspalierError: a source, a hash, a choice or a file that cannot be used.
    """
    state, written = read_compressed(path)
    if written["plan"] != document:
        return [f"{path}: it was written for another plan"]
    made = _materialized(document, given, display)
    return [f"{path}: {text}" for text in differences(made.compressed.module, state)]


def _materialized(document: Document, given: Overrides, display: Display) -> Materialized:
    sources = sources_of(document, given)
    accelerator = check_sources_of(document, sources)
    rebuilt = rebuild(document, sources, accelerator, display, cached=True)
    display.phase("compress")
    compressed = materialize(rebuilt.measurer.apply(rebuilt.assembly.space.schemes(rebuilt.choice)))
    check(compressed)
    return Materialized(document, rebuilt, compressed)


def _metadata(made: Materialized, *, whole: bool) -> dict[str, Any]:
    """Returns what every file says: how images are normalised, and the plan, whole or its sums to keep a file small."""
    source, plan = made.rebuilt.assembly.subject.source, made.document
    kept = plan if whole else {name: plan[name] for name in ("network", "hardware", "totals", "savings", "accuracy")}
    if not whole:
        kept["network"] = {name: plan["network"][name] for name in ("name", "fingerprint", "weights_sha256")}
    return {"plan": kept, "input": {"mean": list(source.mean), "std": list(source.std)}}


def _compared(made: Materialized, out: Path, display: Display) -> Written:
    """Returns the sizes of dense files beside the written one, and how onnxruntime's answers compare with torch's.

    Raises:
        MismatchError: onnxruntime answers otherwise than torch; the file is removed.
    """
    from compress import onnx_file, onnx_session  # imported here: they need an extra
    from compress.reference import rounded_network, whole

    subject = made.rebuilt.assembly.subject
    bits = made.document["baseline"]["weight_bits"]
    profile = made.rebuilt.assembly.profile
    ranges = {tensor: profile.range_of(tensor, bits) for tensor in subject.traced.tensor_nodes}
    reference = rounded_network(subject.traced, ranges, bits, whole(subject.traced.network))
    dense = onnx_file.compressed_model(reference)
    sizes = [model.ByteSize() for model in (onnx_file.float_model(subject.traced), dense)]
    display.phase("compare")
    images = subject.tensor(subject.dataset.splits.validation.first(COMPARED_IMAGES))
    with torch.inference_mode():
        batches = torch.split(images, onnx_session.BATCH)
        expected = torch.cat([made.compressed.module(batch) for batch in batches]).numpy()
    found = onnx_session.agreement(expected, onnx_session.run(onnx_session.open_session(out.read_bytes()), images))
    if found.unexplained:
        out.unlink()
        raise MismatchError(f"onnxruntime does not answer as torch does: {found.text}; {out} was removed")
    lines = [
        f"the dense network as ONNX: {sizes[0]:,} bytes in float32, {sizes[1]:,} at {bits} bits",
        f"onnxruntime against torch: {found.text}",
    ]
    return Written(lines, {"dense_float_bytes": sizes[0], "dense_bytes": sizes[1], "agreement": asdict(found)})


def _usage(made: Materialized, out: Path) -> str:
    """Returns how to run what was written."""
    source = made.rebuilt.assembly.subject.source
    shape = ", ".join(map(str, source.input_size))
    calls = {
        ".onnx": f"onnxruntime.InferenceSession('{out}').run(None, {{'images': images}})[0]",
        ".pt2": f"torch.export.load('{out}').module()(images)",
        ".safetensors": f"compress.loading.load_compressed(Path('{out}'), network)(images)",
    }
    return (
        f"{calls[out.suffix]}; images float32 (N, {shape}), pixels in [0, 1] less mean {source.mean} over "
        f"std {source.std}"
    )
