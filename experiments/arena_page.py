"""The arena's table in Markdown and its plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.cells import Cell
from experiments.standings import Estimate, Standing, course
from plan.atomic import write_atomically
from plan.errors import FileFormatError

BEGIN, END = "<!-- arena begins -->", "<!-- arena ends -->"


def table_of(standings: Sequence[Standing], missing: Sequence[str], objective: str, evaluations: int) -> str:
    """Returns one Markdown table per network, best first by the final plan, and the cells that are missing."""
    lines = [
        f"{objective.capitalize()} saved in percent against the dense network at 8 bits, {evaluations} measured "
        "evaluations a cell; mean over seeds ± 95 % interval (Student's t). A dash: some seed has no plan within the "
        "limit. Mode A: measured accuracy alone, as published; B: the same predictions, warm start and refinement. "
        "Hypervolume: of the frontier that one run measured, and in percent of all runs' on the network together.",
        "",
    ]
    for net in dict.fromkeys(found.net for found in standings):
        lines += _net_table(net, [found for found in standings if found.net == net])
    if missing:
        lines += [f"Missing cells ({len(missing)}):", "", *(f"- {name}" for name in missing), ""]
    return "\n".join(lines) + "\n"


def _net_table(net: str, own: Sequence[Standing]) -> list[str]:
    drops = list(own[0].saved)
    headings = [f"{net}: contestant", "mode", "seeds", *(f"≤ {drop:g} points" for drop in drops)]
    headings += ["final plan", "its test drop", "hypervolume", "of the union", "seconds"]
    ranked = sorted(own, key=lambda found: -found.final_saved.mean if found.final_saved else 1.0)
    rows = [_cells(found) for found in ranked]
    return [_line(headings), _line(["---"] * len(headings)), *(_line(row) for row in rows), ""]


def _cells(found: Standing) -> list[str]:
    saved = [_text(value, 100.0, 1) for value in found.saved.values()]
    figures = [_text(found.final_saved, 100.0, 1), _text(found.test_drop, 1.0, 2), found.hypervolume.text(1.0, 3)]
    figures.append(found.union_share.text(100.0, 1))
    return [found.contestant, found.mode, str(found.seconds.seeds), *saved, *figures, found.seconds.text(1.0, 0)]


def _text(value: Estimate | None, scale: float, digits: int) -> str:
    return "-" if value is None else value.text(scale, digits)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_page(
    out: Path, text: str, groups: Mapping[tuple[str, str, str], Sequence[Cell]], drop: float, docs: Path | None
) -> None:
    """Writes table.md and the plots, and puts the table between the markers of a document.

    Raises:
        FileFormatError: the document has no markers.
        UnwritableError: a file cannot be written.
    """
    write_atomically(out / "table.md", text.encode())
    for net in dict.fromkeys(key[0] for key in groups):
        _draw(out, {key: cells for key, cells in groups.items() if key[0] == net}, net, drop)
    if docs is None:
        return
    before = docs.read_text(encoding="utf-8") if docs.is_file() else f"# Results\n\n{BEGIN}\n{END}\n"
    if BEGIN not in before or END not in before:
        raise FileFormatError(str(docs), [f"holds no '{BEGIN}' and '{END}' to put the table between"])
    head, tail = before.partition(BEGIN)[0], before.partition(END)[2]
    write_atomically(docs, f"{head}{BEGIN}\n\n{text}\n{END}{tail}".encode())


def _draw(out: Path, groups: Mapping[tuple[str, str, str], Sequence[Cell]], net: str, drop: float) -> None:
    """Draws the best plan so far against evaluations and against processor seconds."""
    from matplotlib.figure import Figure  # imported here: it takes a second, which a faulty request need not wait for

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, by_seconds in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
        for (_, name, mode), cells in groups.items():
            _course(axes, cells, f"{name}-{mode}", drop, by_seconds=by_seconds)
        axes.set_xlabel("processor seconds" if by_seconds else "measured evaluations")
        if by_seconds:
            axes.set_xscale("log")
    figure.axes[0].set_ylabel(f"saved at ≤ {drop:g} points (%), mean over seeds")
    figure.axes[1].legend(fontsize=6, ncols=2)
    name = "".join(letter if letter.isalnum() else "-" for letter in net)
    figure.savefig(out / f"course-{name}.png", dpi=150, metadata={"Software": None})


def _course(axes: Any, cells: Sequence[Cell], label: str, drop: float, *, by_seconds: bool) -> None:
    places, saved = course(cells, drop, by_seconds=by_seconds)
    style = "--" if label.endswith("-A") else "-"
    axes.step(places, 100 * saved, style, where="post", label=label, linewidth=2 if label == "composite-B" else 1)
