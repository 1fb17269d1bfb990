"""What an accelerator can execute: the space is built from this, a hardware model fills it."""

from __future__ import annotations

from dataclasses import dataclass

from plan.scheme import Granularity


@dataclass(frozen=True)
class Capabilities:
    """The legal alternatives of a hardware.

    `granularities` lists every granularity with its block size (Dense included); `weight_bits` and `activation_bits`
    are the stored widths in ascending order; `storage_formats` the ways in which pruned weights may be stored (see
    `plan.storage.FORMATS`; "dense" is always among them).
    """

    granularities: tuple[Granularity, ...]
    weight_bits: tuple[int, ...]
    activation_bits: tuple[int, ...]
    storage_formats: tuple[str, ...] = ("dense",)
