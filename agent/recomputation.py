"""A plan computed again from its sources: nothing that a run cached is read, except weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.build import Assembly
from agent.differences import Comparison, compare
from agent.judge import Judge, SplitMeasure
from agent.plan_sources import Sources
from agent.prediction import predict
from agent.progress import Display
from agent.proxies import PROXIES
from agent.rebuild import rebuild, shown
from agent.record import Found, Measurement, Order, describe, network_of
from agent.run_folder import versions
from compress.device import device_title
from compress.measure import Measurer
from envs.accuracy.calibration import Calibration
from hwmodels.accelerator import Accelerator
from networks.images import Images
from plan.budget import Budget
from plan.document import Document
from plan.errors import UnknownNameError
from plan.space import Choices

LIMITS = {
    "max_drop": "max_drop_points",
    "max_energy_uj": "max_energy_uj",
    "max_latency_ms": "max_latency_ms",
    "max_size_kb": "max_size_kb",
}
"""Settings and the names that they have in a plan."""


@dataclass(frozen=True)
class Recomputed:
    """What differs between a plan and its recomputation, and the accuracy found on validation images."""

    comparison: Comparison
    validation: Document


def recompute(
    document: Document, sources: Sources, accelerator: Accelerator, display: Display, device: str
) -> Recomputed:
    """Returns what differs between the plan and its recomputation; a plan that was only predicted is measured.

    Args:
        document: the plan, checked.
        sources: where its parts come from.
        accelerator: the hardware, checked.
        display: is told about progress.
        device: where networks run, as `rebuild` takes it.

    Raises:
        MismatchError: a hash that does not fit.
        IllegalChoiceError: a choice that the space forbids.
    """
    rebuilt = rebuild(document, sources, accelerator, display, cached=False, device=device)
    assembly, measurer, choice = rebuilt.assembly, rebuilt.measurer, rebuilt.choice
    display.phase("measure")
    plan = _measured(document, assembly, choice, measurer)
    display.phase("predict")
    table = PROXIES[_proxy(document)](assembly, measurer, shown(display))
    predicted = predict(assembly, table, choice, _calibration(document))
    again = describe(
        replace(assembly, network=network_of(document, assembly.network)),
        replace(plan, predicted_drop_points=predicted),
        _order(document),
        document["made_by"],
    )
    for entry, layer in zip(again["layers"], assembly.network.layers, strict=True):
        entry["input_zero_fraction"] = layer.input_zero_fraction
        entry["output_zero_fraction"] = layer.output_zero_fraction
    found = again["accuracy"]["validation"]
    if document["accuracy"]["validation"] is None:
        again["accuracy"]["validation"] = None
        again["baseline"]["accuracy"]["validation"] = document["baseline"]["accuracy"]["validation"]
    stated = {"device": "cpu", **document["made_by"]["versions"]}  # plans from before there was a choice name none
    return Recomputed(compare(document, again, exact=stated == versions(device_title(measurer.device))), found)


def _measured(document: Document, assembly: Assembly, choice: Choices, measurer: Measurer) -> Found:
    """Returns the plan measured on as many images as it says, all of them once it was tested."""
    judge, space = Judge(assembly.subject, measurer), assembly.space
    splits, stated = assembly.subject.dataset.splits, document["accuracy"]

    def measured(images: Images, run: int) -> Measurement:
        measure = SplitMeasure(judge, images)
        baseline = measure.correct(space.schemes(space.baseline), run)
        plan = measure.correct_until(space.schemes(choice), run, len(images))
        return Measurement(measure.dense(run), baseline, plan.correct, plan.assumed)

    tested, seen = stated["test"] is not None, stated["validation"]
    everything = len(splits.validation)
    run = everything if tested or seen is None else seen["images"] - seen.get("assumed", 0)
    validation = measured(splits.validation, run)
    return Found(choice, 0.0, validation, measured(splits.test, len(splits.test)) if tested else None)


def _proxy(document: Document) -> str:
    """Returns what predicted the plan's error; runs of old recorded none and had the default.

    Raises:
        UnknownNameError: a proxy that is not known.
    """
    name = str(document["made_by"]["config"].get("proxy", next(iter(PROXIES))))
    if name not in PROXIES:
        raise UnknownNameError(f"made_by.config.proxy '{name}' is unknown (known: {', '.join(PROXIES)}); undo the edit")
    return name


def _calibration(document: Document) -> Calibration:
    content = document["made_by"]["calibration"]
    return Calibration() if content is None else Calibration.from_json(content)


def _order(document: Document) -> Order:
    """Returns objective and limits as the command asked for them, the plan's own where it does not tell."""
    config, limits = document["made_by"]["config"], dict(document["limits"])
    for flag, name in LIMITS.items():
        if flag in config:
            limits.pop(name, None)
            limits |= {} if config[flag] is None else {name: config[flag]}
    asked = {name.removeprefix("max_"): value for name, value in limits.items()}
    return Order(str(config.get("objective", document["objective"])), Budget(**asked))
