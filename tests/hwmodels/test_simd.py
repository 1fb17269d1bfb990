"""The processor core: times by hand, what its block kernels skip, and constants found again from made-up timings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwmodels.assignments import dense
from hwmodels.calibrate import calibrated, main
from hwmodels.loader import load, parse, preset_text
from hwmodels.microbenchmark import Calibration, Timing, fit
from hwmodels.simd import Rates, Simd, padding
from plan.errors import FileFormatError
from plan.geometry import KINDS
from plan.layer import InputSegment, Layer, Network

RATES = Rates(
    dense_macs_per_ns=10.0,
    block_macs_per_ns=5.0,
    vector_filters=8,
    block_ns=20.0,
    gather_ns=0.5,
    layer_ns=1000.0,
    dram_bits_per_ns=1e6,
)
LAYER = Layer("a", "conv", 64, 32, 3, 3, 10, 10, 10, 10, 1, 1, "x", None, (InputSegment(0, 32),), 1)
NETWORK = Network("net", (32, 10, 10), (LAYER,), (), ())
WEIGHTS = 64 * 32 * 9


def core(rates: Rates = RATES) -> Simd:
    model = load("mobile_cpu")
    assert isinstance(model, Simd)
    return Simd(model.nameplate, rates, model.costs)


def test_filters_fill_vectors() -> None:
    assert padding(np.array([12.0, 8.0, 1.0]), 8.0).tolist() == [16 / 12, 1.0, 8.0]


def test_dense_time_by_hand() -> None:
    parts = core().evaluate(NETWORK, dense(NETWORK, 8)).latency_parts_cycles
    assert parts["compute"].item() == WEIGHTS * 100 / 10
    assert parts["load"].item() == 1000
    assert parts["stall"].item() == 0


def test_kept_blocks_pay_for_their_index() -> None:
    blocks = WEIGHTS / 4
    plan = replace(dense(NETWORK, 8), weight_density=np.full((1, 1), 0.125), index_bits=np.full((1, 1), blocks))
    cost = core().evaluate(NETWORK, plan)
    # blocks of 4 filters fill half a vector of 8
    expected = WEIGHTS * 100 * 0.125 * 2 / 5 + blocks * 0.125 * (20 + 100 * 0.5)
    assert cost.latency_parts_cycles["compute"].item() == pytest.approx(expected)
    assert cost.energy_parts_pj["mac", "none"].item() == pytest.approx(WEIGHTS * 100 * 0.125 * 4.6)


def test_patterned_kernels_run_along_rows() -> None:
    kernels = 64 * 32
    plan = replace(
        dense(NETWORK, 8),
        weight_density=np.full((1, 1), 4 / 9),
        index_bits=np.full((1, 1), 3.0 * kernels),
        granularity=np.full((1, 1), KINDS.index("pattern")),
    )
    compute = core().evaluate(NETWORK, plan).latency_parts_cycles["compute"].item()
    # rows of 10 pixels take two vectors of 8
    assert compute == pytest.approx(WEIGHTS * 100 * 4 / 9 * 1.6 / 10 + kernels * 20)


def test_slow_blocks_and_zeros_without_index_run_dense() -> None:
    plan = replace(dense(NETWORK, 8), weight_density=np.full((1, 1), 0.75))
    indexed = replace(plan, index_bits=np.full((1, 1), WEIGHTS / 4))
    for one in (plan, indexed):
        assert core().evaluate(NETWORK, one).latency_parts_cycles["compute"].item() == WEIGHTS * 100 / 10


def test_memory_bounds_layers_with_few_positions() -> None:
    linear = replace(LAYER, op="linear", R=1, S=1, P=1, Q=1, H=1, W=1)
    net = Network("net", (32, 1, 1), (linear,), (), ())
    parts = core(replace(RATES, dram_bits_per_ns=1.0)).evaluate(net, dense(net, 8)).latency_parts_cycles
    assert parts["compute"].item() + parts["stall"].item() == (64 * 32 + 32 + 64) * 8


def test_constants_are_found_again() -> None:
    timings = [Timing(0, 0, 10_000, 10, 1000.0)]
    for filters in (4, 8, 16):
        for blocks in (100, 400, 900):
            for positions in (50, 200):
                macs = filters * blocks * positions
                lanes = macs * float(padding(np.array(float(filters)), 8.0))
                time_ns = lanes / 5.0 + blocks * (20.0 + 0.5 * positions) + 1000.0
                timings.append(Timing(filters, blocks, macs, positions, time_ns))
    found = fit(timings, 1e6)
    assert found.mean_error < 1e-9
    assert found.rates.vector_filters == 8
    for name in ("dense_macs_per_ns", "block_macs_per_ns", "block_ns", "gather_ns", "layer_ns"):
        assert getattr(found.rates, name) == pytest.approx(getattr(RATES, name))


def test_a_calibrated_file_holds_the_constants() -> None:
    model = parse(calibrated(Calibration(RATES, 0.1), "mine"), "mine.toml")
    assert isinstance(model, Simd)
    assert model.name == "mine"
    assert model.rates == RATES


def test_calibrate_writes_a_file_that_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "core.toml"
    assert main([str(path), "--repeats", "1"]) == 0
    assert "MAC/ns dense" in capsys.readouterr().out
    assert load(str(path)).evaluate(NETWORK, dense(NETWORK, 8)).latency_ms.item() > 0
    assert main([str(path), "--repeats", "1"]) == 2
    assert main([str(path), "--repeats", "0"]) == 2
    errors = capsys.readouterr().err
    assert "exists already" in errors
    assert "allowed: 1 to 1000" in errors


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("filters = 4, channels = 1", "filters = 4, channels = 2", "no blocks of filters at one input"),
        (
            'storage_formats = ["dense", "block", "pattern"]',
            'storage_formats = ["dense", "csc"]',
            "other indices skip nothing",
        ),
    ],
)
def test_what_the_kernels_cannot_skip_is_refused(old: str, new: str, problem: str) -> None:
    with pytest.raises(FileFormatError, match=problem):
        parse(preset_text("mobile_cpu").replace(old, new), "mine.toml")
