"""One small layer worked out by hand, on the chip's array with a unit of 1 pJ.

K = 4, C = 2, 1 x 1 kernel, 2 x 2 pixels; mapping e=2 n=1 m=4 p=2 q=1 r=1 t=1, so
  strips 1, channel passes 2 / 1 = 2, filter passes 4 / 2 = 2, passes 4; MACs 4 * 2 * 4 = 32, outputs 16, weights 8
"""

from dataclasses import replace

import numpy as np
import pytest

from hwmodels.assignments import dense
from hwmodels.dataflow import Mapping
from hwmodels.eyeriss import Eyeriss
from hwmodels.loader import load
from plan.layer import InputSegment, Layer, Network

MAPPING = Mapping(e=2, n=1, m=4, p=2, q=1, r=1, t=1)
SEGMENT = (InputSegment(0, 2),)


def network(*, behind_image: bool, zero_in: float = 0.0) -> Network:
    tensor = "hidden" if behind_image else "image"
    first = Layer("first", "conv", 2, 1, 1, 1, 2, 2, 2, 2, 1, 1, "image", "hidden", (InputSegment(0, 1),), 0)
    hand = Layer("hand", "conv", 4, 2, 1, 1, 2, 2, 2, 2, 1, 1, tensor, None, SEGMENT, 1, zero_in, 0.0)
    return Network("hand", (1, 2, 2), (first, hand), (), ())


def hardware(name: str) -> Eyeriss:
    model = load(name)
    assert isinstance(model, Eyeriss)
    return model.with_parameters(replace(model.parameters, unit_pj=1.0), {"hand": MAPPING})


def test_normalised_energy_of_the_chip() -> None:
    cost = hardware("eyeriss_v1").evaluate(
        network(behind_image=False), dense(network(behind_image=False), 16), view="normalised"
    )
    parts = {place: float(value[0, 1]) for place, value in cost.energy_parts_pj.items()}
    assert parts == pytest.approx(
        {
            ("dram", "weights"): 200 * 8,
            ("dram", "inputs"): 200 * 8,  # the image, 4 pixels x 2 channels, read once as m covers all filters
            ("dram", "outputs"): 200 * 16,  # no zeros: the coder is bypassed
            ("glb", "weights"): 6 * 8,
            ("glb", "inputs"): 6 * 8 * 2,  # once per filter pass
            ("glb", "outputs"): 6 * 16 * (2 * 2 - 1),  # written twice, read once
            ("noc", "weights"): 2 * 8 * 2,  # every weight to the e = 2 columns
            ("noc", "inputs"): 2 * 8 * 2,  # R / stride = 1 element per pixel and filter pass
            ("noc", "outputs"): 2 * (16 * 2 * (1 - 1) + 16 * 3),  # one row: nothing added up vertically
            ("rf", "weights"): 32,
            ("rf", "inputs"): 32,
            ("rf", "outputs"): 2 * 32,
            ("mac", "none"): 32,
        }
    )


def test_latency_of_the_chip() -> None:
    cost = hardware("eyeriss_v1").evaluate(network(behind_image=False), dense(network(behind_image=False), 16))
    parts = {name: float(value[0, 1]) for name, value in cost.latency_parts_cycles.items()}
    # compute: 4 passes x n p q S Q = 1 * 2 * 1 * 1 * 2 = 4; both buses need no more (2 and 4 cycles): no stall
    # load: 4 passes x (filters 2 * 1 / 4 + window 1 * 2 * 1 + drain 2 * 2 / 4 = 3.5), and (8 + 16) words of 16 bits
    # over a link of 480 MB/s = 19.2 bits per cycle at 200 MHz = 20 cycles
    assert parts == pytest.approx({"compute": 16.0, "load": 14.0 + 20.0, "stall": 0.0})


def test_joules_of_the_chip() -> None:
    cost = hardware("eyeriss_v1").evaluate(
        network(behind_image=False), dense(network(behind_image=False), 16), view="joules"
    )
    levels = {level: float(cost.level_pj(level)[0, 1]) for level in ("dram", "glb", "noc", "rf", "mac", "static")}
    # 6.1 pJ per MAC, 27 % of it the ALU; 4 pJ per word of 8 + 16 + 48; 8 pJ per bit of 32 words; 208 mW for 50 cycles
    expected = {
        "dram": 8 * 32 * 16,
        "glb": 4 * 72,
        "noc": 0,
        "rf": 6.1 * 0.73 * 32,
        "mac": 6.1 * 0.27 * 32,
        "static": 208 / 200 * 1000 * 50,
    }
    assert levels == pytest.approx(expected)


def test_extensions_gate_weights_pack_traffic_and_compress_filters() -> None:
    net = network(behind_image=True, zero_in=0.5)
    whole = dense(net, 4)
    plan = replace(whole, weight_density=np.full((1, 2), 0.25), stored_bits=np.array([[8.0, 16.0]]))
    cost = hardware("eyeriss").evaluate(net, plan)
    parts = {place: float(value[0, 1]) for place, value in cost.energy_parts_pj.items()}
    # active MACs 32 * 0.5 * 0.25 = 4; e_mac(4, 4) = 0.2 * 16 / 64 + 0.1 * 16 / 32 = 0.1 of e_mac(16, 16) = 0.925 pJ
    assert parts["mac", "none"] == pytest.approx(4 * 0.1 / 0.925)
    # filters: 4 active reads of 4 bits; inputs: read for the 8 MACs with a nonzero weight; sums: 4 + 4 + 8 = 16 bits
    assert parts["rf", "weights"] == pytest.approx(4 * 4 / 16)
    assert parts["rf", "inputs"] == pytest.approx(8 * 4 / 16)
    assert parts["rf", "outputs"] == pytest.approx(2 * 4)
    # 16 stored bits of filters instead of 8 weights x 4 bits
    assert parts["dram", "weights"] == pytest.approx(200 * 16 / 16)
    assert parts["noc", "weights"] == pytest.approx(2 * 2 * 16 / 16)
    # coded inputs: (4 + 5) * 64 / 63 * 0.5 / (1 - 0.5 ** 32) = 4.57 bits, dearer than 4: bypassed
    assert parts["dram", "inputs"] == pytest.approx(200 * 8 * 4 / 16)


def test_zero_weights_save_nothing_on_the_chip() -> None:
    net = network(behind_image=False)
    whole = dense(net, 16)
    sparse = replace(whole, weight_density=np.full((1, 2), 0.25), stored_bits=whole.stored_bits / 2)
    chip = hardware("eyeriss_v1")
    assert chip.evaluate(net, sparse).energy_uj == chip.evaluate(net, whole).energy_uj
    assert chip.evaluate(net, sparse).latency_ms == chip.evaluate(net, whole).latency_ms
