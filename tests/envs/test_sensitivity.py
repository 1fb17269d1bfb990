from pathlib import Path

import numpy as np
import pytest

from envs.accuracy.curves import curves_of, features_of, removal_curve, with_groups
from envs.accuracy.error_table import ErrorTable
from envs.accuracy.repaired_cells import affordable, cells_of
from envs.accuracy.saliency import LayerStatistics, Saliency
from envs.accuracy.sensitivity import build_error_table
from plan.errors import FileFormatError, MismatchError, MissingFileError
from plan.layer import InputSegment
from plan.scheme import Method, Scheme
from plan.space import DENSITIES, Space


def position(space: Space, kind: str, algorithm: str = "second-order") -> int:
    found = [(method.granularity.kind, method.algorithm) for method in space.methods]
    return found.index((kind, algorithm))


def test_removal_curve_by_hand() -> None:
    costs, rank = np.array([4.0, 1.0, 2.0, 8.0]), np.array([1.0, 2.0, 3.0, 4.0])
    second_order, whole = removal_curve(costs, costs)
    by_rank, _ = removal_curve(costs, rank)
    assert whole == 15
    assert second_order[[31, 23, 15, 7, 0]].tolist() == [0, 1, 3, 7, 7]
    assert by_rank[[31, 23, 15, 7]].tolist() == [0, 4, 5, 7]


def test_every_legal_cell_is_finite_and_no_other(coupled_space: Space, coupled_errors: ErrorTable) -> None:
    legal = coupled_space.legal[..., None] & coupled_space.weight_bits_legal[:, None, None]
    np.testing.assert_array_equal(np.isfinite(coupled_errors.weight), legal)
    assert (coupled_errors.weight >= 0).all()


def test_error_never_falls_with_less(coupled_space: Space, coupled_errors: ErrorTable) -> None:
    for layer in range(coupled_space.n_layers):
        for method in range(len(coupled_space.methods)):
            cells = coupled_errors.weight[layer, method, coupled_space.legal[layer, method]]
            assert (np.diff(cells, axis=0) <= 0).all()
            assert (np.diff(cells, axis=1) <= 0).all()
    assert (np.diff(coupled_errors.activation, axis=1) <= 0).all()


def test_second_order_is_the_best_ranking(coupled_space: Space, coupled_errors: ErrorTable) -> None:
    for kind in ("element", "kernel", "block-punched", "filter", "channel"):
        best, other = (
            position(coupled_space, kind),
            position(coupled_space, kind, "level" if kind == "element" else "l1"),
        )
        both = coupled_space.legal[:, best]
        assert both.any()
        assert (coupled_errors.weight[:, best][both] <= coupled_errors.weight[:, other][both] * (1 + 1e-9)).all()


def test_n_of_m_costs_the_lowest_of_each_group(coupled_space: Space, statistics: list[LayerStatistics]) -> None:
    layer = coupled_space.network.layers[1]
    costs = Saliency(layer, statistics[1]).set_costs(1, True).reshape(8, 2, 4, 9)
    method = position(coupled_space, "n:m")
    curve = curves_of(coupled_space, 1, statistics[1]).prune[method, DENSITIES == 0.5]
    assert curve == pytest.approx(np.sort(costs, axis=2)[:, :, :2].sum())


def test_filters_cost_what_all_readers_lose(coupled_space: Space, statistics: list[LayerStatistics]) -> None:
    """Of eight stream channels, read by layers 1, 3 and 4, the cheapest go first."""
    curves = with_groups(coupled_space, [curves_of(coupled_space, layer, statistics[layer]) for layer in range(7)])
    readers = [Saliency(coupled_space.network.layers[reader], statistics[reader]) for reader in (1, 3, 4)]
    by_channel = np.sort(np.sum([reader.input_costs for reader in readers], axis=0))
    method = position(coupled_space, "filter")
    assert curves[0].prune[method, 27] == pytest.approx(by_channel[0])
    assert curves[0].prune[method, 15] == pytest.approx(by_channel[:4].sum())
    assert curves[0].limit[method] == pytest.approx(sum(reader.total for reader in readers))


def test_channels_ranked_by_norm_cost_what_their_rank_says(
    coupled_space: Space, statistics: list[LayerStatistics]
) -> None:
    """Layer 2 is the only reader of the inner group; l1 ranks by its own input norms."""
    curves = with_groups(coupled_space, [curves_of(coupled_space, layer, statistics[layer]) for layer in range(7)])
    norms = np.abs(statistics[2].weight).sum(axis=0)
    costs = Saliency(coupled_space.network.layers[2], statistics[2]).input_costs
    method = position(coupled_space, "channel", "l1")
    assert curves[2].prune[method, 15] == pytest.approx(costs[np.argsort(norms)[:4]].sum())


