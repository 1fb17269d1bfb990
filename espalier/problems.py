"""What is to be compressed for what, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass, fields

from agent.config import Objective, Settings, flag_name, read_settings, settings_parser
from agent.preflight import check_hardware, check_sources


@dataclass(frozen=True)
class Problem:
    """A network with its weights and data, an accelerator, and what is asked of a plan. `problem` makes one.

    Attributes:
        net, hw, weights, data: as the flags of the same names, see docs/commands.md.
        objective: what to reduce.
        max_drop: accuracy points that may be lost against the network as given.
        max_energy_uj, max_latency_ms, max_size_kb: further limits for one image, None for none.
        baseline_bits: width of the dense network that savings are quoted against.
        include, exclude: patterns of layers that may, or may not, be touched.
        pin: layers held at given bits, `"conv1:w8a8,dense"`.
    """

    net: str
    hw: str
    weights: str = "auto"
    data: str = "digits"
    objective: Objective = "energy"
    max_drop: float = 1.0
    max_energy_uj: float | None = None
    max_latency_ms: float | None = None
    max_size_kb: float | None = None
    baseline_bits: int = 8
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pin: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Returns the problem as words of a command line.

        >>> Problem("resnet20", "eyeriss", max_drop=0.5).words()
        ['--net', 'resnet20', '--hw', 'eyeriss', '--max-drop', '0.5']
        """
        words = []
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                for one in value if isinstance(value, tuple) else (value,):
                    words += [flag_name(item.name), str(one)]
        return words

    def settings(self, *extra: str) -> Settings:
        """Returns the request of a run, checked as a command line is.

        Args:
            extra: further words of the command line.

        Raises:
            InvalidValueError: lists every value that cannot be used.
        """
        return read_settings(settings_parser("espalier", ""), [*self.words(), *extra])


def problem(
    net: str,
    hw: str,
    *,
    weights: str = "auto",
    data: str = "digits",
    objective: Objective = "energy",
    max_drop: float = 1.0,
    max_energy_uj: float | None = None,
    max_latency_ms: float | None = None,
    max_size_kb: float | None = None,
    baseline_bits: int = 8,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    pin: tuple[str, ...] = (),
) -> Problem:
    """Returns a problem after a check of names, paths and values; nothing is loaded or trained yet.

    Arguments are the attributes of `Problem`.

    Raises:
        EspalierError: a network, accelerator, file or value that cannot be used.

    >>> problem("resnet20", "eyeriss").max_drop
    1.0
    >>> problem("resnet20", "eyeris")
    Traceback (most recent call last):
        ...
    plan.errors.UnknownNameError: ...
    """
    made = Problem(
        net,
        hw,
        weights,
        data,
        objective,
        max_drop,
        max_energy_uj,
        max_latency_ms,
        max_size_kb,
        baseline_bits,
        include,
        exclude,
        pin,
    )
    made.settings()
    check_hardware(hw, baseline_bits)
    check_sources(net, weights, data)
    return made
