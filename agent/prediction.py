"""The table of predicted errors: built from the profile and a few repaired cells, cached for the next run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from agent.build import Assembly, Progress
from agent.proxies import PROXIES
from agent.source_hash import BEHIND_TABLES, source_sha256
from compress.measure import Measurer
from envs.accuracy.calibration import Calibration
from envs.accuracy.error_table import ErrorTable
from networks.weights import cache_folder
from plan.atomic import CACHE_ADVICE, replacing
from plan.errors import EspalierError
from plan.space import Choices


def cached_table(assembly: Assembly, measurer: Measurer, proxy: str, progress: Progress) -> ErrorTable:
    """Returns the table that a proxy makes of an assembly, from the cache when it is there."""
    file = _cache_file(assembly, proxy, measurer.device.type)
    if file.is_file():
        try:
            return ErrorTable.load(file)
        except EspalierError:
            file.unlink(missing_ok=True)  # cut short or of another version: made again
    table = PROXIES[proxy](assembly, measurer, progress)
    with replacing(file, CACHE_ADVICE, parents=True) as partial:
        table.save(partial)
    return table


def _cache_file(assembly: Assembly, proxy: str, device: str) -> Path:
    space, digest = assembly.space, hashlib.sha256()
    for part in (
        source_sha256(BEHIND_TABLES),
        proxy,
        device,
        assembly.subject.key,
        assembly.profile.calibration_sha256,
        str([str(method) for method in space.methods]),
        str((space.weight_bits, space.activation_bits, space.baseline_bits)),
    ):
        digest.update(part.encode() + b"\n")
    for mask in (space.legal, space.weight_bits_legal, space.activation_bits_legal):
        digest.update(mask.tobytes())
    return cache_folder() / "tables" / f"{assembly.network.name}-{digest.hexdigest()[:32]}.npz"


def predict(assembly: Assembly, table: ErrorTable, choice: Choices, calibration: Calibration) -> float:
    """Returns the drop that the proxy predicts for one plan, int16 (L, 4), in points."""
    counted = table.counting(calibration.activation_share)
    return float(calibration.points(counted.error(assembly.space, choice[None]))[0])
