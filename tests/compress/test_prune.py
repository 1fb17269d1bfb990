import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.prune import WeightShape, kept_count, partition, select
from plan.scheme import (
    BlockColumn,
    BlockPunched,
    BlockRow,
    Channel,
    Element,
    Filter,
    Granularity,
    Kernel,
    NofM,
)

SHAPES = st.builds(
    WeightShape, st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3]), st.sampled_from([1, 3])
)
UNITS = st.one_of(
    st.just(Element()),
    st.just(Kernel()),
    st.just(Filter()),
    st.just(Channel()),
    st.builds(BlockPunched, st.integers(1, 5), st.integers(1, 5)),
    st.builds(BlockRow, st.integers(1, 5), st.integers(1, 5)),
    st.builds(BlockColumn, st.integers(1, 5), st.integers(1, 5)),
)


def units_kept(mask: np.ndarray, granularity: Granularity, shape: WeightShape) -> int:
    """Counts kept units and checks that each is kept or removed as a whole."""
    cut = partition(granularity, shape)
    kept = 0
    for block in range(cut.n_blocks):
        for column_set in range(cut.n_sets):
            unit = mask[cut.row_block == block][:, cut.column_set == column_set]
            assert unit.all() or not unit.any()
            kept += bool(unit.all())
    return kept


@given(shape=SHAPES, granularity=UNITS, step=st.integers(1, 32), seed=st.integers(0, 99))
def test_density_is_exact_and_units_are_whole(
    shape: WeightShape, granularity: Granularity, step: int, seed: int
) -> None:
    cut = partition(granularity, shape)
    scores = np.random.default_rng(seed).integers(0, 4, (cut.n_blocks, cut.n_sets)).astype(np.float64)
    mask = select(scores, granularity=granularity, cut=cut, shape=shape, density=step / 32)
    assert mask.shape == (shape.rows, shape.columns)
    assert units_kept(mask, granularity, shape) == max(1, round(step / 32 * cut.units))


@given(shape=SHAPES, n_keep=st.integers(1, 3), more=st.integers(1, 3), seed=st.integers(0, 99))
def test_n_of_m_keeps_n_of_every_m_channels(shape: WeightShape, n_keep: int, more: int, seed: int) -> None:
    granularity = NofM(n_keep, n_keep + more)
    cut = partition(granularity, shape)
    scores = np.random.default_rng(seed).random((shape.rows, shape.columns))
    mask = select(scores, granularity=granularity, cut=cut, shape=shape, density=0.1)
    by_channel = mask.reshape(shape.rows, shape.channels, shape.positions)
    for start in range(0, shape.channels, granularity.m):
        group = by_channel[:, start : start + granularity.m]
        assert (group.sum(1) == min(n_keep, group.shape[1])).all()


@pytest.mark.parametrize(
    ("granularity", "shape", "units"),
    [
        (Element(), WeightShape(64, 32, 3, 3), 18432),
        (Kernel(), WeightShape(64, 32, 3, 3), 2048),
        (BlockPunched(4, 1), WeightShape(64, 32, 3, 3), 16 * 32 * 9),
        (BlockRow(8, 8), WeightShape(64, 32, 1, 1), 64 * 4),
        (BlockColumn(8, 8), WeightShape(64, 32, 1, 1), 8 * 32),
        (Channel(), WeightShape(64, 32, 3, 3), 32),
        (Filter(), WeightShape(64, 32, 3, 3), 64),
        (BlockPunched(4, 2), WeightShape(6, 3, 3, 3), 2 * 2 * 9),
    ],
    ids=str,
)
def test_units_are_those_of_the_vocabulary(granularity: Granularity, shape: WeightShape, units: int) -> None:
    assert partition(granularity, shape).units == units


def test_best_scores_stay_and_the_earlier_of_a_tie() -> None:
    shape = WeightShape(1, 4, 1, 1)
    scores = np.array([[1.0, 3.0, 1.0, 0.5]])
    cut = partition(Element(), shape)
    mask = select(scores, granularity=Element(), cut=cut, shape=shape, density=0.5)
    assert mask.tolist() == [[True, True, False, False]]


def test_half_of_removals_takes_the_cheapest_of_every_group() -> None:
    shape = WeightShape(1, 4, 1, 1)
    granularity = NofM(1, 2)
    scores = np.array([[5.0, 6.0, 1.0, 9.0]])
    cut = partition(granularity, shape)
    mask = select(scores, granularity=granularity, cut=cut, shape=shape, density=0.5, share=0.5)
    assert mask.tolist() == [[True, True, False, True]]


@pytest.mark.parametrize(("density", "units", "kept"), [(1 / 32, 4, 1), (0.5, 5, 2), (0.5, 7, 4), (1.0, 9, 9)])
def test_kept_count_rounds_halves_to_even_and_keeps_one(density: float, units: int, kept: int) -> None:
    assert kept_count(density, units) == kept
