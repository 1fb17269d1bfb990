"""The settings of a run: one dataclass, from which the parser of every searching command is made."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from plan.budget import Budget
from plan.command import Parser
from plan.errors import InvalidValueError
from plan.registry import close_names
from plan.restrictions import Pin, Restrictions

Objective = Literal["energy", "latency", "edp", "size"]
OBJECTIVES = ("energy", "latency", "edp", "size")
METHODS = ("composite", "random", "greedy", "ilp", "nsga2", "tpe", "amc", "haq", "rules")
ALGORITHMS = ("composite", "ppo", "ddpg", "td3", "sac")
REPAIRS = ("standard", "sequential", "rounding")
PROXIES = ("second-order", "uncorrected", "one-layer", "relative-error", "weight-error")
DEVICES = ("auto", "cpu", "cuda")
NO_EFFECT = ("out", "resume", "dry_run", "quiet", "json")
"""Settings that do not change what is found; plan.json leaves them out."""
SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    def read(text: str) -> int:
        allowed = f"a whole number from {low}" + ("" if high is None else f" to {high}")
        if not re.fullmatch(r"[+-]?\d+", text) or int(text) < low or (high is not None and int(text) > high):
            raise InvalidValueError(f"{text} is out of range (allowed: {allowed})")
        return int(text)

    return read


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidValueError(f"'{text}' is not a number") from None


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match or float(match[1]) == 0:
        raise InvalidValueError(f"'{text}' is not a time (allowed: a number above 0 with s, m or h, for example 5m)")
    return float(match[1]) * SECONDS[match[2]]


def _one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            hint = close_names(text, list(allowed))
            raise InvalidValueError(f"'{text}' is unknown{hint} (allowed: {', '.join(allowed)})")
        return text

    return read


def _text(text: str) -> str:
    if not text:
        raise InvalidValueError("is empty; give a name or a path")
    return text


def _pin(text: str) -> str:
    Pin.parse(text)
    return text


def _flag(help_text: str, *, read: Callable[[str], Any] = _text, metavar: str | None = None) -> dict[str, Any]:
    return {"help": help_text, "read": read, "metavar": metavar}


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do. Every field is the flag of the same name; its help is its documentation."""

    net: str = field(
        metadata=_flag(
            "resnet20/32/44/56/110, vgg16_cifar, a torchvision classifier, or path/file.py:function that returns a "
            "torch.nn.Module"
        )
    )
    hw: str = field(metadata=_flag("name of an accelerator preset, or a TOML file"))
    weights: str = field(
        default="auto",
        metadata=_flag(
            "auto, none, or a .safetensors, .pt or .pth file; auto trains stand-in weights once on embedded data"
        ),
    )
    data: str = field(
        default="digits",
        metadata=_flag("digits, cifar10:DIR, a directory or .zip of images, or an .npz with x and y"),
    )
    method: str = field(
        default="composite", metadata=_flag("who searches: " + ", ".join(METHODS), read=_one_of(METHODS))
    )
    algo: str = field(
        default="composite",
        metadata=_flag("learners of agent.train: " + ", ".join(ALGORITHMS), read=_one_of(ALGORITHMS)),
    )
    init_from: str | None = field(
        default=None,
        metadata=_flag(
            "agent.zip of another run, perhaps of another network, on hardware with the same methods: the agent starts "
            "from its networks",
            metavar="AGENT",
        ),
    )
    measured_only: bool = field(
        default=False,
        metadata=_flag(
            "search by measured accuracy alone, as such searchers were published: no predictions, no warm start, no "
            "refinement (random, nsga2, tpe, amc, haq, rules)"
        ),
    )
    objective: Objective = field(
        default="energy", metadata=_flag("what to reduce: " + ", ".join(OBJECTIVES), read=_one_of(OBJECTIVES))
    )
    max_drop: float = field(
        default=1.0, metadata=_flag("accuracy points that may be lost against the network as given", read=_number)
    )
    max_energy_uj: float = field(default=math.inf, metadata=_flag("limit on energy in uJ for one image", read=_number))
    max_latency_ms: float = field(
        default=math.inf, metadata=_flag("limit on latency in ms for one image", read=_number)
    )
    max_size_kb: float = field(default=math.inf, metadata=_flag("limit on stored weights in kB", read=_number))
    repair: str = field(
        default="standard",
        metadata=_flag(
            "standard; sequential: refit every layer to the inputs that the plan gives it, more accurate at low bits, "
            "several times slower to measure; rounding: also optimise roundings, a minute and more for every plan",
            read=_one_of(REPAIRS),
        ),
    )
    equalise: bool = field(
        default=False,
        metadata=_flag(
            "scale channels against each other before anything is rounded, which leaves the network's outputs as they "
            "are; for networks without batch norms"
        ),
    )
    proxy: str = field(
        default=PROXIES[0],
        metadata=_flag(
            "what predicts a plan's error: " + ", ".join(PROXIES) + "; all but the first are for comparison",
            read=_one_of(PROXIES),
        ),
    )
    baseline_bits: int = field(
        default=8, metadata=_flag("width of the dense network that reductions are quoted against", read=_whole(1, 32))
    )
    steps: int | None = field(
        default=None,
        metadata=_flag(
            "layer decisions that the agent trains on (default: by the size of the network)", read=_whole(1)
        ),
    )
    evaluations: int | None = field(
        default=None,
        metadata=_flag("plans measured during the search (default: by the size of the network)", read=_whole(4)),
    )
    time_limit: float | None = field(
        default=None,
        metadata=_flag(
            "stop searching after this time, for example 90s or 5m; such a run is marked as not repeatable",
            read=_duration,
            metavar="TIME",
        ),
    )
    seed: int = field(default=0, metadata=_flag("seed of everything random in the search", read=_whole(0, 2**31 - 1)))
    include: tuple[str, ...] = field(
        default=(), metadata=_flag("compress only layers that match (repeatable)", metavar="PATTERN")
    )
    exclude: tuple[str, ...] = field(
        default=(), metadata=_flag("leave layers that match as the baseline has them (repeatable)", metavar="PATTERN")
    )
    pin: tuple[str, ...] = field(
        default=(),
        metadata=_flag(
            "hold a layer at given bits, and unpruned with ',dense' (repeatable)",
            read=_pin,
            metavar="LAYER:w8a8[,dense]",
        ),
    )
    device: str = field(
        default=DEVICES[0],
        metadata=_flag(
            "where networks run: auto (a CUDA device where torch finds one), cpu or cuda; plans record it",
            read=_one_of(DEVICES),
        ),
    )
    out: str | None = field(default=None, metadata=_flag("run folder (default: a new one in runs/)", metavar="DIR"))
    resume: bool = field(
        default=False, metadata=_flag("continue the run in --out, or the newest of this name, where there is one")
    )
    dry_run: bool = field(
        default=False, metadata=_flag("print the space, the cheapest reachable plan and the predicted time, and stop")
    )
    quiet: bool = field(default=False, metadata=_flag("print nothing but errors"))
    json: bool = field(
        default=False, metadata=_flag("print one JSON object of the result on stdout, progress on stderr")
    )

    def __post_init__(self) -> None:
        """Checks the limits.

        Raises:
            InvalidValueError: a limit that makes no sense.
        """
        _ = self.limits

    @property
    def limits(self) -> Budget:
        """The limits that a plan must keep."""
        return Budget.limits(
            drop_points=self.max_drop,
            energy_uj=self.max_energy_uj,
            latency_ms=self.max_latency_ms,
            size_kb=self.max_size_kb,
        )

    @property
    def restrictions(self) -> Restrictions:
        """What the search may touch."""
        return Restrictions(self.include, self.exclude, tuple(Pin.parse(text) for text in self.pin))

    def to_json(self) -> dict[str, Any]:
        """Returns all settings as plain JSON values, in which infinity is null."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Settings:
        """Returns the settings that `to_json` wrote; fields that a version did not know have their defaults.

        Raises:
            TypeError: unknown or missing fields.
            InvalidValueError: a limit that makes no sense.
        """
        unlimited = {item.name for item in fields(cls) if item.default == math.inf}
        values: dict[str, Any] = {}
        for name, value in content.items():
            lifted = value is None and name in unlimited
            values[name] = math.inf if lifted else tuple(value) if isinstance(value, list) else value
        return cls(**values)

    def result_json(self) -> dict[str, Any]:
        """Returns the settings that change what is found."""
        return {name: value for name, value in self.to_json().items() if name not in NO_EFFECT}

    def command(self) -> str:
        """Returns the shortest command that asks for the same, without output paths."""
        module = "agent.train" if self.method == "composite" else "agent.search"
        words = ["python", "-m", module]
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in NO_EFFECT or (value == item.default and item.default is not dataclasses.MISSING):
                continue
            if value is True:
                words.append(flag_name(item.name))
                continue
            for one in value if isinstance(value, tuple) else (value,):
                words += [flag_name(item.name), str(one)]
        return shlex.join(words)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def flag_name(name: str) -> str:
    """Returns the flag of a settings field: `max_drop` -> `--max-drop`."""
    return "--" + name.replace("_", "-")


def settings_parser(program: str, description: str, leave_out: Sequence[str] = ()) -> Parser:
    """Returns the parser whose flags are the fields of `Settings`, without those left out."""
    parser = Parser(prog=program, description=description, allow_abbrev=False)
    for item in fields(Settings):
        if item.name not in leave_out:
            _add_flag(parser, item)
    return parser


def _add_flag(parser: Parser, item: dataclasses.Field[Any]) -> None:
    flag, required = flag_name(item.name), item.default is dataclasses.MISSING
    text, metavar = item.metadata["help"], item.metadata["metavar"] or item.name.upper()
    if item.default is False:
        parser.add_argument(flag, action="store_true", help=text)
    elif item.default == ():
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=text)
    else:
        shown = "" if required or item.default in (None, math.inf) else f" (default: {item.default})"
        parser.add_argument(flag, required=required, metavar=metavar, help=text + shown)


def read_settings(parser: Parser, arguments: Sequence[str] | None) -> Settings:
    """Returns the settings that a command line asks for, ranges checked.

    Args:
        parser: from `settings_parser`.
        arguments: words of the command line, `sys.argv` when None.

    Raises:
        InvalidValueError: lists every flag whose value cannot be used.
    """
    given = vars(parser.parse_args(arguments))
    values: dict[str, Any] = {}
    problems = []
    for item in fields(Settings):
        try:
            values[item.name] = _value(item, given.get(item.name))
        except InvalidValueError as error:
            problems.append(_named(flag_name(item.name), str(error)))
    if problems:
        raise InvalidValueError("; ".join(problems))
    return Settings(**values)


def _named(flag: str, problem: str) -> str:
    return problem if problem.startswith(flag) else f"{flag} {problem}"


def _value(item: dataclasses.Field[Any], given: Any) -> Any:
    read = item.metadata["read"]
    if isinstance(given, list):
        return tuple(read(text) for text in given)
    return read(given) if isinstance(given, str) else (item.default if given is None else given)
