"""A sweep's file: lists of networks, accelerators, limits and seeds, and settings that all cells share."""

from __future__ import annotations

import itertools
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from agent.config import NO_EFFECT, Settings, flag_name, read_settings, settings_parser
from experiments.sweep_cell import Cell
from plan.errors import FileFormatError, InvalidValueError, MissingFileError
from plan.registry import close_names

AXES = {"nets": "net", "hardware": "hw", "max_drop": "max_drop", "seeds": "seed"}
"""Keys of the file that hold lists, and the setting that each varies; the cells are their product, the last fastest."""
SHARED = "settings"
DEFAULTS: dict[str, list[Any]] = {"max_drop": [1.0], "seeds": [0]}


def read_sweep(path: Path) -> tuple[Cell, ...]:
    """Returns the cells of a sweep, all values checked.

    Raises:
        MissingFileError: no such file.
        FileFormatError: not TOML, unknown keys, or values that no run takes; lists all faults.
    """
    content = _read(path)
    problems = _problems(content)
    if problems:
        raise FileFormatError(str(path), problems)
    axes = [content.get(axis) or DEFAULTS[axis] for axis in AXES]
    shared = _words(content.get(SHARED, {}))
    cells = []
    for values in itertools.product(*axes):
        varied = dict(zip(AXES.values(), values, strict=True))
        try:
            read_settings(settings_parser("sweep", ""), [*_words(varied), *shared])
        except InvalidValueError as error:
            problems.append(str(error))
        cells.append(Cell(tuple(varied.items()), tuple(shared)))
    if problems:
        raise FileFormatError(str(path), list(dict.fromkeys(problems)))
    return tuple(cells)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise FileFormatError(str(path), [f"is not text: {error.reason}"]) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileFormatError(str(path), [f"is not TOML: {error}"]) from error
    except OSError as error:
        raise MissingFileError(f"cannot read {path}: {error.strerror}; give the path of a sweep's TOML file") from error


def _problems(content: dict[str, Any]) -> list[str]:
    known = [*AXES, SHARED]
    problems = [
        f"'{key}' is unknown{close_names(key, known)} (allowed: {', '.join(known)})"
        for key in content
        if key not in known
    ]
    for axis in AXES:
        values = content.get(axis, DEFAULTS.get(axis))
        if not isinstance(values, list) or not values:
            problems.append(f"'{axis}' must be a list with at least one value")
        elif len(set(map(str, values))) != len(values):
            problems.append(f"'{axis}' holds a value twice")
        elif not all(_plain(value) for value in values):
            problems.append(f"'{axis}' must hold text or numbers")
    shared = content.get(SHARED, {})
    if not isinstance(shared, dict):
        return [*problems, f"'{SHARED}' must be a table"]
    allowed = [item.name for item in fields(Settings) if item.name not in (*NO_EFFECT, *AXES.values())]
    problems += [f"{SHARED}.{key} is unknown{close_names(key, allowed)}" for key in shared if key not in allowed]
    problems += [
        f"{SHARED}.{key} must be text, a number or a list of these"
        for key, value in shared.items()
        if not _listed(value)
    ]
    return problems


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _listed(value: Any) -> bool:
    return _plain(value) or (isinstance(value, list) and all(_plain(one) for one in value))


def _words(settings: dict[str, Any]) -> list[str]:
    """Returns settings as words of a command line; a value that starts with a dash stays with its flag."""
    return [
        f"{flag_name(name)}={one}"
        for name, value in settings.items()
        for one in (value if isinstance(value, list) else [value])
    ]
