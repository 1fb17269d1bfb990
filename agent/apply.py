"""Command: the compressed network of a plan as a file, pruned channels physically removed; or a check of such a file.

python -m agent.apply plan.json --out m.onnx | m.pt2 | m.safetensors [--net NET] [--weights WEIGHTS] [--data DATA]
python -m agent.apply plan.json --verify m.safetensors
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from agent.evaluate import plan_parser
from agent.plan_sources import Overrides
from agent.progress import make_display
from agent.summary import next_command
from agent.terminal import console_for, write_json, write_next
from plan.command import DIFFERENT, DONE, run_command
from plan.document import load
from plan.errors import InvalidValueError, MissingExtraError, MissingFileError, UnwritableError

SUFFIXES = (".safetensors", ".pt2", ".onnx")
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when the file was written or fits, 1 when it does not fit, 2 when something given cannot be used."""
    parser = plan_parser("python -m agent.apply", "Write the compressed network of a plan, or check a written one.")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--out", metavar="FILE", help="file to write, ending in " + ", ".join(SUFFIXES))
    wanted.add_argument("--verify", metavar="FILE", help="a .safetensors file to compare with the plan")
    return run_command(lambda: _apply(parser.parse_args(arguments)))


def _apply(options: argparse.Namespace) -> int:
    document, given = load(Path(options.plan)), Overrides(options.net, options.weights, options.data)
    path = Path(options.out or options.verify)
    (_check_output if options.out else _check_input)(path)
    from agent import materialization  # imported here: it brings torch, which a broken plan need not wait for

    with make_display(console_for(as_json=options.json), quiet=options.quiet) as display:
        if options.verify:
            return _tell_comparison(options, materialization.compare(document, given, path, display))
        written = materialization.write(document, given, path, display)
    shown = materialization.show_in_report(written, path, Path(options.plan), options.net)
    if options.json:
        write_json({"file": str(path), "plan": options.plan, **written.figures})
    elif not options.quiet:
        sys.stdout.write("\n".join([*written.lines, *([shown] if shown else [])]) + "\n")
        write_next(next_command("agent.evaluate", document, Path(options.plan)))
    return DONE


def _tell_comparison(options: argparse.Namespace, found: list[str]) -> int:
    """Prints what differs between a file and the plan; returns the exit status."""
    if options.json:
        write_json({"file": options.verify, "plan": options.plan, "differences": found})
    elif found:
        sys.stdout.write("\n".join(found) + "\n")
    elif not options.quiet:
        sys.stdout.write(f"{options.verify}: every weight, width and shape is the plan's\n")
    return DIFFERENT if found else DONE


def _check_output(out: Path) -> None:
    if out.suffix not in SUFFIXES:
        raise InvalidValueError(f"--out {out} ends in neither of {', '.join(SUFFIXES)}; choose one of these")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise UnwritableError(f"--out {out}: its folder does not exist or cannot be written; choose another")
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None] if out.suffix == ".onnx" else []
    if missing:
        raise MissingExtraError(
            f"--out {out} needs packages that are not installed ({', '.join(missing)}); pip install 'espalier[onnx]'"
        )


def _check_input(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise InvalidValueError(f"--verify {path} is no .safetensors file; give one that agent.apply --out wrote")
    if not path.is_file():
        raise MissingFileError(f"--verify {path} does not exist; give a file that agent.apply --out wrote")


if __name__ == "__main__":
    sys.exit(main())
