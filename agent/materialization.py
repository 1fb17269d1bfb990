"""The compressed network of a plan written to a file."""

from __future__ import annotations

from pathlib import Path

from agent.plan_sources import Overrides, check_sources_of, sources_of
from agent.progress import Display
from agent.rebuild import rebuild
from compress.export import export
from compress.materialize import materialize
from compress.verify import check
from plan.document import Document


def write(document: Document, given: Overrides, out: Path, display: Display) -> str:
    """Writes the network with removed channels cut out, verified against the plan; returns what was written.

    Raises:
        EspalierError: a source, a hash or a choice that does not fit.
    """
    sources = sources_of(document, given)
    accelerator = check_sources_of(document, sources)
    rebuilt = rebuild(document, sources, accelerator, display, cached=True)
    display.phase("compress")
    compressed = materialize(rebuilt.measurer.apply(rebuilt.assembly.space.schemes(rebuilt.choice)))
    check(compressed)
    display.phase("write")
    export(compressed, out, {"plan": document})
    dense = sum(parameter.numel() for parameter in rebuilt.assembly.subject.traced.module.parameters())
    left = sum(parameter.numel() for parameter in compressed.module.parameters())
    return f"{out}: {left:,} of {dense:,} parameters, {document['totals']['size_kb']:,.1f} kB stored on the accelerator"
