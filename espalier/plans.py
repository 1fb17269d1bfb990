"""A plan: what becomes of every layer, what that costs and saves, and the network that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from agent.plan_sources import Overrides, check_sources_of, sources_of
from agent.progress import Display
from agent.rebuild import rebuild
from compress.materialize import materialize
from compress.verify import check
from plan.document import Document, load, save, scheme_from_json

LAYER_COLUMNS = ("name", "op", "density", "achieved_density", "weight_bits", "activation_bits")
LAYER_COSTS = ("energy_uj", "latency_ms", "size_kb")


@dataclass(frozen=True, eq=False)
class Plan:
    """A plan as plan.json holds it, docs/plan_schema.md; `Plan.load(path)` reads one."""

    document: Document

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Plan:
        """Returns the checked plan of a file.

        Raises:
            MissingFileError: no such file.
            FileFormatError: not a plan; lists all faults.

        >>> Plan.load("nowhere.json")
        Traceback (most recent call last):
            ...
        plan.errors.MissingFileError: cannot read nowhere.json: ...
        """
        return cls(load(Path(path)))

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the plan; the same plan is the same bytes.

        Raises:
            UnwritableError: the file cannot be written.
        """
        save(self.document, Path(path))

    @property
    def savings(self) -> dict[str, float]:
        """Fractions of energy, latency and size saved against dense at baseline bits: 0.53 = 53 % less."""
        return dict(self.document["savings"])

    @property
    def accuracy(self) -> dict[str, Any]:
        """Predicted drop, and accuracy, drop and interval on validation and test images; None where not measured."""
        return dict(self.document["accuracy"])

    @property
    def layers(self) -> pd.DataFrame:
        """One row per layer: what is pruned, density, bits, and what the layer costs (uJ, ms, kB)."""
        entries = self.document["layers"]
        table = pd.DataFrame([{name: entry[name] for name in (*LAYER_COLUMNS, *LAYER_COSTS)} for entry in entries])
        table.insert(2, "pruning", [str(scheme_from_json(entry).method) for entry in entries])
        return table.set_index("name")

    @property
    def summary(self) -> pd.DataFrame:
        """Dense at baseline bits beside the plan: energy, latency and size of one image, and the fraction saved."""
        dense, totals = self.document["baseline"], self.document["totals"]
        names = {"energy_uj": "energy", "latency_ms": "latency", "size_kb": "size"}
        return pd.DataFrame(
            {
                f"dense {dense['weight_bits']} bits": {name: dense[name] for name in names},
                "plan": {name: totals[name] for name in names},
                "saved": {name: self.savings[short] for name, short in names.items()},
            }
        )


def apply(plan: Plan, *, net: str | None = None, weights: str | None = None, data: str | None = None) -> nn.Module:
    """Returns the compressed network of a plan, in evaluation mode: repaired, quantised, pruned channels cut out.

    It takes images as the network given takes them, float32 (N, C, H, W), and returns the same outputs' shape.

    Args:
        plan: what to apply.
        net: the network, when it moved; code in a file must be given again.
        weights: its weights, when they moved.
        data: the data, when they moved.

    Raises:
        EspalierError: a source that cannot be used or is not the one that the plan was made for.
    """
    sources = sources_of(plan.document, Overrides(net, weights, data))
    accelerator = check_sources_of(plan.document, sources)
    rebuilt = rebuild(plan.document, sources, accelerator, Display(), cached=True)
    compressed = materialize(rebuilt.measurer.apply(rebuilt.assembly.space.schemes(rebuilt.choice)))
    check(compressed)
    return compressed.module
