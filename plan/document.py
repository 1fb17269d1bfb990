"""plan.json, the artefact: what it holds is in plan_schema.json, how it is read, checked and written is here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import jsonschema

from plan.atomic import write_atomically
from plan.errors import FileFormatError, InvalidValueError, MissingFileError
from plan.methods import algorithms_of, why_not_offered
from plan.registry import close_names
from plan.scheme import Method, Scheme, granularity_from_json, granularity_to_json, own_density

Document = dict[str, Any]
SCHEMA_NAME = "espalier.plan"
VERSION = 2
SCHEMA_FILE = Path(__file__).with_name("plan_schema.json")


def _name_level(document: Document) -> Document:
    """Returns a version 1 plan as version 2, which calls the ranking of single weights by magnitude level, not l1.

    Version 1 recorded 3 rounds and 2 passes of the weight update whatever had run, which was 10 and 1.
    """
    layers, repairs = document.get("layers"), document.get("repairs")
    if not (isinstance(layers, list) and isinstance(repairs, list)):
        return {**document, "version": 2}
    return {
        **document,
        "version": 2,
        "layers": [{**entry, "algorithm": "level"} if _ranks_elements(entry) else entry for entry in layers],
        "repairs": [_with_what_ran(entry) for entry in repairs],
    }


def _with_what_ran(entry: Any) -> Any:
    if isinstance(entry, dict) and entry.get("parameters") == {"rounds": 3, "passes": 2}:
        return {**entry, "parameters": {"rounds": 10, "passes": 1}}
    return entry


def _ranks_elements(entry: Any) -> bool:
    granularity = entry.get("granularity") if isinstance(entry, dict) else None
    return isinstance(granularity, dict) and granularity.get("type") == "element" and entry.get("algorithm") == "l1"


MIGRATIONS: dict[int, Callable[[Document], Document]] = {1: _name_level}
"""From each older version to the next; `load` applies them in turn."""
LONGEST_VALUE = 60


@cache
def schema() -> Document:
    """Returns the JSON Schema of the current version."""
    content: Document = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return content


@cache
def _checker() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema())


def scheme_to_json(scheme: Scheme) -> Document:
    """Returns the fields of a layer entry that hold its scheme."""
    return {
        "granularity": granularity_to_json(scheme.method.granularity),
        "algorithm": scheme.method.algorithm,
        "density": scheme.density,
        "weight_bits": scheme.weight_bits,
        "activation_bits": scheme.activation_bits,
    }


def scheme_from_json(entry: Document) -> Scheme:
    """Returns the scheme of a layer entry, the inverse of `scheme_to_json`.

    Raises:
        InvalidValueError: a granularity with unknown type or fields.
    """
    method = Method(granularity_from_json(entry["granularity"]), entry["algorithm"])
    return Scheme(method, float(entry["density"]), entry["weight_bits"], entry["activation_bits"])


def schemes_of(document: Document) -> tuple[Scheme, ...]:
    """Returns the schemes of all layers of a checked document."""
    return tuple(scheme_from_json(entry) for entry in document["layers"])


def problems_of(document: object) -> list[str]:
    """Returns everything that is wrong with a document's form, empty when it is a plan of the current version."""
    if not isinstance(document, dict):
        return [f"is {_kind(document)}, not a JSON object"]
    checker = _checker()
    errors = sorted(checker.iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path])
    problems = [text for error in errors for text in _describe(error)]
    return [*problems, *_infinite(document), *([] if problems else _inconsistent(document))]


def _describe(error: jsonschema.ValidationError) -> Iterator[str]:
    """Yields one text per fault: the field, what was found, and what is allowed."""
    if error.context:
        worst = max(error.context, key=lambda inner: len(inner.absolute_path))
        yield from _describe(worst)
        return
    where, found = _field(error.absolute_path), _short(error.instance)
    instance: Any = error.instance
    rule: Any = error.validator_value
    schema: Any = error.schema
    match error.validator:
        case "required":
            yield from (f"{where}: '{name}' is missing" for name in rule if name not in instance)
        case "additionalProperties" if rule is False:
            known = list(schema["properties"])
            extra = [name for name in instance if name not in known]
            yield from (f"{where}: '{name}' is unknown{close_names(name, known)}" for name in extra)
        case "type":
            yield f"{where} is {found} (allowed: {rule if isinstance(rule, str) else ' or '.join(rule)})"
        case "enum":
            yield f"{where} is {found} (allowed: {', '.join(map(str, rule))})"
        case "const":
            yield f"{where} is {found} (allowed: {rule})"
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            yield f"{where} is {found} (allowed: {_range(schema)})"
        case "pattern":
            yield f"{where} is {found} (allowed: 64 hexadecimal digits)"
        case _:
            yield f"{where} is {found}: {_cut(error.message)}"


