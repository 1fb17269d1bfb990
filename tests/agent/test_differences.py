"""What a recomputation may differ by, and what it may not."""

from pathlib import Path

import pytest

from agent.differences import compare
from plan.document import Document, load

PLAN = Path(__file__).resolve().parent.parent / "old_plans" / "v1.json"


@pytest.fixture
def document() -> Document:
    return load(PLAN)


def changed(document: Document, *path: str | int, by: float) -> Document:
    again = load(PLAN)
    place = again
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]
    place[path[-1]] += by  # type: ignore[index]
    return again


def fields(document: Document, again: Document, *, exact: bool = True) -> list[str]:
    return [difference.field for difference in compare(document, again, exact=exact).differences]


def test_a_plan_equals_itself(document: Document) -> None:
    found = compare(document, load(PLAN), exact=True)
    assert not found.differences
    assert found.compared > 100


def test_costs_are_held_to_a_billionth(document: Document) -> None:
    assert fields(document, changed(document, "totals", "energy_uj", by=1e-8)) == ["totals.energy_uj"]
    assert fields(document, changed(document, "totals", "energy_uj", by=1e-10)) == []


def test_accuracy_is_exact_on_the_same_machine_only(document: Document) -> None:
    again = changed(document, "accuracy", "validation", "accuracy", by=0.1)
    assert fields(document, again) == ["accuracy.validation.accuracy"]
    assert fields(document, again, exact=False) == []
    far = changed(document, "baseline", "accuracy", "test", by=0.4)
    assert fields(document, far, exact=False) == ["baseline.accuracy.test"]


def test_whole_numbers_and_shapes_are_compared(document: Document) -> None:
    assert fields(document, changed(document, "layers", 0, "shape", "K", by=1)) == ["layers[0].shape.K"]
    assert fields(document, changed(document, "layers", 1, "weight_bits", by=1)) == ["layers[1].weight_bits"]


def test_zero_fractions_have_a_tolerance_elsewhere(document: Document) -> None:
    again = changed(document, "layers", 0, "output_zero_fraction", by=1e-4)
    assert fields(document, again) == ["layers[0].output_zero_fraction"]
    assert fields(document, again, exact=False) == []


def test_how_it_came_about_is_not_compared(document: Document) -> None:
    assert fields(document, changed(document, "made_by", "seed", by=1)) == []


def test_a_missing_part_is_a_difference(document: Document) -> None:
    again = load(PLAN)
    again["accuracy"]["test"] = None
    assert fields(document, again) == ["accuracy.test"]
