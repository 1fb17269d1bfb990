"""The tiny network of `tests.agent.bench`, opened and profiled, in small batches."""

from pathlib import Path

import pytest

from agent.build import Assembly, Terms, open_subject, prepare
from agent.plan_sources import Sources
from compress.measure import Measurer
from hwmodels.loader import load
from tests.agent.bench import write_inputs


def prepared(folder: Path) -> tuple[Assembly, Measurer]:
    """Returns the network on `eyeriss` and what measures it; its files and caches go into a folder."""
    write_inputs(folder)
    net, data = f"{folder / 'net.py'}:build", str(folder / "data.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPALIER_CACHE", str(folder / "cache"))
        patch.setattr("compress.batches.LARGEST_BATCH", 8)
        subject = open_subject(net, "none", data)
        terms = Terms(Sources(net, "none", data, "eyeriss"), 8)
        return prepare(subject, load("eyeriss"), terms, lambda phase, done, total: None)
