"""From the name of a preset or the path of a file to an accelerator; every problem of a file is reported at once."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from hwmodels import capability_file, eyeriss_file, lut_file, scnn_file, simd_file, systolic_file
from hwmodels.accelerator import Accelerator, Nameplate
from hwmodels.schema import Lines, Schema, problems_of
from plan.errors import FileFormatError, MissingFileError, UnknownNameError
from plan.registry import Registry, close_names

UNPRICED_KEYS = ("name", "description", "source", "element_area_um2")


def nothing_attached(content: Mapping[str, Any], _: Path) -> Mapping[str, Any]:
    """Returns the content of a file that names no other files."""
    return content


def no_conflicts(_: Mapping[str, Any]) -> list[str]:
    """Returns no problem: the sections of such a file cannot contradict each other."""
    return []


@dataclass(frozen=True)
class Model:
    """A kind of hardware: what its file holds, how the accelerator is built from it, and what else must agree.

    `attach` adds what a file names in its folder, so that it enters the fingerprint; so does `version`, which rises
    when the same file is priced differently.
    """

    schema: Schema
    build: Callable[[Mapping[str, Any], Nameplate], Accelerator]
    conflicts: Callable[[Mapping[str, Any]], list[str]] = no_conflicts
    attach: Callable[[Mapping[str, Any], Path], Mapping[str, Any]] = nothing_attached
    version: int = 1


MODELS: Registry[Model] = Registry("hardware model")
MODELS.register("row_stationary", Model(eyeriss_file.SCHEMA, eyeriss_file.build, eyeriss_file.conflicts, version=2))
MODELS.register(
    "sparse_row_stationary",
    Model(eyeriss_file.SKIPPING_SCHEMA, eyeriss_file.build, eyeriss_file.conflicts, version=2),
)
MODELS.register("systolic", Model(systolic_file.SCHEMA, systolic_file.build, systolic_file.conflicts))
MODELS.register("lut", Model(lut_file.SCHEMA, lut_file.build, attach=lut_file.attach))
MODELS.register("simd", Model(simd_file.SCHEMA, simd_file.build, simd_file.conflicts))
MODELS.register("cartesian_product", Model(scnn_file.SCHEMA, scnn_file.build, scnn_file.conflicts))


def preset_names() -> list[str]:
    """Returns the names of the presets that ship with the package, in alphabetical order."""
    return sorted(entry.name[:-5] for entry in files("hwmodels.presets").iterdir() if entry.name.endswith(".toml"))


def load(hw: str) -> Accelerator:
    """Returns the accelerator of a preset's name or of a path that ends in .toml.

    Raises:
        UnknownNameError: neither a preset nor a .toml path.
        MissingFileError: no readable file at the path.
        FileFormatError: lists every problem of the file.
    """
    if hw.endswith(".toml"):
        return parse(read_file(Path(hw)), hw)
    known = preset_names()
    if hw not in known:
        raise UnknownNameError(
            f"no hardware '{hw}'{close_names(hw, known)} (known: {', '.join(known)}); "
            "give one of these or the path of a .toml file"
        )
    return parse(preset_text(hw), f"{hw}.toml")


def preset_text(name: str) -> str:
    """Returns the text of a preset that ships with the package."""
    return (files("hwmodels.presets") / f"{name}.toml").read_text(encoding="utf-8")


def read_file(path: Path) -> str:
    """Returns the text of a hardware file.

    Raises:
        MissingFileError: it does not exist or cannot be read.
        FileFormatError: it is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(str(path), ["not UTF-8 text"]) from error
    except OSError as error:
        raise MissingFileError(f"cannot read hardware file {path}: {error.strerror}; check the path") from error


def parse(text: str, path: str) -> Accelerator:
    """Returns the accelerator that a file's text describes; `path` names it in messages.

    Raises:
        FileFormatError: lists every problem with its line where it has one.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FileFormatError(path, [f"not valid TOML: {error}"]) from error
    kind = content.get("model")
    if not isinstance(kind, str) or kind not in MODELS:
        raise FileFormatError(path, [f"'model' must be one of {', '.join(MODELS.names())}; found {kind!r}"])
    model = MODELS.get(kind)
    problems = _problems(content, model, Lines(text))
    if problems:
        raise FileFormatError(path, problems)
    whole = model.attach(content, Path(path).parent)
    capabilities = capability_file.build(whole["capabilities"])
    hashed = fingerprint(whole, model.version)
    return model.build(whole, Nameplate(whole["name"], capabilities, whole["energy_view"], hashed))


def _problems(content: Mapping[str, Any], model: Model, lines: Lines) -> list[str]:
    """Returns every problem that can be told: contradictions between fields only where the fields are sound."""
    problems = problems_of(content, model.schema, lines)
    capabilities = content.get("capabilities")
    if isinstance(capabilities, dict) and not any("[capabilities]" in problem for problem in problems):
        problems += [lines.located(conflict) for conflict in capability_file.conflicts(capabilities)]
    return problems or [lines.located(conflict) for conflict in model.conflicts(content)]


def fingerprint(content: Mapping[str, Any], version: int = 1) -> str:
    """Returns the SHA-256 over everything that prices: names, descriptions, sources and areas do not enter.

    Args:
        content: of the file.
        version: of the model; the first one is not written into the hash.
    """
    priced = _priced(content) | ({"model_version": version} if version > 1 else {})
    return hashlib.sha256(json.dumps(priced, sort_keys=True).encode()).hexdigest()


def _priced(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _priced(value) if isinstance(value, dict) else value
        for key, value in content.items()
        if key not in UNPRICED_KEYS
    }