def test_features_of_a_flattened_tensor(coupled_space: Space) -> None:
    layer = coupled_space.network.layers[6]
    flattened = InputSegment(3, 2, repeat=3), InputSegment(1, 2)
    object.__setattr__(layer, "inputs", flattened)
    try:
        inputs, carried = features_of(layer, 3)
    finally:
        object.__setattr__(layer, "inputs", (InputSegment(3, 16),))
    assert inputs.tolist() == [0, 1, 2, 3, 4, 5]
    assert carried.tolist() == [0, 0, 0, 1, 1, 1]


def test_repairs_fix_the_scale(coupled_space: Space, statistics: list[LayerStatistics]) -> None:
    """What is repaired comes out as measured, and few calls are made."""
    plain = build_error_table(coupled_space, statistics, None)
    calls: list[tuple[int, Method, float, int]] = []

    def layer_error(layer: int, scheme: Scheme) -> float:
        calls.append((layer, scheme.method, scheme.density, scheme.weight_bits))
        method = coupled_space.methods.index(scheme.method)
        density = int(np.flatnonzero(scheme.density == DENSITIES)[0])
        factor = 0.5 if scheme.method.algorithm == "none" else 0.7
        return factor * float(plain.weight[layer, method, density, coupled_space.weight_bits.index(scheme.weight_bits)])

    scaled = build_error_table(coupled_space, statistics, layer_error)
    assert max(np.bincount([call[0] for call in calls])) <= 6
    assert len(set(calls)) == len(calls)
    np.testing.assert_allclose(scaled.weight[:, 0, -1, 0], 0.5 * plain.weight[:, 0, -1, 0], rtol=1e-6)
    method = position(coupled_space, "element")
    ratio = scaled.weight[1, method, 15, -1] / plain.weight[1, method, 15, -1]
    assert ratio == pytest.approx(0.7, rel=0.02)
    np.testing.assert_array_equal(scaled.activation, plain.activation)


def test_layers_too_dear_take_the_median(coupled_space: Space, statistics: list[LayerStatistics]) -> None:
    plain = build_error_table(coupled_space, statistics, None)
    cells = [cell for layer in range(coupled_space.n_layers) for cell in cells_of(coupled_space, layer)]
    budget = sorted(cell.flops for cell in cells)[len(cells) // 2] * len(cells) / 4
    chosen = affordable(cells, budget)
    assert 0 < len(chosen) < len(cells)
    assert sum(cell.flops for cell in chosen) <= budget

    def layer_error(layer: int, scheme: Scheme) -> float:
        return 2.0 * float(plain.weight[layer, 0, -1, coupled_space.weight_bits.index(scheme.weight_bits)])

    cheap = min(cell.flops for cell in cells)
    scaled = build_error_table(coupled_space, statistics, layer_error, repair_flops=cheap)
    ratio = scaled.weight[:, 0, -1, -1] / plain.weight[:, 0, -1, -1]
    np.testing.assert_allclose(ratio, 2.0, rtol=1e-6)


def test_progress_is_told(coupled_space: Space, statistics: list[LayerStatistics]) -> None:
    told: list[tuple[str, int, int]] = []
    build_error_table(
        coupled_space,
        statistics,
        lambda *_: 1e-3,
        progress=lambda phase, done, total: told.append((phase, done, total)),
    )
    assert told[6] == ("estimates", 7, 7)
    assert told[-1][0] == "repairs"
    assert told[-1][1] == told[-1][2]


def test_wrong_statistics(coupled_space: Space, statistics: list[LayerStatistics]) -> None:
    with pytest.raises(MismatchError, match="6 layers for a network of 7"):
        build_error_table(coupled_space, statistics[:-1], None)
    short = [LayerStatistics(one.weight, one.moment, one.fisher, one.activation_error[:2]) for one in statistics]
    with pytest.raises(MismatchError, match="one per width"):
        build_error_table(coupled_space, short, None)


def test_saved_table_is_the_same(coupled_errors: ErrorTable, tmp_path: Path) -> None:
    coupled_errors.save(tmp_path / "table.npz")
    loaded = ErrorTable.load(tmp_path / "table.npz")
    np.testing.assert_array_equal(loaded.weight, coupled_errors.weight)
    np.testing.assert_array_equal(loaded.activation, coupled_errors.activation)


def test_broken_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such error table"):
        ErrorTable.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(FileFormatError, match="not an error table"):
        ErrorTable.load(tmp_path / "bad.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04half")
    with pytest.raises(FileFormatError, match="not an error table"):
        ErrorTable.load(tmp_path / "cut.npz")
