"""How activities overlap: latency, its parts and its limits by hand, and which limit a layer of the chip has."""

import numpy as np
import pytest

from hwmodels.assignments import dense
from hwmodels.bounds import bounds_of
from hwmodels.eyeriss import Eyeriss
from hwmodels.layer_costs import layer_costs
from hwmodels.loader import load
from hwmodels.timing import Timing, latency_parts, limits
from hwmodels.validation.published import measured_table
from plan.layer import InputSegment, Layer, Network


def cell(value: float) -> np.ndarray:
    return np.array([[value]])


def timing(*, bus: float = 50.0, hidden: float = 0.0, apart: float = 0.0) -> Timing:
    """Returns 100 cycles of computing beside a bus, 7 of filling, and DRAM."""
    waiting = cell(max(bus - 100.0, 0.0))
    beside, around = {"psum_bus": cell(bus)}, {"fill_drain": cell(7.0)}
    return Timing(cell(100.0), waiting, beside, around, dram_hidden=cell(hidden), dram_apart=cell(apart))


@pytest.mark.parametrize(
    ("case", "parts", "held"),
    [
        (timing(), (100, 7, 0), {"compute": 100, "fill_drain": 7}),
        (timing(bus=130.0), (100, 7, 30), {"psum_bus": 130, "fill_drain": 7}),
        (timing(hidden=106.0), (100, 7, 0), {"compute": 100, "fill_drain": 7}),
        (timing(hidden=120.0), (100, 7, 13), {"dram": 120}),
        (timing(apart=9.0), (100, 16, 0), {"compute": 100, "fill_drain": 7, "dram": 9}),
        (timing(bus=130.0, hidden=150.0, apart=9.0), (100, 16, 43), {"dram": 159}),
    ],
    ids=["compute", "bus", "hidden", "late", "apart", "late and apart"],
)
def test_parts_and_limits_by_hand(case: Timing, parts: tuple[int, int, int], held: dict[str, int]) -> None:
    found = latency_parts(case)
    assert (found["compute"].item(), found["load"].item(), found["stall"].item()) == parts
    limit = {name: cycles.item() for name, cycles in limits(case).items() if cycles.item()}
    assert limit == held
    assert sum(parts) == sum(held.values())


def test_the_partial_sum_bus_bounds_the_first_blocks_of_vgg16() -> None:
    # the chip takes four times as long for CONV1-2 as for CONV4-2 at equal MACs: p t e / 4 words against p q S cycles
    table, chip = measured_table("vgg16"), load("eyeriss_v1")
    assert isinstance(chip, Eyeriss)
    model = chip.with_parameters(chip.parameters, table.mappings)
    whole = dense(table.network, 16)
    rows = layer_costs(table.network, model.evaluate(table.network, whole), bounds_of(model, table.network, whole))
    found = {row.name: row.bound_by for row in rows}
    assert found["CONV1-2"] == found["CONV2-2"] == found["CONV3-2"] == "psum_bus"
    assert found["CONV5-1"] == "compute"


def test_linear_layers_are_bound_by_dram_on_the_chip_and_by_the_weight_bus_on_eyeriss_v2() -> None:
    linear = Layer("fc", "linear", 1024, 1024, 1, 1, 1, 1, 1, 1, 1, 1, "x", None, (InputSegment(0, 1024),), 1)
    network = Network("net", (1024, 1, 1), (linear,), (), ())
    held = {
        name: bounds_of(load(name), network, dense(network, bits))
        for name, bits in (("eyeriss_v1", 16), ("eyeriss_v2", 8))
    }
    cycles = {name: {limit: value.item() for limit, value in bounds.cycles.items()} for name, bounds in held.items()}
    assert max(cycles["eyeriss_v1"], key=cycles["eyeriss_v1"].__getitem__) == "dram"
    assert max(cycles["eyeriss_v2"], key=cycles["eyeriss_v2"].__getitem__) == "weight_bus"
    # 1,024 x 1,024 words of 2 bytes, 1,024 read and written, over 2.4 bytes a cycle
    assert cycles["eyeriss_v1"]["dram"] == pytest.approx((1024 * 1024 + 2048) * 2 / 2.4)
