"""Where a plan's network, weights, data and hardware come from, and whether they are those that it was made for."""

from __future__ import annotations

from dataclasses import dataclass

from agent.preflight import check_hardware, check_sources
from hwmodels.accelerator import Accelerator
from plan.document import Document
from plan.errors import InvalidValueError, MismatchError


@dataclass(frozen=True)
class Sources:
    """What the flags named."""

    net: str
    weights: str
    data: str
    hw: str


@dataclass(frozen=True)
class Overrides:
    """Sources given on the command line, None where the plan's own are to be used."""

    net: str | None = None
    weights: str | None = None
    data: str | None = None


def sources_of(document: Document, given: Overrides) -> Sources:
    """Returns where network, weights, data and hardware come from.

    Raises:
        InvalidValueError: the plan names code in a file, which runs only when it is given again.
    """
    network = document["network"]
    if ".py:" in network["source"] and given.net is None:
        raise InvalidValueError(
            f"the plan's network is code in a file, {network['source']}; give it with --net to have it run"
        )
    return Sources(
        net=given.net or network["source"],
        weights=given.weights or network["weights"],
        data=given.data or document["data"]["source"],
        hw=document["hardware"]["source"],
    )


def check_sources_of(document: Document, sources: Sources) -> Accelerator:
    """Returns the accelerator after a check of all names, paths and the hardware's fingerprint.

    Raises:
        EspalierError: a source that cannot be used, or another hardware.
    """
    accelerator = check_hardware(sources.hw, document["baseline"]["weight_bits"])
    check_same("hardware", document["hardware"]["fingerprint"], accelerator.fingerprint)
    check_sources(sources.net, sources.weights, sources.data)
    return accelerator


def check_same(what: str, stated: str, found: str) -> None:
    """Checks a hash.

    Raises:
        MismatchError: it is another than the plan states.
    """
    if stated != found:
        raise MismatchError(
            f"the {what} is not the one that the plan was made for (sha256 {found[:12]}..., the plan says "
            f"{stated[:12]}...); give the right one, or undo the edit"
        )
