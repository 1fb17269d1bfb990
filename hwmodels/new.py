"""Command: writes a hardware file of your own to start from, a commented copy of a preset.

python -m hwmodels.new my.toml --like eyeriss
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hwmodels.loader import MODELS, load, parse, preset_names, preset_text
from hwmodels.schema import Field, Schema
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError, UnwritableError

HEADER = """\
# A hardware of your own, started from '{like}'. Use it as  --hw {file}
# Every section needs a source ("assumed" is allowed), every key carries its unit, unknown keys are refused.
"""


def starting_point(like: str, file: str) -> str:
    """Returns the text of a preset under the name of a file, each key followed by what it may hold.

    Raises:
        UnknownNameError: no preset of that name.
    """
    load(like)
    text = preset_text(like)
    model = re.search(r'^model = "(\w+)"', text, re.MULTILINE)
    schema: Schema = MODELS.get(model.group(1)).schema if model else {}
    body = "\n".join(_commented(text, schema))
    named = re.sub(r'^name = ".*"', f'name = "{Path(file).stem}"', body, count=1, flags=re.MULTILINE)
    return HEADER.format(like=like, file=file) + named + "\n"


def _commented(text: str, schema: Schema) -> list[str]:
    """Returns the lines with the allowed values behind single-line keys."""
    section, lines = "", []
    for line in text.splitlines():
        header = re.fullmatch(r"\[(\w+)\]", line)
        section = header.group(1) if header else section
        key = re.match(r"(\w+) = [^\[\n]*$", line)
        field = schema.get(section, {}).get(key.group(1)) if key else None
        lines.append(f"{line}  # {allowed(field)}" if field else line)
    return lines


def allowed(field: Field) -> str:
    """Returns what a field may hold, in a few words."""
    if field.kind == "bool":
        return "true or false"
    if field.kind == "text":
        return "one of " + ", ".join(field.choices)
    return f"{'whole number' if field.kind == 'int' else 'number'} from {field.low:g} to {field.high:g}"


def write(path: Path, text: str) -> None:
    """Writes a new file.

    Raises:
        InvalidValueError: the name does not end in .toml, or the file exists.
        UnwritableError: it cannot be written.
    """
    if path.suffix != ".toml":
        raise InvalidValueError(f"'{path}' must end in .toml, which is how --hw tells a file from a preset")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InvalidValueError(f"{path} exists already; choose another name or remove it") from error
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror}; choose another path") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after writing the file, 2 when the preset or the path cannot be used."""
    parser = Parser(prog="python -m hwmodels.new", description=__doc__)
    parser.add_argument("path", help="file to write, ending in .toml")
    parser.add_argument("--like", default="eyeriss", help=f"preset to start from: {', '.join(preset_names())}")
    return run_command(lambda: _new(parser.parse_args(arguments)))


def _new(options: argparse.Namespace) -> int:
    text = starting_point(options.like, options.path)
    parse(text, options.path)
    write(Path(options.path), text)
    sys.stdout.write(f"wrote {options.path}; edit it and price with --hw {options.path}\n")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
