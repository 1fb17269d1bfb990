"""ONNX models of compressed networks: integers of the right width, physically smaller, and torch's answers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.apply import Compressed
from compress.export import export
from compress.folding import container_bits, fold
from compress.loading import differences, load_compressed, read_compressed
from compress.materialize import materialize
from compress.measure import Measurer
from compress.profile import Profile
from compress.reference import rounded_network, whole
from compress.verify import verify
from networks.trace import TracedNetwork, trace
from plan.errors import FileFormatError, MismatchError, MissingFileError
from plan.scheme import DENSE, BlockPunched, Element, Filter, Method, NofM, Scheme
from tests.compress.conftest import small_network

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
pytest.importorskip("onnxscript", reason="needs the extra `onnx`")
from compress import onnx_file, onnx_session  # noqa: E402 (only with the extra)

METHODS = {
    "inner": Scheme(Method(Filter(), "second-order"), 0.5, 5, 4),
    "outer": Scheme(Method(Element(), "second-order"), 0.5, 4, 5),
    "depthwise": Scheme(Method(BlockPunched(4, 1), "l1"), 0.75, 6, 6),
    "head": Scheme(Method(NofM(2, 4), "second-order"), 0.5, 3, 8),
}


@pytest.fixture(scope="module")
def smaller(traced: TracedNetwork, profiled: Profile, images: Tensor) -> Compressed:
    plain = Scheme(DENSE, 1.0, 8, 8)
    schemes = [METHODS.get(layer.name, plain) for layer in traced.network.layers]
    return materialize(Measurer(traced, profiled, images, seed=0).apply(schemes))


@pytest.fixture(scope="module")
def model(smaller: Compressed) -> "onnx.ModelProto":
    return onnx_file.compressed_model(smaller)


def rounded_dense(traced: TracedNetwork, found: Profile, bits: int) -> Compressed:
    ranges = {tensor: found.range_of(tensor, bits) for tensor in traced.tensor_nodes}
    return rounded_network(traced, ranges, bits, whole(traced.network))


@torch.inference_mode()
def answers(compressed: Compressed, images: Tensor) -> onnx_session.Scores:
    found: onnx_session.Scores = compressed.module(images).numpy()
    return found


def constants(model: "onnx.ModelProto") -> dict[str, "onnx.TensorProto"]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def test_answers_are_torchs(smaller: Compressed, model: "onnx.ModelProto", images: Tensor) -> None:
    found = onnx_session.run(onnx_session.open_session(model.SerializeToString()), images)
    result = onnx_session.agreement(answers(smaller, images), found)
    assert result.images == len(images)
    assert result.unexplained == 0
    assert result.equal >= 0.98 * len(images)
    assert result.largest_difference < 0.1


def test_the_graph_itself_is_exact(smaller: Compressed, model: "onnx.ModelProto", images: Tensor) -> None:
    from onnx.reference import ReferenceEvaluator

    (found,) = ReferenceEvaluator(model).run(None, {onnx_file.INPUT: images[:8].numpy()})
    assert np.allclose(found, answers(smaller, images[:8]), atol=1e-4)


def test_weights_are_integers_of_the_smallest_container(smaller: Compressed, model: "onnx.ModelProto") -> None:
    found = constants(model)
    kinds = {name.removesuffix(".weight.levels"): t.data_type for name, t in found.items() if name.endswith(".levels")}
    int4, int8 = onnx.TensorProto.INT4, onnx.TensorProto.INT8
    assert kinds == {"stem": int8, "inner": int8, "depthwise": int8, "outer": int4, "head": int4}
    assert tuple(found["inner.weight.levels"].dims) == (8, 12, 3, 3)
    assert tuple(found["outer.weight.levels"].dims) == (12, 8, 1, 1)
    assert len(found["outer.weight.levels"].raw_data) == 12 * 8 // 2
    assert len(onnx.numpy_helper.to_array(found["inner.weight.scale"])) == 8
    levels = onnx.numpy_helper.to_array(found["head.weight.levels"]).astype(int)
    expected = fold(smaller).layers["head"].levels
    assert np.array_equal(levels, expected)
    assert np.abs(levels).max() <= 4
    assert np.ptp(levels, axis=1).max() <= 7  # three bits: -4 to 3, or -3 to 4 where the scale was negative


def test_activations_are_clipped_to_their_own_range(smaller: Compressed, model: "onnx.ModelProto") -> None:
    values = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in constants(model).items()}
    tops = {round(float(values[node.input[2]]), 5) for node in model.graph.node if node.op_type == "Clip"}
    narrow = [chosen for chosen in smaller.ranges.values() if chosen.bits < 8]
    assert len(narrow) == 3
    assert tops == {round((chosen.top - chosen.zero_point) * chosen.scale, 5) for chosen in narrow}
    rounding = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(rounding) == len(smaller.ranges)
    assert {values[node.input[2]].dtype for node in rounding} == {np.dtype(np.uint8)}


def test_sixteen_bits_stand_in_sixteen(measurer: Measurer, traced: TracedNetwork, images: Tensor) -> None:
    wide = measurer.apply([Scheme(DENSE, 1.0, 16, 16) for _ in traced.network.layers])
    model = onnx_file.compressed_model(wide)
    kinds = {tensor.data_type for tensor in model.graph.initializer if tensor.name.endswith(".levels")}
    assert kinds == {onnx.TensorProto.INT16}
    found = onnx_session.run(onnx_session.open_session(model.SerializeToString()), images)
    assert np.abs(found - answers(wide, images)).max() < 1e-3 * np.abs(found).max()


def test_norms_are_folded_exactly(smaller: Compressed, images: Tensor) -> None:
    folded = fold(smaller)
    assert not [part for part in folded.module.graph.nodes if "norm" in str(part.target)]
    with torch.inference_mode():
        assert torch.allclose(folded.module(images[:16]), smaller.module(images[:16]), atol=0.1)
    inner = folded.layers["inner"]
    weight = folded.module.get_submodule("inner").weight.numpy()
    assert np.array_equal(inner.levels * inner.scale[:, None, None, None], weight)
    assert not inner.zero_point.any()


def test_asymmetric_weights_keep_their_zero_points(smaller: Compressed, images: Tensor) -> None:
    rng = np.random.default_rng(0)
    records = []
    for record in smaller.records:
        shift = rng.integers(-3, 4, len(record.scale))
        records.append(replace(record, zero_point=shift) if record.target == "inner" else record)
    shifted = replace(smaller, records=tuple(records))
    model = onnx_file.compressed_model(shifted)
    stored = onnx.numpy_helper.to_array(constants(model)["inner.weight.zero_point"])
    assert stored.any()
    found = onnx_session.run(onnx_session.open_session(model.SerializeToString()), images)
    assert onnx_session.agreement(answers(smaller, images), found).largest_difference < 0.1


def test_scales_stay_negative_only_where_levels_have_no_counterpart(
    measurer: Measurer, traced: TracedNetwork, images: Tensor
) -> None:
    compressed = measurer.apply([Scheme(DENSE, 1.0, 4, 8) for _ in traced.network.layers])
    norm, inner = compressed.module.get_submodule("inner_norm"), fold(compressed).layers["inner"]
    scale = next(record.scale for record in compressed.records if record.target == "inner")
    weight, seventh = compressed.module.get_submodule("inner").weight, 7 * abs(float(scale[0]))
    weight[0].clamp_(-seventh, seventh)  # no level -8, whose counterpart four bits do not hold
    norm.weight *= torch.where(torch.from_numpy(scale > 0), -1.0, 1.0) * norm.weight.sign()
    turned = fold(compressed).layers["inner"]
    assert turned.scale[0] > 0
    assert (turned.scale < 0).any()
    lowest = turned.levels.reshape(len(turned.levels), -1).min(1)
    assert (lowest[turned.scale < 0] == -8).all()
    assert turned.container_bits == inner.container_bits == 4
    assert not [node for node in fold(compressed).module.graph.nodes if "norm" in str(node.target)]
    found = onnx_session.run(
        onnx_session.open_session(onnx_file.compressed_model(compressed).SerializeToString()), images
    )
    assert onnx_session.agreement(answers(compressed, images), found).largest_difference < 0.1


@pytest.mark.parametrize(("bits", "container"), [(2, 4), (4, 4), (5, 8), (8, 8), (9, 16), (16, 16)])
def test_containers(bits: int, container: int) -> None:
    assert container_bits(bits) == container


def test_two_weights_take_a_byte_at_four_bits(traced: TracedNetwork, profiled: Profile) -> None:
    reference = rounded_dense(traced, profiled, 4)
    assert verify(reference) == ()
    tensors = onnx_file.compressed_model(reference).graph.initializer
    size = sum(len(tensor.raw_data) for tensor in tensors if tensor.name.endswith(".levels"))
    assert size == sum(layer.weights for layer in traced.network.layers) // 2


def test_layers_of_one_width_share_no_zero_points(traced: TracedNetwork, profiled: Profile, images: Tensor) -> None:
    reference = rounded_dense(traced, profiled, 8)
    model = onnx_file.compressed_model(reference)
    zero_points = [node.input[2] for node in model.graph.node if node.input[0].endswith(".levels")]
    assert len(set(zero_points)) == len(traced.network.layers)
    found = onnx_session.run(onnx_session.open_session(model.SerializeToString()), images)
    assert onnx_session.agreement(answers(reference, images), found).unexplained == 0


class Rank4Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 1)
        self.mix = nn.Linear(6, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x)).permute(0, 2, 3, 1)
        return self.head(torch.relu(self.mix(x)).mean((1, 2)))


def test_linear_layers_on_maps_keep_their_integers(images: Tensor) -> None:
    from compress.profile import profile

    traced = trace(Rank4Linear(), (3, 8, 8), "rank4")
    reference = rounded_dense(traced, profile(traced, images[:32]), 4)
    model = onnx_file.compressed_model(reference)
    assert {name for name in constants(model) if name.endswith(".levels")} == {
        f"{name}.weight.levels" for name in ("stem", "mix", "head")
    }
    found = onnx_session.run(onnx_session.open_session(model.SerializeToString()), images[:32])
    assert onnx_session.agreement(answers(reference, images[:32]), found).unexplained == 0


def test_disagreement_is_counted() -> None:
    expected = np.array([[1.0, 0.0], [1.0, 0.9], [0.0, 1.0]], np.float32)
    found = np.array([[1.0, 0.2], [0.9, 1.0], [1.0, 0.0]], np.float32)
    result = onnx_session.agreement(expected, found)
    assert (result.equal, result.unexplained, result.largest_difference) == (1, 1, 1.0)


def test_a_written_state_dict_runs_again(smaller: Compressed, images: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    network = {"name": "small", "input_shape": [3, 8, 8], "fingerprint": smaller.traced.network.fingerprint}
    export(smaller, path, {"plan": {"network": network, "repairs": []}})
    loaded = load_compressed(path, small_network())
    with torch.inference_mode():
        assert torch.equal(loaded(images), smaller.module(images))
    state, _ = read_compressed(path)
    assert differences(smaller.module, state) == []
    state["inner.weight"][0, 0, 0, 0] += 0.5
    del state["head.bias"]
    assert differences(smaller.module, state) == [
        "head.bias: it is missing",
        "inner.weight: 1 values are not the plan's",
    ]
    with pytest.raises(MismatchError, match="other shapes"):
        load_compressed(path, nn.Sequential(nn.Conv2d(3, 4, 1)))


def test_other_files_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "plain.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(FileFormatError, match="does not say what was done"):
        read_compressed(path)
    path.write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_compressed(path)
    with pytest.raises(MissingFileError, match="does not exist"):
        read_compressed(tmp_path / "none.safetensors")
