"""A plan's network put together again: sources opened, hashes compared, the choice found in its space."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.build import (
    Assembly,
    Progress,
    Subject,
    Terms,
    assemble,
    cached_profile,
    fresh_profile,
    open_subject,
    use_threads,
)
from agent.plan_sources import Sources, check_same
from agent.progress import Display
from compress.device import chosen_device, device_title
from compress.measure import Measurer
from compress.repair_record import equalises, options_of
from hwmodels.accelerator import Accelerator
from plan.document import Document, schemes_of
from plan.errors import MismatchError
from plan.restrictions import Pin, Restrictions
from plan.scheme import Scheme
from plan.space import Choices, Space


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """A plan's network on its hardware, what measures it, and the plan as indices int16 (L, 4)."""

    assembly: Assembly
    measurer: Measurer
    choice: Choices


def rebuild(
    document: Document,
    sources: Sources,
    accelerator: Accelerator,
    display: Display,
    *,
    cached: bool,
    device: str = "auto",
) -> Rebuilt:
    """Returns the plan's network put together again.

    Args:
        document: the plan, checked.
        sources: where its parts come from.
        accelerator: the hardware, checked.
        display: is told about progress.
        cached: whether the profile may come from the cache.
        device: where networks run, of `compress.device.CHOICES`; auto: as in the run, where there is such a device.

    Raises:
        InvalidValueError: CUDA is asked for and not there.
        MismatchError: a hash that does not fit.
        IllegalChoiceError: a choice that the space forbids.
    """
    use_recorded_threads(document)
    where = chosen_device(recorded_device(document) if device == "auto" else device)
    display.note(f"networks run on {device_title(where)}")
    display.phase("network, weights, data")
    subject = open_plan_subject(document, sources, display)
    display.phase("profile")
    calibration = subject.tensor(subject.dataset.splits.calibration)
    found = (cached_profile if cached else fresh_profile)(subject, calibration, shown(display), where)
    options = options_of(document["repairs"])
    terms = Terms(sources, document["baseline"]["weight_bits"], _restrictions(document), options)
    assembly = assemble(subject, accelerator, found, terms)
    choice = choice_of(document, assembly.space)
    return Rebuilt(assembly, Measurer(subject.traced, found, calibration, options=options, device=where), choice)


def open_plan_subject(document: Document, sources: Sources, display: Display) -> Subject:
    """Returns the plan's network and data.

    Raises:
        MismatchError: hashes of network, weights or data differ from the plan's.
    """
    subject = open_subject(
        sources.net,
        sources.weights,
        sources.data,
        equalise=equalises(document["repairs"]),
        progress=display.advance,
    )
    network, splits = subject.traced.network, subject.dataset.splits
    check_same("network", document["network"]["fingerprint"], network.fingerprint)
    check_same("set of weights", document["network"]["weights_sha256"], subject.weights_sha256)
    check_same("set of images", document["data"]["split_sha256"], splits.sha256)
    if len(document["layers"]) != len(network.layers):
        raise MismatchError(
            f"the plan has {len(document['layers'])} layers, the network {len(network.layers)}; undo the edit"
        )
    return subject


def use_recorded_threads(document: Document) -> None:
    """Computes with as many threads as the run did, so that sums are taken in the same order."""
    recorded = document["made_by"]["versions"].get("threads", 1)
    use_threads(recorded if isinstance(recorded, int) else 1)


def recorded_device(document: Document) -> str:
    """Returns where a run's networks ran, as a choice: cpu, or auto, which is CUDA only where there is any."""
    return "auto" if str(document["made_by"]["versions"].get("device", "cpu")).startswith("cuda") else "cpu"


def inherited(schemes: tuple[Scheme, ...], space: Space) -> tuple[Scheme, ...]:
    """Returns the schemes with activation bits as the first reader of each tensor decided them."""
    return tuple(
        replace(scheme, activation_bits=schemes[reader].activation_bits)
        for scheme, reader in zip(schemes, space.deciders.reader, strict=True)
    )


def choice_of(document: Document, space: Space) -> Choices:
    """Returns the plan as indices into the space, int16 (L, 4).

    Raises:
        IllegalChoiceError: something that the hardware or the network forbids.
    """
    return space.choice(inherited(schemes_of(document), space))


def shown(display: Display) -> Progress:
    """Returns a progress callback that moves the display."""
    return lambda phase, done, total: display.advance(done, total, phase)


def _restrictions(document: Document) -> Restrictions:
    """Returns what the search was allowed to touch, which the space depends on."""
    config = document["made_by"]["config"]
    pins = tuple(Pin.parse(text) for text in config.get("pin", ()))
    return Restrictions(tuple(config.get("include", ())), tuple(config.get("exclude", ())), pins)
