"""Every proxy that a flag names makes a table of the space, of its own, kept apart in the cache."""

from pathlib import Path

import numpy as np
import pytest

from agent import config
from agent.build import Terms, open_subject, prepare
from agent.plan_sources import Sources
from agent.prediction import cached_table
from agent.proxies import PROXIES
from hwmodels.loader import load
from plan.errors import InvalidValueError
from tests.agent.bench import write_inputs


def test_the_flag_names_what_there_is() -> None:
    assert tuple(PROXIES) == config.PROXIES
    parser = config.settings_parser("test", "")
    words = ["--net", "resnet20", "--hw", "eyeriss"]
    assert config.read_settings(parser, words).proxy == config.PROXIES[0]
    assert config.read_settings(parser, [*words, "--proxy", "one-layer"]).result_json()["proxy"] == "one-layer"
    with pytest.raises(InvalidValueError, match=r"--proxy 'one-laier' is unknown; did you mean 'one-layer'"):
        config.read_settings(parser, [*words, "--proxy", "one-laier"])


def test_tables_differ_and_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_inputs(tmp_path)
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    net, data = f"{tmp_path / 'net.py'}:build", str(tmp_path / "data.npz")
    terms = Terms(Sources(net, "none", data, "eyeriss"), 8)
    subject = open_subject(net, "none", data)
    assembly, measurer = prepare(subject, load("eyeriss"), terms, lambda phase, done, total: None)
    tables = {name: cached_table(assembly, measurer, name, lambda phase, done, total: None) for name in PROXIES}
    assert len(list((tmp_path / "cache" / "tables").glob("*.npz"))) == len(PROXIES)
    choices = assembly.space.sample(np.random.default_rng(0), 16)
    errors = [table.error(assembly.space, choices) for table in tables.values()]
    assert all(np.isfinite(found).all() and (found > 0).all() for found in errors)
    assert len({tuple(found) for found in errors}) == len(PROXIES)
    monkeypatch.setitem(vars(measurer), "batch", None)  # computing anything would fail now
    for name, table in tables.items():
        again = cached_table(assembly, measurer, name, lambda phase, done, total: None)
        assert np.array_equal(again.weight, table.weight)
