"""Registry, budget, pins, granularities and storage formats."""

import math

import numpy as np
import pytest

from plan.budget import Budget
from plan.errors import EspalierError, InvalidValueError, UnknownNameError
from plan.registry import Registry
from plan.restrictions import Pin
from plan.scheme import GRANULARITIES, BlockPunched, NofM, granularity_from_json, granularity_to_json
from plan.storage import FORMATS, check_formats, index_bits


def test_registry_suggests_and_refuses_duplicates():
    registry = Registry[int]("hardware model")
    registry.register("eyeriss", 1)
    assert registry.get("eyeriss") == 1
    message = r"no hardware model 'eyeris'; did you mean 'eyeriss'\? \(known: eyeriss\)"
    with pytest.raises(UnknownNameError, match=message):
        registry.get("eyeris")
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("eyeriss", 2)


def test_errors_share_one_root():
    assert issubclass(UnknownNameError, EspalierError)
    assert issubclass(UnknownNameError, LookupError)


def test_budget_compares_every_limit():
    limit = Budget(drop_points=1.0, energy_uj=5.0)
    assert limit.satisfied_by(Budget(1.0, 5.0, 100.0, 100.0))
    assert limit.excess(Budget(1.5, 4.0, 1.0, 1.0)) == {"drop_points": 0.5}
    assert limit.to_json() == {"max_drop_points": 1.0, "max_energy_uj": 5.0}


@pytest.mark.parametrize(("drop", "energy"), [(-0.1, math.inf), (101.0, math.inf), (math.nan, math.inf), (1.0, 0.0)])
def test_senseless_limits_are_refused(drop, energy):
    with pytest.raises(InvalidValueError, match="out of range"):
        Budget.limits(drop_points=drop, energy_uj=energy, latency_ms=math.inf, size_kb=math.inf)


def test_pins_parse():
    assert Pin.parse("layer1.0.conv1:w8a4,dense") == Pin("layer1.0.conv1", 8, 4, True)
    for text in ("conv1", "conv1:8", "conv1:w8a8,sparse", ":w8a8"):
        with pytest.raises(InvalidValueError, match="is not LAYER:w"):
            Pin.parse(text)


@pytest.mark.parametrize(
    "granularity", [NofM(2, 4), BlockPunched(4, 1), *(GRANULARITIES[kind]() for kind in ("dense", "filter"))]
)
def test_granularities_survive_json(granularity):
    assert granularity_from_json(granularity_to_json(granularity)) == granularity


MALFORMED = ({"type": "hexagon"}, {"type": "n:m", "m": 4}, {"type": "n:m", "n_keep": 0, "m": 4}, {})


@pytest.mark.parametrize("content", MALFORMED)
def test_malformed_granularities_are_refused(content):
    with pytest.raises(InvalidValueError, match="granularity"):
        granularity_from_json(content)


def test_index_bits_by_hand():
    arrays = {"n": 1024.0, "kept": 256.0, "bits": 8.0, "units": 64.0, "outputs": 16.0, "m": 4.0}
    given = {name: np.array([value]) for name, value in arrays.items()}
    # bitmask: one bit a weight; csc: 256 * 4 + 17 * 7; block: one bit a unit; n:m: 2 bits a kept weight
    assert index_bits("bitmask", **given)[0] == 1024
    assert index_bits("csc", **given)[0] == 1143
    assert index_bits("block", **given)[0] == 64
    assert index_bits("n:m", **given)[0] == 512
    assert index_bits("pattern", **given)[0] == 64 * 3  # eight patterns: three bits a kernel
    # run-length: zeros 0.75, 256 / (1 - 0.75^32) pairs of 13 bits, less 256 * 8 value bits
    assert index_bits("rlc", **given)[0] == pytest.approx(256 / (1 - 0.75**32) * 13 - 2048)


def test_formats_are_checked():
    check_formats(FORMATS)
    with pytest.raises(InvalidValueError, match="storage formats"):
        check_formats(("dense", "zip"))
    with pytest.raises(InvalidValueError, match="storage formats"):
        check_formats(("bitmask",))
