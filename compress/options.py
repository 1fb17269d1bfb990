"""What a measurement repairs, and how much memory it may take."""

from __future__ import annotations

from dataclasses import dataclass

from compress.repair import DEFAULT_REPAIR, RepairOptions

CALIBRATION_IMAGES = 512
WEIGHT_CACHE_BYTES = 384 << 20
PROBLEM_CACHE_BYTES = 384 << 20
ACTIVATION_CACHE_BYTES = 384 << 20


@dataclass(frozen=True)
class MeasureOptions:
    """Repairs that run for every plan, and how much memory their results may take.

    repair: of every layer by itself, cached
    recalibrate: whether statistics are re-estimated, or biases corrected
    spread: whether outputs that no batch norm follows also have their spread corrected; only with a scale per output
    sequential_images: calibration images on which every layer is refitted to its real inputs, per plan; 0: none
    rounding_steps: of descent on the rounding of every layer of up to 6 bits, in the sequential refit; 0: none
    calibration_images: of them statistics are re-estimated
    integers: whether compressed networks run on integers where the processor multiplies them exactly
    """

    repair: RepairOptions = DEFAULT_REPAIR
    recalibrate: bool = True
    spread: bool = True
    sequential_images: int = 0
    rounding_steps: int = 0
    calibration_images: int = CALIBRATION_IMAGES
    integers: bool = True
    weight_cache_bytes: int = WEIGHT_CACHE_BYTES
    problem_cache_bytes: int = PROBLEM_CACHE_BYTES
    activation_cache_bytes: int = ACTIVATION_CACHE_BYTES


DEFAULT_OPTIONS = MeasureOptions()
