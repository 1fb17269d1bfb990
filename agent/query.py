"""Command: another budget from a trained agent, in seconds, without training or measuring.

python -m agent.query RUN --max-drop 0.5 [--max-latency-ms 4 ...] [--objective size] [--out plan.json] [--json]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from agent.config import OBJECTIVES
from agent.summary import next_command
from agent.terminal import add_output_flags, write_json, write_next
from plan.budget import FLAGS
from plan.command import DONE, INFEASIBLE, Parser, run_command, without_collecting
from plan.document import Document, save
from plan.errors import InvalidValueError

if TYPE_CHECKING:
    from agent.answer import Answer
    from agent.opened_run import OpenedRun

CONFIDENCE = 0.98
LOWEST_CONFIDENCE, HIGHEST_CONFIDENCE = 0.5, 0.999
LIMITS = ("max_drop", "max_energy_uj", "max_latency_ms", "max_size_kb")
CHOSEN = ("name", "granularity", "algorithm", "density", "weight_bits", "activation_bits")
ROWS = (("energy (uJ)", "energy_uj"), ("latency (ms)", "latency_ms"), ("size (kB)", "size_kb"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 with a plan, 1 when no plan keeps the limits, 2 when the run or a limit cannot be used."""
    return run_command(lambda: _query(_parser(), arguments))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m agent.query",
        description="Another budget from a trained agent. Exit status 1: no plan keeps the limits.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a run of agent.train")
    parser.add_argument("--max-drop", help="accuracy points that may be lost (default: as in the run)")
    parser.add_argument("--max-energy-uj", help="limit on energy in uJ for one image (default: none)")
    parser.add_argument("--max-latency-ms", help="limit on latency in ms for one image (default: none)")
    parser.add_argument("--max-size-kb", help="limit on stored weights in kB (default: none)")
    parser.add_argument("--objective", choices=OBJECTIVES, help="what to reduce (default: as in the run)")
    parser.add_argument(
        "--confidence",
        default=str(CONFIDENCE),
        help=f"probability with which a plan that was not measured should keep the drop (default: {CONFIDENCE})",
    )
    parser.add_argument("--out", metavar="FILE", help="also write the plan to this file")
    add_output_flags(parser)
    return parser


def _query(parser: Parser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    confidence = _number("--confidence", options.confidence)
    if not LOWEST_CONFIDENCE <= confidence <= HIGHEST_CONFIDENCE:
        allowed = f"{LOWEST_CONFIDENCE} to {HIGHEST_CONFIDENCE}"
        raise InvalidValueError(f"--confidence {confidence:g} is out of range (allowed: {allowed})")
    limits = {name: _limit(options, name) for name in LIMITS}
    with without_collecting():  # what mistakes need not wait for
        from agent.opened_run import open_run, read_settings_of, with_question

    folder = Path(options.run)
    settings = with_question(read_settings_of(folder), options.objective, limits)
    with without_collecting():
        from agent.answer import answer

        run = open_run(folder, settings)
        found = answer(run, confidence)
    document = described(run, found)
    kept = Path(options.out) if options.out and found.feasible else None
    if kept is not None:
        save(document, kept)
    if options.json:
        write_json(answer_json(document, found, kept))
    elif not options.quiet:
        _show(document, found, settings.objective)
        _tell_kept(document, kept)
    return DONE if found.feasible else INFEASIBLE


def _tell_kept(document: Document, kept: Path | None) -> None:
    """Prints where the plan was written, and the command that measures it."""
    if kept is not None:
        sys.stdout.write(f"plan: {kept}\n")
        write_next(next_command("agent.evaluate", document, kept))


def answer_json(document: Document, found: Answer, kept: Path | None) -> dict[str, Any]:
    """Returns an answer as one object: whether it keeps the limits, its figures, and where it was written."""
    parts = ("objective", "limits", "baseline", "totals", "savings", "accuracy")
    return {
        "feasible": found.feasible,
        "reasons": list(found.reasons),
        "drop_points": found.drop_points,
        "measured_images": None if found.measured is None else found.measured.images,
        **{name: document[name] for name in parts},
        "layers": [{name: entry[name] for name in CHOSEN} for entry in document["layers"]],
        "plan": None if kept is None else str(kept),
    }


def _limit(options: argparse.Namespace, name: str) -> float | None:
    text = getattr(options, name)
    return None if text is None else _number("--" + name.replace("_", "-"), text)


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidValueError(f"{flag} '{text}' is not a number") from None


def described(run: OpenedRun, found: Answer) -> Document:
    """Returns an answer as plan.json holds it; validation is null where the plan was not measured, test always."""
    from agent.record import Measurement, price

    template, priced = run.template, price(run.problem, found.choice)
    validation, baseline = None, dict(template["baseline"]["accuracy"], test=None)
    if found.measured is not None:
        entry = found.measured
        known = run.archive.known(run.problem.space.baseline, entry.images)
        as_given = run.archive.dense(entry.images)
        validation = Measurement(as_given, as_given, entry.correct, entry.assumed).to_json()
        if known is not None:
            baseline["validation"] = 100.0 * float(known.correct.mean())
    return {
        **template,
        "objective": run.settings.objective,
        "limits": run.settings.limits.to_json(),
        "baseline": {**template["baseline"], **priced["baseline"], "accuracy": baseline},
        "totals": priced["totals"],
        "savings": priced["savings"],
        "layers": priced["layers"],
        "accuracy": {
            "predicted_drop_points": float(found.metrics.drop_points[0]),
            "validation": validation,
            "test": None,
        },
        "made_by": _made_by(run),
    }


def _made_by(run: OpenedRun) -> dict[str, Any]:
    """Returns how an answer came about: the run's record under the question's objective and limits."""
    made, settings = run.template["made_by"], run.settings
    asked = {name: settings.to_json()[name] for name in (*LIMITS, "objective")}
    words = [f"{flag} {getattr(settings.limits, name):g}" for name, flag in FLAGS.items()]
    words = [word for word in words if not word.endswith(" inf")]
    query = f"python -m agent.query RUN {' '.join(words)} --objective {settings.objective}"
    return {
        **made,
        "command": f"{made['command']}; {query}",
        "config": {**made["config"], **asked},
        "calibration": run.problem.calibration.to_json(),
        "measured_evaluations": len(run.archive),
    }


def _show(document: Document, found: Answer, objective: str) -> None:
    """Prints the plan against the dense network, or what is in the way and the nearest plan."""
    if not found.feasible:
        sys.stdout.write("".join(f"infeasible: {reason}\n" for reason in found.reasons))
    bits, limits = document["baseline"]["weight_bits"], document["limits"]
    kind = "plan" if found.feasible else "nearest plan"
    table = Table(title=f"{document['network']['name']} on {document['hardware']['name']}, least {objective}")
    for heading in ("", f"dense {bits} bits", kind, "change", "limit"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, column in ROWS:
        before, after = document["baseline"][column], document["totals"][column]
        limit = f"{limits[f'max_{column}']:g}" if f"max_{column}" in limits else ""
        table.add_row(name, f"{before:,.4g}", f"{after:,.4g}", f"{100 * (after / before - 1):+.1f} %", limit)
    how = "predicted" if found.measured is None else f"measured on {found.measured.images} validation images"
    limit = f"{limits['max_drop_points']:g}" if "max_drop_points" in limits else ""
    table.add_row(f"drop (points), {how}", "", f"{found.drop_points:.2f}", "", limit)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    sys.exit(main())
