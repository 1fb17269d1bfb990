"""Preset and hardware files: what loads, and that every problem of a file is listed with its line."""

import re
import tomllib
from pathlib import Path

import pytest

from hwmodels.loader import MODELS, fingerprint, load, parse, preset_names, preset_text
from plan.errors import FileFormatError, MissingFileError, UnknownNameError


def problems(text: str) -> str:
    with pytest.raises(FileFormatError) as error:
        parse(text, "my.toml")
    return str(error.value)


def test_both_presets_ship() -> None:
    assert {"eyeriss", "eyeriss_v1"} <= set(preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_a_copy_of_a_preset_loads_from_a_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(preset_text(name))
    assert load(str(path)).fingerprint == load(name).fingerprint


@pytest.mark.parametrize("name", preset_names())
def test_every_section_with_numbers_has_a_source_and_every_key_a_unit(name: str) -> None:
    units = (
        "_pes",
        "_words",
        "_cycle",
        "_mhz",
        "_per_s",
        "_units",
        "_pj",
        "_fraction",
        "_mw",
        "_bit",
        "_bits",
        "_ratio",
        "_count",
        "_ns",
        "_kb",
        "_um2",
    )
    sections = {key: value for key, value in tomllib.loads(preset_text(name)).items() if isinstance(value, dict)}
    for section, content in sections.items():
        assert content["source"].strip(), section
        for key, value in content.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert key.endswith(units), f"[{section}] {key}"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no hardware 'eyeris'; did you mean 'eyeriss'\? \(known: .*eyeriss_v1"):
        load("eyeris")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.toml"):
        load("nowhere.toml")


def test_binary_and_broken_files_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileFormatError, match="not UTF-8"):
        load(str(binary))
    assert "not valid TOML" in problems("name = ")


def test_an_unknown_model_lists_the_known_ones() -> None:
    assert "row_stationary" in problems('model = "quantum"')


def test_every_problem_is_listed_with_its_line() -> None:
    text = preset_text("eyeriss")
    text = text.replace("rows_pes = 12", "rows = 12")
    text = text.replace("capacity_words = 51200", "capacity_words = -1")
    text = re.sub(r'(\[clock\]\nsource = )"[^"]*"', r'\1""', text)
    text = text.replace("core_mhz = 200.0", "core_mhz = nan")
    text = text.replace('policy = "chip"', 'policy = "best"')
    found = problems(text)
    number = {line: at for at, line in enumerate(text.splitlines(), start=1)}
    assert f"line {number['rows = 12']}: unknown key 'rows' in [array] (did you mean 'rows_pes'?)" in found
    assert "'rows_pes' is missing in [array]" in found
    assert f"line {number['capacity_words = -1']}: [buffer] capacity_words must be a whole number from 1" in found
    assert "[clock] needs a non-empty 'source'" in found
    assert "[clock] core_mhz must be a number" in found
    assert "[mapping] policy must be one of ['chip', 'search'], found 'best'" in found


def test_fields_that_contradict_each_other_are_refused() -> None:
    text = preset_text("eyeriss").replace("pack_traffic = true", "pack_traffic = false")
    assert "weight_bits must be [16], word_bits of [array], without pack_traffic" in problems(text)
    text = preset_text("eyeriss").replace("weight_bits = 8", "weight_bits = 4")
    assert "is below 8" in problems(text)
    text = preset_text("eyeriss").replace('{ type = "dense" },', '{ type = "diagonal" },')
    found = problems(text)
    assert "'diagonal' is unknown" in found
    assert "must include { type = 'dense' }" in found


def test_sources_do_not_change_the_fingerprint_but_numbers_do() -> None:
    text = preset_text("eyeriss")
    reworded = text.replace('description = "', 'description = "my ')
    faster = text.replace("core_mhz = 200.0", "core_mhz = 250.0")
    assert parse(reworded, "a").fingerprint == parse(text, "a").fingerprint
    assert parse(faster, "a").fingerprint != parse(text, "a").fingerprint


def test_the_version_of_a_model_changes_the_fingerprint() -> None:
    content = tomllib.loads(preset_text("eyeriss"))
    assert fingerprint(content, 1) != fingerprint(content, 2)
    assert parse(preset_text("eyeriss"), "a").fingerprint == fingerprint(content, MODELS.get("row_stationary").version)


def test_contradictions_name_their_line_and_come_with_problems_elsewhere() -> None:
    text = preset_text("systolic").replace('{ type = "filter" },', '{ type = "filters" },')
    text = text.replace("rows_pes = 16", "rows_pes = 0")
    found = problems(text)
    lines = text.splitlines()
    assert f"line {lines.index('granularities = [') + 1}: [capabilities] granularities" in found
    assert f"line {lines.index('rows_pes = 0') + 1}: [array] rows_pes must be a whole number" in found


def test_an_unknown_view_is_named_with_its_line() -> None:
    text = preset_text("scnn").replace('energy_view = "normalised"', 'energy_view = "watts"')
    number = text.splitlines().index('energy_view = "watts"') + 1
    assert f"line {number}: 'energy_view' must be one of normalised, joules, found 'watts'" in problems(text)
