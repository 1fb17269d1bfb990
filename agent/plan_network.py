"""The network of a plan as shapes alone: enough to price it, without weights, data or a profile."""

from __future__ import annotations

from agent.plan_sources import Overrides, check_same, sources_of
from agent.record import network_of
from networks import trace, zoo
from plan.document import Document
from plan.layer import Network


def network_of_plan(document: Document, net: str | None = None) -> Network:
    """Returns the plan's network with the zero fractions that the plan states; its weights are not loaded.

    Args:
        document: a checked plan.
        net: where the network comes from, None for the plan's own source.

    Raises:
        InvalidValueError: the source is code in a file and was not given again.
        MismatchError: another network than the plan was made for.
        EspalierError: the source cannot be used.
    """
    source = sources_of(document, Overrides(net=net)).net
    classes, (channels, height, width) = document["layers"][-1]["shape"]["K"], document["network"]["input_shape"]
    built = zoo.build(source, classes, (channels, height, width))
    network = trace.trace(built.module, built.input_size, built.name).network
    check_same("network", document["network"]["fingerprint"], network.fingerprint)
    return network_of(document, network)
