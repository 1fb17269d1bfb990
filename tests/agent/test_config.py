"""Settings: defaults fit their flags, the command asks for the same again."""

import dataclasses
import json
import math
import shlex

import pytest

from agent.config import Settings, flag_name, read_settings, settings_parser
from plan.errors import InvalidValueError


def read(*words: str) -> Settings:
    return read_settings(settings_parser("test", ""), ["--net", "resnet20", "--hw", "eyeriss", *words])


def test_every_field_is_a_flag_with_help() -> None:
    text = settings_parser("test", "").format_help()
    for item in dataclasses.fields(Settings):
        assert flag_name(item.name) in text
        assert item.metadata["help"]


def test_defaults_pass_their_own_reader() -> None:
    for item in dataclasses.fields(Settings):
        plain = isinstance(item.default, str | int | float) and not isinstance(item.default, bool)
        if plain and item.default is not None:
            assert item.metadata["read"](str(item.default)) == item.default


def test_values_are_read() -> None:
    settings = read("--time-limit", "1.5m", "--pin", "conv1:w8a8,dense", "--pin", "fc:w6a6", "--max-size-kb", "20")
    assert settings.time_limit == 90.0
    assert [pin.layer for pin in settings.restrictions.pins] == ["conv1", "fc"]
    assert settings.limits.size_kb == 20.0
    assert math.isinf(settings.limits.energy_uj)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("2m", 120.0), ("0.5h", 1800.0)])
def test_times(text: str, seconds: float) -> None:
    assert read("--time-limit", text).time_limit == seconds


def test_the_command_asks_for_the_same_again() -> None:
    settings = read("--max-drop", "0.5", "--include", "layer1.*", "--exclude", "*.conv2", "--out", "here")
    words = shlex.split(settings.command())
    assert words[:3] == ["python", "-m", "agent.train"]
    assert "--out" not in words
    again = read_settings(settings_parser("test", ""), words[3:])
    assert dataclasses.replace(again, out="here") == settings


def test_a_time_limit_survives_the_command() -> None:
    words = shlex.split(read("--time-limit", "5m").command())
    assert read_settings(settings_parser("test", ""), words[3:]).time_limit == 300.0


def test_json_has_no_infinity_and_results_no_paths() -> None:
    settings = read("--out", "here")
    assert json.loads(json.dumps(settings.to_json(), allow_nan=False))["max_energy_uj"] is None
    assert "out" not in settings.result_json()


def test_limits_are_checked() -> None:
    with pytest.raises(InvalidValueError, match="--max-drop 101"):
        read("--max-drop", "101")