def _range(rule: Document) -> str:
    low = f"from {rule['minimum']}" if "minimum" in rule else ""
    low = f"above {rule['exclusiveMinimum']}" if "exclusiveMinimum" in rule else low
    high = f"to {rule['maximum']}" if "maximum" in rule else ""
    return " ".join(part for part in (low, high) if part)


def _field(path: Any) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "the plan"


def _kind(value: object) -> str:
    return "empty" if value is None else f"a {type(value).__name__}"


def _short(value: object) -> str:
    return _cut(json.dumps(value)) if not isinstance(value, float) else repr(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _infinite(value: Any, path: tuple[Any, ...] = ()) -> list[str]:
    if isinstance(value, float):
        return [] if math.isfinite(value) else [f"{_field(path)} is {value} (allowed: finite numbers)"]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [problem for name, inner in items for problem in _infinite(inner, (*path, name))]


def _inconsistent(document: Document) -> list[str]:
    """Returns faults that a schema cannot state: names twice, indices past the end, granularities without sense."""
    layers, network = document["layers"], document["network"]
    names = [entry["name"] for entry in layers]
    problems = [f"layers: '{name}' occurs twice" for name in sorted({n for n in names if names.count(n) > 1})]
    used = [("edges", index) for edge in network["edges"] for index in edge]
    used += [("groups", index) for group in network["groups"] for index in group["producers"] + group["consumers"]]
    problems += [
        f"network.{part} names layer {index} (allowed: 0 to {len(layers) - 1})"
        for part, index in sorted(set(used))
        if index >= len(layers)
    ]
    for position, entry in enumerate(layers):
        problems += _scheme_problems(f"layers[{position}]", entry)
    return problems


def _scheme_problems(where: str, entry: Document) -> list[str]:
    try:
        scheme = scheme_from_json(entry)
    except InvalidValueError as error:
        return [f"{where}.granularity: {error}"]
    granularity, algorithm = scheme.method.granularity, scheme.method.algorithm
    problems = []
    if why_not_offered(granularity, algorithm):
        allowed = ", ".join(algorithms_of(granularity))
        problems.append(f"{where}.algorithm is {algorithm} (allowed with this granularity: {allowed})")
    own = own_density(granularity)
    if own is not None and scheme.density != own:
        problems.append(f"{where}.density is {scheme.density} (allowed with {granularity.kind}: {own})")
    return problems


def dumps(document: Document) -> str:
    """Returns the text of a document: keys sorted, two spaces, a last newline; the same plan gives the same bytes.

    Raises:
        FileFormatError: the document is not a plan of the current version; lists all faults.
    """
    problems = problems_of(document)
    if problems:
        raise FileFormatError("plan", problems)
    return json.dumps(document, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def save(document: Document, path: Path) -> None:
    """Writes a document so that a reader sees the old file or the whole new one.

    Raises:
        FileFormatError: the document is not a plan.
        UnwritableError: the file cannot be written.
    """
    write_atomically(path, dumps(document).encode())


def load(path: Path) -> Document:
    """Returns the checked document of a file, brought to the current version.

    Raises:
        MissingFileError: the file does not exist or cannot be read.
        FileFormatError: it is not JSON, not a plan, of an unknown version, or out of range; lists all faults.
    """
    content = _read(path)
    document = _migrated(content, path) if isinstance(content, dict) else {}
    problems = problems_of(document if isinstance(content, dict) else content)
    if problems:
        raise FileFormatError(str(path), problems)
    return document


def _migrated(document: Document, path: Path) -> Document:
    while type(document.get("version")) is int and document["version"] in MIGRATIONS:
        document = MIGRATIONS[document["version"]](document)
    version = document.get("version")
    if type(version) is int and version != VERSION:
        known = ", ".join(str(number) for number in (*MIGRATIONS, VERSION))
        raise FileFormatError(str(path), [f"version is {version} (allowed: {known}); it needs another release"])
    return document


def _read(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileFormatError(str(path), [f"is not text: {error.reason} at byte {error.start}"]) from error
    except OSError as error:
        raise MissingFileError(f"cannot read {path}: {error.strerror}; give the path of a plan.json") from error
    try:
        document: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno} (truncated or edited?)"
        raise FileFormatError(str(path), [problem]) from error
    except InvalidValueError as error:
        raise FileFormatError(str(path), [str(error)]) from error
    except RecursionError as error:
        raise FileFormatError(str(path), ["is nested too deeply to be a plan"]) from error
    return document


def _unique(pairs: list[tuple[str, Any]]) -> Document:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidValueError(f"field {', '.join(twice)} occurs twice in one object")
    return content


def _refuse(text: str) -> NoReturn:
    raise InvalidValueError(f"holds {text} (allowed: finite numbers)")
