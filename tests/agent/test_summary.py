"""Numbers as the final table shows them, and the same as one object."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from agent.summary import comparison, four_digits, result_json, saving
from plan.document import load

DOCUMENT = load(Path(__file__).resolve().parent.parent / "old_plans" / "v2.json")


@pytest.mark.parametrize(
    ("value", "shown"), [(23478.4, "23,478"), (750.62, "750.6"), (17.549, "17.55"), (0.012345, "0.01235"), (0.0, "0")]
)
def test_four_digits_without_exponents(value: float, shown: str) -> None:
    assert four_digits(value) == shown


def test_savings_are_fractions_of_what_was() -> None:
    assert saving(4.0, 1.0) == 0.75
    assert saving(0.0, 0.0) == 0.0


def test_both_energy_views_are_shown() -> None:
    console = Console(file=io.StringIO(), width=140)
    console.print(comparison(DOCUMENT, {"joules": (200.0, 190.0)}))
    shown = " ".join(console.file.getvalue().split())
    assert "in joules view │ 200.0 │ 190.0 │ -5.0 %" in shown


def test_the_result_holds_both_energy_views() -> None:
    result = result_json(DOCUMENT, {"joules": (200.0, 190.0)}, Path("run/plan.json"))
    assert result["energy_view"] == DOCUMENT["hardware"]["energy_view"]
    other = result["other_energy_views"]["joules"]
    assert (other["dense_energy_uj"], other["energy_uj"]) == (200.0, 190.0)
    assert other["saving"] == pytest.approx(0.05)
