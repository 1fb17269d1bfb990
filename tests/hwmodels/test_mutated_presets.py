"""Mutated hardware files: each obeys the laws once it loads, or is refused by a message that names the field."""

import re
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.accelerator import LATENCY_PARTS, LEVELS, OPERANDS, VIEWS, Accelerator
from hwmodels.assignments import dense
from hwmodels.bounds import bounds_of
from hwmodels.loader import parse, preset_names, preset_text
from plan.assignment import Assignment
from plan.errors import FileFormatError, InvalidValueError
from plan.layer import InputSegment, Layer, Network

CASES = 112
"""Of each preset: 1,008 in all."""
LAYERS = (
    Layer("a", "conv", 8, 3, 3, 3, 8, 8, 8, 8, 1, 1, "x", "y", (InputSegment(0, 3),), 1, 0.0, 0.5),
    Layer("b", "conv", 16, 8, 1, 1, 4, 4, 8, 8, 2, 1, "y", "z", (InputSegment(1, 8),), 2, 0.5, 0.5),
    Layer("c", "linear", 10, 16, 1, 1, 1, 1, 1, 1, 1, 1, "z", None, (InputSegment(2, 16),), 3, 0.5, 0.0),
)
NETWORK = Network("three", (3, 8, 8), LAYERS, (), ())
NUMBERS = st.one_of(st.integers(-5, 64), st.integers(-5, 2**40), st.floats(), st.floats(1e-3, 1e3))
VALUES: st.SearchStrategy[str] = st.one_of(
    NUMBERS.map(str),
    NUMBERS.map(str),
    st.sampled_from(["true", "false", '"text"', '""', "[1, 2]", "[]", "[8]", "{ }", "[{ type = 'dense' }]"]),
)


def mutated(name: str, data: st.DataObject) -> tuple[str, str]:
    """Returns a preset's text with one line changed, and the key that stands there."""
    lines = preset_text(name).splitlines()
    at = data.draw(st.sampled_from([i for i, line in enumerate(lines) if re.match(r"(\w+) = |\[\w+\]$", line)]))
    key = re.findall(r"\w+", lines[at])[0]
    if lines[at].startswith("["):
        lines[at] = data.draw(st.sampled_from(["", f"[{key}s]", f"{lines[at]}\n{lines[at]}"]))
    else:
        value = data.draw(VALUES)
        lines[at] = data.draw(st.sampled_from([f"{key} = {value}"] * 4 + ["", f"{key}s = 1", f"{key} = 1\n{key} = 2"]))
    return "\n".join(lines), key


def joined(plans: list[Assignment]) -> Assignment:
    return Assignment(
        **{field.name: np.concatenate([getattr(plan, field.name) for plan in plans]) for field in fields(Assignment)}
    )


def check_laws(model: Accelerator) -> None:
    """Asserts sums, finiteness, batch against loop, limits, and that fewer bits and channels are never dearer."""
    known = model.capabilities
    shared = [bits for bits in known.weight_bits if bits in known.activation_bits]
    whole = dense(NETWORK, shared[-1] if shared else known.weight_bits[-1])
    whole = replace(
        whole,
        input_bits=np.full_like(whole.input_bits, known.activation_bits[-1]),
        output_bits=np.full_like(whole.input_bits, known.activation_bits[-1]),
    )
    less = replace(
        whole,
        weight_bits=np.full_like(whole.weight_bits, known.weight_bits[0]),
        input_bits=np.full_like(whole.input_bits, known.activation_bits[0]),
        output_bits=np.full_like(whole.input_bits, known.activation_bits[0]),
        kept_outputs=whole.kept_outputs // 2,
        stored_bits=whole.stored_bits / 2 * known.weight_bits[0] / whole.weight_bits,
    )
    batch = joined([whole, less])
    for view in VIEWS:
        cost = model.evaluate(NETWORK, batch, view=view)
        parts = [*cost.energy_parts_pj.values(), *cost.latency_parts_cycles.values()]
        assert all(np.isfinite(part).all() and (part >= 0).all() for part in parts)
        assert set(cost.latency_parts_cycles) == set(LATENCY_PARTS)
        np.testing.assert_allclose(cost.energy_pj, sum(map(cost.level_pj, LEVELS)), rtol=1e-9)
        np.testing.assert_allclose(cost.energy_pj, sum(map(cost.operand_pj, OPERANDS)), rtol=1e-9)
        assert (cost.latency_cycles > 0).all()
        assert (cost.energy_pj[1] <= cost.energy_pj[0] * (1 + 1e-9)).all()
        assert (cost.latency_cycles[1] <= cost.latency_cycles[0] * (1 + 1e-9)).all()
        for row, plan in enumerate((whole, less)):
            np.testing.assert_array_equal(model.evaluate(NETWORK, plan, view=view).energy_pj[0], cost.energy_pj[row])
    held: Any = sum(bounds_of(model, NETWORK, batch).cycles.values())
    np.testing.assert_allclose(held, model.evaluate(NETWORK, batch).latency_cycles, rtol=1e-9)


@pytest.mark.parametrize("name", preset_names())
@settings(max_examples=CASES)
@given(data=st.data())
def test_a_mutated_preset_obeys_the_laws_or_is_refused_by_name(name: str, data: st.DataObject) -> None:
    text, key = mutated(name, data)
    try:
        model = parse(text, "mutated.toml")
    except FileFormatError as error:
        message = str(error)
        assert key in message or re.search(r"not valid TOML: .*\(at line \d+", message), message
        return
    try:
        check_laws(model)
    except InvalidValueError as error:
        # sizes that are sound by themselves, but too small for one of the layers
        assert re.search(r"layer '[abc]' on hardware '.*': no mapping of .* fits", str(error)), error  # noqa: PT017


def test_there_are_a_thousand_cases() -> None:
    assert CASES * len(preset_names()) >= 1000


def test_the_cases_reach_both_ends() -> None:
    """A change that is only larger loads; one that no layer fits is refused by the layer's name."""
    check_laws(parse(preset_text("eyeriss").replace("capacity_words = 51200", "capacity_words = 99999"), "m.toml"))
    with pytest.raises(InvalidValueError, match="layer 'a' on hardware 'eyeriss': no mapping"):
        check_laws(parse(preset_text("eyeriss").replace("capacity_words = 51200", "capacity_words = 1"), "m.toml"))
