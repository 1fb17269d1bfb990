"""Repairs survive plan.json."""

from dataclasses import replace

import pytest

from agent import config
from compress.options import DEFAULT_OPTIONS, MeasureOptions
from compress.repair import RepairOptions
from compress.repair_record import REPAIRS, options_of, recorded
from plan.errors import InvalidValueError


@pytest.mark.parametrize(
    "options",
    [
        *REPAIRS.values(),
        MeasureOptions(repair=RepairOptions(update=False), recalibrate=False),
        replace(
            DEFAULT_OPTIONS, repair=RepairOptions(rounds=3, passes=2, exchanges=1, starts=2), calibration_images=100
        ),
        MeasureOptions(repair=RepairOptions(signed=False)),
    ],
)
def test_what_is_recorded_is_read_back(options: MeasureOptions) -> None:
    entries = [{"name": name, "parameters": parameters} for name, parameters in recorded(options)]
    assert options_of(entries) == options


def test_a_plan_without_later_parameters_ran_without_them() -> None:
    entry = {"name": "second-order weight update", "parameters": {"rounds": 10, "passes": 1}}
    found = options_of([entry]).repair
    assert (found.rounds, found.passes, found.scales, found.exchanges, found.starts) == (10, 1, 0, 0, 1)
    assert found.signed is False


def test_the_flag_names_every_choice() -> None:
    assert tuple(REPAIRS) == config.REPAIRS


def test_the_names_tell_what_ran() -> None:
    assert [name for name, _ in recorded(REPAIRS["sequential"])] == [
        "second-order weight update",
        "sequential refit",
        "statistics re-estimation",
    ]
    assert dict(recorded(REPAIRS["standard"]))["statistics re-estimation"] == {"images": 512, "spread": 1}


@pytest.mark.parametrize(
    "entry", [{"name": "magic", "parameters": {}}, {"name": "sequential refit", "parameters": {"images": "many"}}]
)
def test_unknown_repairs_are_refused(entry: dict[str, object]) -> None:
    with pytest.raises(InvalidValueError, match="repairs"):
        options_of([entry])
