"""Cycles of a row-stationary array whose elements gate zeros, and of one whose elements skip them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwmodels.accelerator import FloatArray
from hwmodels.dataflow import Counts, Tiling
from hwmodels.sparsity import Skipping, active_fraction, skipping_cycles
from hwmodels.timing import Timing
from hwmodels.traffic import Parts, dram_bits
from plan.assignment import IntArray
from plan.scheme import GRANULARITIES

RANDOM_KINDS = [list(GRANULARITIES).index(kind) for kind in ("element", "kernel", "pattern")]


@dataclass(frozen=True)
class Load:
    """What the timing of layers depends on: (L,) or (B, L); counts and bits are those of all images.

    filters: left per group; nonzero_inputs: fraction; granularity, weight_density: of the plans
    """

    tiling: Tiling
    counts: Counts
    bits: Parts
    filters: FloatArray
    nonzero_inputs: FloatArray
    depthwise: NDArray[np.bool_]
    granularity: IntArray
    weight_density: FloatArray


def gating_timing(load: Load, link_bits_per_cycle: float, images: float) -> Timing:
    """Returns the timing per image where zeros save no cycle.

    Partial sums and inputs cross their buses beside computing; filters, first windows and last sums of a pass come
    before and after it. Feature maps to and from DRAM overlap with nothing (chip); filters from DRAM overlap with all
    of processing, but cannot outrun the link.
    """
    tiling, passes = load.tiling, load.counts.passes / images
    feature_maps = load.bits["dram", "inputs"] + load.bits["dram", "outputs"]
    return Timing(
        compute=passes * tiling.compute_cycles,
        waiting=passes * tiling.stall_cycles,
        beside={"psum_bus": passes * tiling.psum_bus_cycles, "input_bus": passes * tiling.ifmap_bus_cycles},
        around={"fill_drain": passes * tiling.load_cycles},
        dram_hidden=load.bits["dram", "weights"] / (link_bits_per_cycle * images),
        dram_apart=feature_maps / (link_bits_per_cycle * images),
    )


def skipping_timing(skipping: Skipping, load: Load, elements: int, link_bits_per_cycle: float, images: float) -> Timing:
    """Returns the timing per image of so many elements that skip zeros.

    Weights, first windows and last sums of a pass do not overlap with it; the buses and DRAM do, and where they take
    longer the rest is a stall. Inputs cross their bus without zeros.
    """
    tiling, passes = load.tiling, load.counts.passes / images
    compute = _skipping_compute(skipping, load, elements) / images
    psum_bus = passes * tiling.psum_bus_cycles
    input_bus = passes * tiling.ifmap_bus_cycles * load.nonzero_inputs
    return Timing(
        compute=compute,
        waiting=np.maximum(np.maximum(psum_bus, input_bus) - compute, 0.0),
        beside={"psum_bus": psum_bus, "input_bus": input_bus},
        around={
            "weight_bus": load.bits["glb", "weights"] / (skipping.weight_bits_per_cycle * images),
            "fill_drain": passes * (tiling.load_cycles - tiling.filter_load_cycles),
        },
        dram_hidden=dram_bits(load.bits) / (link_bits_per_cycle * images),
    )


def nonzero_macs(load: Load) -> FloatArray:
    """Returns the MACs that are done where zeros are skipped, all of them in depthwise layers, for all images."""
    active = active_fraction(load.nonzero_inputs, load.weight_density)
    return np.asarray(load.counts.macs * np.where(load.depthwise, 1.0, active))


def _skipping_compute(skipping: Skipping, load: Load, elements: int) -> FloatArray:
    """Returns cycles of processing; depthwise layers are spread over all elements and skip nothing."""
    tiling, random = load.tiling, np.isin(load.granularity, RANDOM_KINDS)
    slowest = skipping_cycles(
        skipping,
        elements=elements,
        columns=tiling.compute_cycles / tiling.filter_reads / tiling.filters_per_element,
        filters=np.minimum(tiling.filters_per_element, load.filters),
        nonzero_inputs=load.nonzero_inputs,
        random_density=np.where(random, load.weight_density, 1.0),
        static_density=np.where(random, 1.0, load.weight_density),
    )
    passes = load.counts.passes * tiling.filter_reads
    return np.asarray(np.where(load.depthwise, load.counts.macs / elements, passes * slowest))
