"""What a dense network costs on an accelerator, layer by layer."""

from __future__ import annotations

import pandas as pd

from agent.preflight import check_hardware
from hwmodels.assignments import dense
from hwmodels.bounds import bounds_of
from hwmodels.layer_costs import layer_costs
from networks import zoo
from networks.trace import trace


def costs(
    net: str, hw: str, *, bits: int = 8, image: tuple[int, int, int] = (3, 32, 32), classes: int = 10
) -> pd.DataFrame:
    """Returns what every layer of a dense network costs for one image: energy by level and operand, latency, size.

    Weights and data are not needed: zero fractions count as 0.

    Args:
        net: as `--net`.
        hw: as `--hw`.
        bits: of weights and activations.
        image: channels, height and width of the data's images.
        classes: of the data.

    Raises:
        EspalierError: a network or accelerator that cannot be used, or bits that it lacks.

    >>> table = costs("resnet20", "eyeriss")
    >>> len(table), "dram_uj" in table
    (20, True)
    >>> parts = table[["dram_uj", "glb_uj", "noc_uj", "rf_uj", "mac_uj", "static_uj"]].sum(axis=1)
    >>> bool((abs(parts - table["energy_uj"]) < 1e-9).all())
    True
    """
    source = zoo.build(net, classes, image)
    network = trace(source.module, source.input_size, source.name).network
    accelerator = check_hardware(hw, bits)
    assignment = dense(network, bits)
    cost, bounds = accelerator.evaluate(network, assignment), bounds_of(accelerator, network, assignment)
    rows = layer_costs(network, cost, bounds)
    return pd.DataFrame([row.record() for row in rows[:-1]]).set_index("layer")
