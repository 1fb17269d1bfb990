"""What a hardware file may hold: named sections of typed, bounded fields, and a check that lists every problem."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwmodels.accelerator import VIEWS

Section = Mapping[str, "Field"]
Schema = Mapping[str, Section]

TOP_LEVEL = ("name", "model", "description", "energy_view")


@dataclass(frozen=True)
class Field:
    """One value of a section.

    kind: "int", "float", "bool", "text", "ints", "texts" or "tables" (granularities)
    low, high: bounds of a number, or of every number of a list, both allowed
    choices: allowed texts; empty allows any
    """

    kind: str
    low: float = 0.0
    high: float = 1e9
    choices: tuple[str, ...] = ()


def size(high: float = 1e6) -> Field:
    """Returns a whole number of at least one."""
    return Field("int", 1, high)


def amount(low: float = 0.0, high: float = 1e9) -> Field:
    """Returns a number within bounds; whole numbers are accepted."""
    return Field("float", low, high)


def one_of(*choices: str) -> Field:
    """Returns a text out of a closed list."""
    return Field("text", choices=choices)


def numbers(section: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a checked section that holds nothing else beside its source."""
    return {key: float(value) for key, value in section.items() if key != "source"}


@dataclass(frozen=True)
class Lines:
    """Where sections and keys stand in a file's text, for messages."""

    text: str

    def at(self, section: str, key: str = "") -> str:
        """Returns `line 12: ` for a key of a section (or the section itself), empty where it is not written."""
        current = ""
        for number, line in enumerate(self.text.splitlines(), start=1):
            header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
            if header:
                current = header.group(1)
            found = header is not None if not key else re.match(rf"\s*{re.escape(key)}\s*=", line) is not None
            if current == section and found:
                return f"line {number}: "
        return ""

    def located(self, problem: str) -> str:
        """Returns a problem behind the line of the field that it names first, as `[section] key`."""
        named = re.match(r"\[(\w+)\] (\w+)", problem)
        return (self.at(*named.groups()) if named else "") + problem


def problems_of(content: Mapping[str, Any], schema: Schema, lines: Lines) -> list[str]:
    """Returns every problem of a parsed file against a schema, each naming its line and field; empty when sound."""
    problems = _top_level_problems(content, lines)
    for name in content:
        if name not in TOP_LEVEL and name not in schema:
            problems.append(
                f"{lines.at(name) or lines.at('', name)}unknown section or key '{name}'{_close(name, schema)}"
            )
    for name, section in schema.items():
        found = content.get(name)
        if not isinstance(found, dict):
            problems.append(f"section [{name}] is missing")
        else:
            problems += _section_problems(name, found, section, lines)
    return problems


def _top_level_problems(content: Mapping[str, Any], lines: Lines) -> list[str]:
    problems = []
    for key in TOP_LEVEL:
        value = content.get(key)
        if not isinstance(value, str) or not value.strip():
            problems.append(f"{lines.at('', key)}'{key}' must be a non-empty text, found {value!r}")
        elif key == "energy_view" and value not in VIEWS:
            problems.append(f"{lines.at('', key)}'{key}' must be one of {', '.join(VIEWS)}, found {value!r}")
    return problems


def _section_problems(name: str, found: Mapping[str, Any], section: Section, lines: Lines) -> list[str]:
    problems = []
    source = found.get("source")
    if not isinstance(source, str) or not source.strip():
        problems.append(
            f"{lines.at(name, 'source') or lines.at(name)}[{name}] needs a non-empty 'source' "
            "('assumed' is allowed), found " + repr(source)
        )
    for key in found:
        if key not in section and key != "source":
            problems.append(
                f"{lines.at(name, key)}unknown key '{key}' in [{name}]{_close(key, section)}; a key carries its unit"
            )
    for key, field in section.items():
        if key not in found:
            problems.append(f"{lines.at(name)}'{key}' is missing in [{name}]")
        else:
            problem = value_problem(found[key], field)
            if problem:
                problems.append(f"{lines.at(name, key)}[{name}] {key} {problem}")
    return problems


def value_problem(value: object, field: Field) -> str:
    """Returns what is wrong with a value, in words that follow the key's name; empty when nothing is."""
    if field.kind in ("ints", "texts", "tables"):
        return _list_problem(value, field)
    if field.kind == "bool":
        return "" if isinstance(value, bool) else f"must be true or false, found {value!r}"
    if field.kind == "text":
        allowed = not field.choices or value in field.choices
        return "" if isinstance(value, str) and allowed else f"must be one of {list(field.choices)}, found {value!r}"
    return _number_problem(value, field)


def _number_problem(value: object, field: Field) -> str:
    kinds: tuple[type, ...] = (int,) if field.kind == "int" else (int, float)
    wanted = "a whole number" if field.kind == "int" else "a number"
    limits = f"{wanted} from {field.low:g} to {field.high:g}"
    sound = type(value) in kinds and isinstance(value, int | float) and math.isfinite(value)
    if not sound or not isinstance(value, int | float) or not field.low <= value <= field.high:
        return f"must be {limits}, found {value!r}"
    return ""


def _list_problem(value: object, field: Field) -> str:
    if not isinstance(value, list) or not value:
        return f"must be a non-empty list, found {value!r}"
    if field.kind == "tables":
        return "" if all(isinstance(item, dict) for item in value) else "must be a list of tables { type = ... }"
    single = Field("int" if field.kind == "ints" else "text", field.low, field.high, field.choices)
    wrong = next((problem for problem in (value_problem(item, single) for item in value) if problem), "")
    if wrong:
        return f"items {wrong}"
    if field.kind == "ints" and sorted(set(value)) != value:
        return f"must ascend without repeats, found {value!r}"
    return ""


def _close(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else f" (known: {', '.join(known)})"
