"""Closed forms against brute force: every cost is the least of a quadratic form over the weights that may move."""

import numpy as np
import pytest

from envs.accuracy.saliency import DAMPING, LayerStatistics, Saliency
from plan.errors import InvalidValueError, MismatchError
from plan.layer import InputSegment, Layer


def layer_of(outputs: int, inputs: int, kernel: int, groups: int = 1) -> Layer:
    segments = (InputSegment(0, inputs),)
    return Layer("it", "conv", outputs, inputs, kernel, kernel, 4, 4, 4, 4, 1, groups, "x", None, segments, 1)


def statistics_of(layer: Layer, seed: int, blocks: int = 1) -> LayerStatistics:
    rng = np.random.default_rng(seed)
    columns = layer.C // layer.groups * layer.R * layer.S
    width = columns // blocks
    moments = []
    for _ in range(blocks):
        inputs = rng.standard_normal((layer.groups, 3 * width, width)) @ rng.standard_normal((width, width))
        moments.append((inputs.transpose(0, 2, 1) @ inputs / (3 * width)).astype(np.float32))
    weight = rng.standard_normal((layer.K, columns)).astype(np.float32)
    return LayerStatistics(weight, tuple(moments), rng.random(layer.K), np.zeros(1))


def damped(moment: np.ndarray) -> np.ndarray:
    exact = moment.astype(np.float64)
    return np.asarray(exact + DAMPING * exact.diagonal().mean() * np.eye(len(exact)))


def least_cost(metric: np.ndarray, removed: np.ndarray, weight: np.ndarray) -> float:
    """Returns the least d H d with d[removed] = -weight[removed] and all else free."""
    free = np.setdiff1d(np.arange(len(metric)), removed)
    change = np.zeros(len(metric))
    change[removed] = -weight[removed]
    change[free] = np.linalg.solve(metric[np.ix_(free, free)], -metric[np.ix_(free, removed)] @ change[removed])
    return float(change @ metric @ change)


@pytest.mark.parametrize(("channels", "per_position"), [(1, True), (1, False), (2, True)])
@pytest.mark.parametrize("groups", [1, 2])
def test_removal_is_the_least_cost(channels: int, per_position: bool, groups: int) -> None:
    layer = layer_of(4, 8 * groups, 3, groups)
    given = statistics_of(layer, seed=channels + groups)
    costs = Saliency(layer, given).set_costs(channels, per_position)
    assert costs.shape == (4, 8 // channels, 9 if per_position else 1)
    columns = np.arange(72).reshape(8 // channels, channels, 9)
    for row in (0, 3):
        metric = damped(given.moment[0][row // (4 // groups)])
        for block, position in ((0, 0), (8 // channels - 1, costs.shape[2] - 1)):
            removed = columns[block, :, position] if per_position else columns[block].ravel()
            expected = given.fisher[row] / 2 * least_cost(metric, removed, given.weight[row].astype(np.float64))
            assert costs[row, block, position] == pytest.approx(expected, rel=2e-3)


def test_blocks_of_moments_do_not_interact() -> None:
    layer = layer_of(2, 8, 1)
    given = statistics_of(layer, seed=0, blocks=2)
    costs = Saliency(layer, given).set_costs(1, True)
    expected = (
        given.fisher[1] / 2 * least_cost(damped(given.moment[1][0]), np.array([2]), given.weight[1, 4:].astype(float))
    )
    assert costs[1, 6, 0] == pytest.approx(expected, rel=1e-3)


def test_total_is_the_error_of_no_weights() -> None:
    layer = layer_of(3, 4, 3)
    given = statistics_of(layer, seed=1)
    expected = sum(
        fisher / 2 * float(row @ given.moment[0][0].astype(np.float64) @ row)
        for fisher, row in zip(given.fisher, given.weight.astype(np.float64), strict=True)
    )
    assert Saliency(layer, given).total == pytest.approx(expected, rel=1e-5)


def test_rounding_in_order_by_simulation() -> None:
    """Rounds in order, weakest input last, and moves each error onto the inputs that follow."""
    layer = layer_of(64, 24, 1)
    given = statistics_of(layer, seed=2)
    metric = damped(given.moment[0][0])
    order = np.argsort(-metric.diagonal(), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(metric[np.ix_(order, order)])).T
    work = given.weight.astype(np.float64)[:, order]
    scale = np.abs(work).max(axis=1, keepdims=True) / 7
    changed = work.copy()
    for column in range(24):
        level = np.clip(np.rint(changed[:, [column]] / scale), -8, 7) * scale
        error = (changed[:, [column]] - level) / upper[column, column]
        changed[:, column:] -= error * upper[column, column:]
        changed[:, [column]] = level
    difference = changed - work
    rows = ((difference @ metric[np.ix_(order, order)]) * difference).sum(axis=1)
    simulated = float(rows @ given.fisher) / 2
    assert Saliency(layer, given).rounding(4) == pytest.approx(simulated, rel=0.35)


def test_rounding_falls_with_bits_and_is_bounded() -> None:
    layer = layer_of(8, 8, 3)
    saliency = Saliency(layer, statistics_of(layer, seed=3))
    errors = [saliency.rounding(bits) for bits in (2, 3, 4, 6, 8, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] <= saliency.total
    assert errors[3] / errors[4] == pytest.approx(16, rel=0.15)


def test_dead_inputs_cost_nothing() -> None:
    layer = layer_of(2, 4, 1)
    given = statistics_of(layer, seed=4)
    moment = given.moment[0].copy()
    moment[0, 2, :] = moment[0, :, 2] = 0.0
    saliency = Saliency(layer, LayerStatistics(given.weight, (moment,), given.fisher, np.zeros(1)))
    assert (saliency.set_costs(1, True)[:, 2] == 0).all()
    assert saliency.input_costs[2] == 0


def test_statistics_of_another_layer() -> None:
    given = statistics_of(layer_of(2, 4, 1), seed=0)
    with pytest.raises(MismatchError, match="profile the network again"):
        Saliency(layer_of(2, 6, 1), given)


def test_statistics_must_be_finite() -> None:
    given = statistics_of(layer_of(2, 4, 1), seed=0)
    broken = LayerStatistics(given.weight * np.nan, given.moment, given.fisher, given.activation_error)
    with pytest.raises(InvalidValueError, match="not finite"):
        Saliency(layer_of(2, 4, 1), broken)
