"""What studies of the proxy are asked and begin with: a network on an accelerator, and what measures its plans."""

from __future__ import annotations

from argparse import Namespace

from agent.build import Assembly, Progress, Terms, open_subject, prepare
from agent.plan_sources import Sources
from agent.progress import Display
from agent.terminal import add_device_flag
from compress.device import chosen_device
from compress.measure import Measurer
from hwmodels.loader import load as load_hardware
from plan.command import Parser

BASELINE_BITS = 8


def add_source_flags(parser: Parser) -> None:
    """Gives a command the flags that name network, weights, data and hardware."""
    parser.add_argument("--net", required=True, help="as of agent.train")
    parser.add_argument("--weights", default="auto", help="as of agent.train")
    parser.add_argument("--data", default="digits", help="as of agent.train")
    parser.add_argument("--hw", default="eyeriss", help="decides what is legal; as of agent.train")
    add_device_flag(parser, "where networks run; as of agent.train")


def prepared(options: Namespace, display: Display) -> tuple[Assembly, Measurer]:
    """Returns what the flags of `add_source_flags` name, joined, and what measures its plans.

    Raises:
        EspalierError: a name, file or combination that cannot be used.
    """
    accelerator, device = load_hardware(options.hw), chosen_device(options.device)
    display.phase("network, weights, data")
    subject = open_subject(options.net, options.weights, options.data, progress=display.advance)
    sources = Sources(options.net, options.weights, options.data, options.hw)
    return prepare(subject, accelerator, Terms(sources, BASELINE_BITS), shown_on(display), device)


def shown_on(display: Display) -> Progress:
    """Returns what tells a display about (phase, done, total)."""
    return lambda phase, done, total: display.advance(done, total, phase)
