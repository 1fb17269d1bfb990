"""The page of a report: tables as HTML, figures as data that the page's script draws."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from agent.report_content import Content
from agent.report_frontier import OBJECTIVE_NAMES, frontier_json
from agent.summary import COST_ROWS, OtherViews, apply_command, fidelity_line, four_digits, next_commands, saving
from plan.document import Document, scheme_from_json

PARTS = ("page.html", "page.css", "draw.js", "figures.js")
KIND_COLOURS = {
    "dense": "#c3cad2",
    "element": "#332288",
    "n:m": "#88ccee",
    "kernel": "#44aa99",
    "pattern": "#aa4499",
    "block-punched": "#117733",
    "block-row": "#999933",
    "block-column": "#ddcc77",
    "channel": "#cc6677",
    "filter": "#882255",
}
"""Colour of each granularity, from a qualitative palette that colour-blind readers can tell apart (Tol, "muted")."""
WIDEST_BITS = 8


@cache
def _part(name: str) -> str:
    return (files("agent") / "page" / name).read_text(encoding="utf-8")


def page(content: Content) -> str:
    """Returns the whole page: one HTML text that needs nothing from outside."""
    document = content.document
    title = f"{document['network']['name']} on {document['hardware']['name']}"
    html, style, *scripts = (_part(name) for name in PARTS)
    return Template(html).substitute(
        title=escape(title),
        style=style,
        script="\n".join(scripts),
        content=_embedded(content),
        lead=escape(lead(document, content.energy.other_views)),
        tiles="".join(_tile(content, *row) for row in COST_ROWS),
        kinds=_kinds(document),
        layers_table=_layers_table(content),
        accuracy_table=_accuracy_table(document),
        energy_table=_energy_table(content),
        record_table=_record_table(content),
        commands=_commands(content),
        exports_table=_exports_table(content),
        **{name: escape(text) for name, text in _notes(content).items()},
    )


def lead(document: Document, views: OtherViews) -> str:
    """Returns the result in one sentence; energy in every view."""
    baseline, accuracy = document["baseline"], document["accuracy"]
    split = "test" if accuracy["test"] is not None else "validation"
    figures = accuracy[split]
    low, high = figures["interval"]
    told = {name: f"{_saving(document['savings'][name])} {name}" for name, _, _ in COST_ROWS}
    others = ", ".join(f"{_saving(saving(*energies))} in the {view} view" for view, energies in views.items())
    told["energy"] += f" ({others})" if others else ""
    saved = ", ".join(told.values())
    return (
        f"{saved} than the dense network at {baseline['weight_bits']} bits, for {figures['drop_points']:.2f} points "
        f"of {split} {_accuracy_word(document)} [{low:.2f}, {high:.2f}]."
    )


def _saving(fraction: float) -> str:
    return f"{100 * abs(fraction):.1f} % {'less' if fraction >= 0 else 'more'}"


def _accuracy_word(document: Document) -> str:
    return "accuracy" if document["data"]["labels"] else "agreement with the network as given"


def _notes(content: Content) -> dict[str, str]:
    """Returns the line under each heading."""
    document = content.document
    baseline, view = document["baseline"], document["hardware"]["energy_view"]
    fidelity, asked = content.fidelity, document["limits"]
    limits = ", ".join(f"{name.removeprefix('max_').replace('_', ' ')} {value:g}" for name, value in asked.items())
    return {
        "baseline_note": f"One image. Savings are against the dense network with {baseline['weight_bits']}-bit weights "
        f"and {baseline['activation_bits']}-bit activations on the same accelerator, {view} energy. "
        f"Limits asked for: {limits}.",
        "accuracy_note": "Drops are against the network as given (float), in points, with paired bootstrap 95 % "
        "intervals. Predicted: the proxy. Validation: images that the search chose by. Test: measured once, at the "
        "end, on images that nothing chose by.",
        "frontier_note": f"Every plan here was measured; {OBJECTIVE_NAMES[document['objective']]} of the dense "
        f"{baseline['weight_bits']}-bit network is 100 %. Point at a mark, or tap it, for the plan's main choices. "
        "The test result is drawn a little lower than its plan." + _images_note(content),
        "layers_note": "Density is kept / total weights of the original layer. The last column compares the energy of "
        "the dense layer (grey) with the plan's.",
        "energy_note": "Priced again by the hardware model from plan.json. Both energy views of the accelerator are "
        f"shown; savings above are in the {view} view.",
        "fidelity_note": "" if fidelity is None else fidelity_line(fidelity) + ". No fit has seen these plans.",
        "exports_note": "What agent.apply wrote from this plan. Files of float32 tensors shrink by removed channels "
        "alone; ONNX holds integers of 4, 8 or 16 bits.",
        "search_note": f"{document['made_by']['measured_evaluations']} measured evaluations by the searcher "
        f"'{document['made_by']['searcher']}'." + _times(content),
        "curves_note": "What the agent logged while it trained on the proxy, against layer decisions.",
        "reproduce_note": "The same command, seed, versions and machine give the same plan, byte for byte.",
    }


def _images_note(content: Content) -> str:
    """Returns why a cheaper plan within the limit need not be the one chosen: fewer images have seen it."""
    chosen = content.document["accuracy"]["validation"]["images"]
    seen = {row["document"]["accuracy"]["validation"]["images"] for row in content.frontier}
    if not seen or min(seen) >= chosen:
        return ""
    return f" Plans of the search were measured on {min(seen):,} validation images, the chosen one on all {chosen:,}."


def _times(content: Content) -> str:
    if not content.timing:
        return ""
    seconds = sum(taken for _, taken in content.timing)
    longest = sorted(content.timing, key=lambda item: -item[1])[:3]
    told = ", ".join(f"{phase} {taken:.0f} s" for phase, taken in longest)
    return f" {seconds:.0f} s in all; longest: {told}."


def _tile(content: Content, name: str, column: str, unit: str) -> str:
    document, views = content.document, content.energy.other_views if name == "energy" else {}
    others = "".join(
        f'<div class="from">{view} view {-100 * saving(*energies):+.1f} %</div>' for view, energies in views.items()
    )
    before, after = document["baseline"][column], document["totals"][column]
    return (
        f'<div class="tile" data-quantity="{name}"><div class="name">{name}</div>'
        f'<div class="value">{-100 * document["savings"][name]:+.1f} %</div>'
        f'<div class="from">{four_digits(before)} to {four_digits(after)} {unit}</div>{others}</div>'
    )


def _accuracy_table(document: Document) -> str:
    accuracy, baseline = document["accuracy"], document["baseline"]
    rows = [("predicted", "", "", f"{accuracy['predicted_drop_points']:.2f}", "", "")]
    for split in ("validation", "test"):
        figures = accuracy[split]
        if figures is None:
            rows.append((split, "", "", "not measured yet", "", ""))
            continue
        low, high = figures["interval"]
        interval, dense = f"{low:.2f} to {high:.2f}", f"{baseline['accuracy'][split]:.2f}"
        images = f"{figures['images']:,}"
        rows.append((split, dense, f"{figures['accuracy']:.2f}", f"{figures['drop_points']:.2f}", interval, images))
    headings = ("", f"dense {baseline['weight_bits']} bits, %", "plan, %", "drop, points", "95 % interval", "images")
    return table(headings, rows)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns an HTML table; all columns but the first are numbers."""
    kinds = ["", *(' class="number"' for _ in headings[1:])]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(kinds, headings, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _kinds(document: Document) -> str:
    used = {entry["granularity"]["type"] for entry in document["layers"]}
    return "".join(
        f'<span><i class="swatch" style="background:{colour}"></i>{escape(kind)}</span>'
        for kind, colour in KIND_COLOURS.items()
        if kind in used
    )


def _layers_table(content: Content) -> str:
    dense, plan = content.energy.layers["dense"], content.energy.layers["plan"]
    most = max(float(dense.max()), float(plan.max())) or 1.0
    rows = "".join(
        _layer_row(entry, float(dense[at]) / most, float(plan[at]) / most)
        for at, entry in enumerate(content.document["layers"])
    )
    return (
        '<table><thead><tr><th>layer</th><th class="method">what is pruned</th><th>density</th>'
        '<th class="number">W bits</th><th class="number">A bits</th><th class="pair">energy</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _layer_row(entry: Document, dense: float, plan: float) -> str:
    """Returns a layer's row; energies are shares of the largest layer's."""
    name, method = escape(entry["name"]), escape(str(scheme_from_json(entry).method))
    kind, density = entry["granularity"]["type"], entry["achieved_density"]
    colour = KIND_COLOURS[kind]
    tip = f"{name}: {method}, density {density:.3f}, {entry['energy_uj']:.4g} uJ"
    return (
        f'<tr title="{tip}" data-kind="{kind}"><td class="name">{name}</td><td class="method">{method}</td>'
        f'<td><div class="bar"><i style="width:{100 * density:.1f}%;background:{colour}"></i></div></td>'
        f'<td class="number">{entry["weight_bits"]}</td><td class="number">{entry["activation_bits"]}</td>'
        f'<td class="pair"><div class="bar"><i style="width:{100 * dense:.1f}%;background:var(--dense)"></i></div>'
        f'<div class="bar"><i style="width:{100 * plan:.1f}%;background:var(--plan)"></i></div></td></tr>'
    )


def _energy_table(content: Content) -> str:
    rows = []
    for view, sides in content.energy.levels.items():
        for level, before in sides["dense"].items():
            after = sides["plan"][level]
            if before > 0 or after > 0:
                change = f"{100 * (after / before - 1):+.1f} %" if before > 0 else "new"
                rows.append((f"{level.upper()}, {view}", four_digits(before), four_digits(after), change))
        before, after = (sum(sides[side].values()) for side in ("dense", "plan"))
        change = f"{100 * (after / before - 1):+.1f} %"
        rows.append((f"all levels, {view}", four_digits(before), four_digits(after), change))
    return table(("level, view", "dense, uJ", "plan, uJ", "change"), rows)


def _exports_table(content: Content) -> str:
    """Returns the sizes of written files beside the dense network's; how to write one where there is none."""
    if not content.exports:
        command = escape(apply_command(content.document, content.folder / "plan.json"))
        return f'<p class="note">None yet; this writes one:</p><pre>{command}</pre>'
    bits = content.document["baseline"]["weight_bits"]
    rows = [
        (
            each.file,
            f"{each.size_bytes:,}",
            *(f"{size:,} ({100 * (each.size_bytes / size - 1):+.1f} %)" if size else "" for size in sizes),
        )
        for each in content.exports
        for sizes in ((each.dense_float_bytes, each.dense_bytes),)
    ]
    return table(("file", "bytes", "dense in float32, bytes", f"dense at {bits} bits, bytes"), rows)


def _commands(content: Content) -> str:
    made_by = content.document["made_by"]
    plan = content.folder / "plan.json"
    commands = [made_by["command"], *next_commands(content.document, plan)]
    return "".join(f"<pre>{escape(command)}</pre>" for command in commands)


def _record_table(content: Content) -> str:
    document = content.document
    rows = [
        ("typed as", content.record["command"]),
        ("seed", str(document["made_by"]["seed"])),
        ("images", ", ".join(f"{count:,} {name}" for name, count in document["data"]["images"].items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in document["made_by"]["versions"].items())),
        ("network", document["network"]["fingerprint"]),
        ("weights", document["network"]["weights_sha256"]),
        ("data split", document["data"]["split_sha256"]),
        ("hardware", document["hardware"]["fingerprint"]),
    ]
    body = "".join(f'<tr><td>{name}</td><td class="hash">{escape(value)}</td></tr>' for name, value in rows)
    return f"<table><tbody>{body}</tbody></table>"


def _embedded(content: Content) -> str:
    """Returns the figures' data as JSON that can stand inside a script element."""
    fidelity = content.fidelity
    data: dict[str, Any] = {
        "frontier": frontier_json(content),
        "energy": list(content.energy.levels.items()),
        "fidelity": None if fidelity is None else {name: fidelity[name] for name in ("predicted", "measured")},
        "curves": content.curves,
    }
    return json.dumps(data, sort_keys=True, allow_nan=False).replace("<", "\\u003c")
